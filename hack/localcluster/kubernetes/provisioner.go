package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// provisionerName is what a StorageClass names to have its claims served here.
const provisionerName = "localcluster/hostpath"

// paramMedium is the StorageClass parameter that, when "Memory", puts a volume on a tmpfs of exactly
// the claimed size: a disk that really is full when it is full.
const paramMedium = "medium"

// volumes makes a folder and a hostPath PersistentVolume for every claim and removes both when the claim goes.
// The well-known sig-storage library does the same, but would raise a third of Kubernetes' own dependencies
// (grpc and protobuf among them) above the versions that Kubernetes was released with.
type volumes struct {
	client  kubernetes.Interface
	dir     string
	claims  cache.Indexer
	created cache.Indexer
	classes cache.Indexer
	queue   workqueue.TypedRateLimitingInterface[string]
}

func runProvisioner(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("provisioner", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig of a cluster administrator")
	dir := flags.String("dir", "", "folder of the volumes, the same on every node")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig %s: %w", *kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return newVolumes(client, *dir).run(ctx)
}

func newVolumes(client kubernetes.Interface, dir string) *volumes {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, 10*time.Second)
	return &volumes{client: client, dir: dir, queue: workqueue.NewTypedRateLimitingQueue(limiter)}
}

// run handles claims (keys "namespace/name") and volumes (keys "name") one after the other.
func (v *volumes) run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(v.client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	created := factory.Core().V1().PersistentVolumes().Informer()
	classes := factory.Storage().V1().StorageClasses().Informer()
	v.claims, v.created, v.classes = claims.GetIndexer(), created.GetIndexer(), classes.GetIndexer()

	enqueue := func(object any) {
		if key, err := cache.MetaNamespaceKeyFunc(object); err == nil {
			v.queue.Add(key)
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: enqueue, UpdateFunc: func(_, object any) { enqueue(object) }}
	for _, informer := range []cache.SharedIndexInformer{claims, created} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	factory.StartWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), claims.HasSynced, created.HasSynced, classes.HasSynced) {
		return ctx.Err()
	}
	context.AfterFunc(ctx, v.queue.ShutDown)
	for {
		key, shutdown := v.queue.Get()
		if shutdown {
			return nil
		}
		if err := v.sync(ctx, key); err != nil {
			klog.ErrorS(err, "Syncing", "key", key)
			v.queue.AddRateLimited(key)
		} else {
			v.queue.Forget(key)
		}
		v.queue.Done(key)
	}
}

func (v *volumes) sync(ctx context.Context, key string) error {
	if strings.Contains(key, "/") {
		object, exists, err := v.claims.GetByKey(key)
		if err != nil || !exists {
			return err
		}
		return v.provision(ctx, object.(*corev1.PersistentVolumeClaim))
	}
	object, exists, err := v.created.GetByKey(key)
	if err != nil || !exists {
		return err
	}
	return v.reclaim(ctx, object.(*corev1.PersistentVolume))
}

// provision makes the volume of a claim that waits for one.
func (v *volumes) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil {
		return nil
	}
	object, exists, err := v.classes.GetByKey(*claim.Spec.StorageClassName)
	if err != nil {
		return err
	}
	if !exists {
		// A class may come after the claim; then the claim waits as it would anywhere.
		return fmt.Errorf("claim %s/%s: storage class %q does not exist", claim.Namespace, claim.Name, *claim.Spec.StorageClassName)
	}
	class := object.(*storagev1.StorageClass)
	if class.Provisioner != provisionerName {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(v.dir, name)
	if err := makeFolder(path, class.Parameters[paramMedium], claim.Spec.Resources.Requests.Storage().Value()); err != nil {
		return fmt.Errorf("claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	volume := persistentVolume(name, path, claim, class)
	if _, err := v.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("claim %s/%s: create volume %s: %w", claim.Namespace, claim.Name, name, err)
	}
	return nil
}

func persistentVolume(name, path string, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) *corev1.PersistentVolume {
	directory := corev1.HostPathDirectory
	policy := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisionerName},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: *claim.Spec.Resources.Requests.Storage()},
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			StorageClassName:              class.Name,
			PersistentVolumeReclaimPolicy: policy,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &directory}},
		},
	}
}

// makeFolder makes a folder that any user may write to, since a hostPath volume knows no fsGroup.
// Size is in bytes and binds only a volume in memory.
func makeFolder(path, medium string, size int64) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	if medium == "Memory" && !isMountPoint(path) {
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0777", size)); err != nil {
			return fmt.Errorf("mount tmpfs at %s: %w", path, err)
		}
	}
	if err := os.Chmod(path, 0o777); err != nil { // MkdirAll obeys the umask
		return err
	}
	return nil
}

// isMountPoint tells a folder on another device than its parent.
func isMountPoint(path string) bool {
	var self, parent unix.Stat_t
	if unix.Stat(path, &self) != nil || unix.Stat(filepath.Dir(path), &parent) != nil {
		return false
	}
	return self.Dev != parent.Dev
}

// reclaim removes a volume whose claim is gone, when its policy says so.
func (v *volumes) reclaim(ctx context.Context, volume *corev1.PersistentVolume) error {
	if volume.Annotations["pv.kubernetes.io/provisioned-by"] != provisionerName ||
		volume.Status.Phase != corev1.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return nil
	}
	path := filepath.Join(v.dir, volume.Name)
	if isMountPoint(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	err := v.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete volume %s: %w", volume.Name, err)
	}
	return nil
}
