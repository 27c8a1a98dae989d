package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
	"github.com/alignment-dev/alignment-operator/controllers/inputs"
	"github.com/alignment-dev/alignment-operator/controllers/status"
)

// FieldOwner owns every field that this operator applies.
const FieldOwner = client.FieldOwner("alignment-operator")

// conflictDelay lets the cache catch up with the status that was written meanwhile.
const conflictDelay = 100 * time.Millisecond

// Reconciler brings the stages of one kind to their desired state. All exported fields but Kind
// are the same for every kind.
type Reconciler struct {
	Kind   v1alpha1.StageKind
	Client client.Client
	// Reader reads past the cache, which has only what is labelled as a stage's.
	Reader   client.Reader
	Events   events.EventRecorder
	Clock    clock.PassiveClock
	Settings desired.Settings
	Metrics  *Metrics
	// Progress asks a running trainer how far it is, every ProgressInterval.
	Progress         *ProgressReader
	ProgressInterval time.Duration

	ended endedPods
}

// +kubebuilder:rbac:groups=alignment.dev,resources=sftjobs;rewardmodeljobs;ppojobs;dpojobs;simpojobs,verbs=list;watch;patch
// +kubebuilder:rbac:groups=alignment.dev,resources=sftjobs/status;rewardmodeljobs/status;ppojobs/status;dpojobs/status;simpojobs/status,verbs=patch
// +kubebuilder:rbac:groups=alignment.dev,resources=sftjobs/finalizers;rewardmodeljobs/finalizers;ppojobs/finalizers;dpojobs/finalizers;simpojobs/finalizers,verbs=update
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=configmaps;services,verbs=get;create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// Reconcile makes one pass over a stage.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	stage := v1alpha1.NewStage(r.Kind)
	if err := r.Client.Get(ctx, req.NamespacedName, stage); err != nil {
		if apierrors.IsNotFound(err) {
			r.ended.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if stage.GetDeletionTimestamp() != nil && !controllerutil.ContainsFinalizer(stage, Finalizer) {
		return ctrl.Result{}, nil // owner references do the rest
	}
	if changed, err := r.finalizer(ctx, stage); changed || err != nil {
		return ctrl.Result{}, err
	}
	o, err := r.gather(ctx, stage)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("gather: %w", err)
	}
	changed, err := r.apply(ctx, o, decide(o, r.Clock.Now()))
	if changed {
		return ctrl.Result{}, nil // the object's own event brings the next pass, with the change in the cache
	}
	o.ApplyError = err
	conflict, perr := r.patchStatus(ctx, o)
	switch {
	case perr != nil || err != nil:
		return ctrl.Result{}, errors.Join(perr, err)
	case conflict || decide(o, r.Clock.Now()) != nothing: // the status that was written asks for it: an outdated run's, or an attempt's end
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	if slices.ContainsFunc(o.Pods, func(p corev1.Pod) bool { return status.Running(&p) }) {
		// How far a trainer is, only it knows: while it runs, and only then, it is asked again.
		return ctrl.Result{RequeueAfter: r.ProgressInterval}, nil
	}
	if at := o.Expires(); o.Job != nil && !at.IsZero() {
		return ctrl.Result{RequeueAfter: max(at.Sub(r.Clock.Now()), conflictDelay)}, nil
	}
	return ctrl.Result{}, nil
}

// gather reads all that the decisions need.
func (r *Reconciler) gather(ctx context.Context, stage v1alpha1.Stage) (status.Observed, error) {
	o := status.Observed{Stage: stage}
	var err error
	if stage.GetDeletionTimestamp() == nil {
		if o.Inputs, err = inputs.Gather(ctx, r.Client, stage); err != nil {
			return o, err
		}
		if o.Inputs.Problem == nil {
			o.Run, o.Invalid = desired.NewRun(stage, o.Inputs.Resolved, o.Inputs.Lineage, r.Settings)
		}
	}
	if o.Job, err = r.job(ctx, stage, desired.Name(stage)); err != nil {
		return o, err
	}
	if o.Lookup, err = r.job(ctx, stage, desired.LookupName(stage)); err != nil {
		return o, err
	}
	if o.Removal, err = r.job(ctx, stage, desired.RemovalName(stage)); err != nil {
		return o, err
	}
	// The cache sees Jobs and pods apart. When an attempt's end is to be told of, all of its pods count.
	reader := client.Reader(r.Client)
	if o.Uncounted() {
		reader = r.Reader
	}
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.InNamespace(stage.GetNamespace()),
		client.MatchingLabels{desired.LabelKind: string(r.Kind), desired.LabelName: stage.GetName()}); err != nil {
		return o, fmt.Errorf("list pods: %w", err)
	}
	for _, p := range pods.Items {
		switch {
		case o.Job != nil && metav1.IsControlledBy(&p, o.Job):
			o.Pods = append(o.Pods, p)
		case o.Lookup != nil && metav1.IsControlledBy(&p, o.Lookup):
			o.LookupPods = append(o.LookupPods, p)
		case o.Removal != nil && metav1.IsControlledBy(&p, o.Removal):
		case !over(&p):
			o.Leftover = append(o.Leftover, p.Name)
		}
	}
	if key := client.ObjectKeyFromObject(stage); o.Trained() {
		r.ended.forget(key)
	} else if o.Job != nil {
		o.Pods = append(o.Pods, r.ended.gone(key, o.Job, o.Pods)...)
	}
	if pod := status.Newest(o.Pods); pod != nil && status.Running(pod) && r.progressDue(stage) {
		o.Progress = r.readProgress(ctx, pod)
	}
	return o, nil
}

// job is nil for one that is not there, or not the stage's: applying ours will say what is in the way.
func (r *Reconciler) job(ctx context.Context, stage v1alpha1.Stage, name string) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: stage.GetNamespace(), Name: name}, job); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("get Job: %w", err)
	}
	if !metav1.IsControlledBy(job, stage) {
		return nil, nil
	}
	return job, nil
}

// progressDue keeps the passes that other events bring from asking too often.
func (r *Reconciler) progressDue(stage v1alpha1.Stage) bool {
	p := stage.StageStatus().Progress
	return p == nil || r.Clock.Since(p.UpdatedAt.Time) >= r.ProgressInterval-time.Second
}

// readProgress is nil for a trainer that does not answer: it may be loading, or computing.
func (r *Reconciler) readProgress(ctx context.Context, pod *corev1.Pod) *runconfig.Progress {
	p, err := r.Progress.Read(ctx, pod)
	if err != nil {
		r.Metrics.progressErrors.WithLabelValues(string(r.Kind)).Inc()
		log.FromContext(ctx).V(1).Info("Reading progress failed", "pod", pod.Name, "err", err.Error())
		return nil
	}
	return p
}

// apply does what was decided. changed says that an event of an object will follow.
func (r *Reconciler) apply(ctx context.Context, o status.Observed, do action) (changed bool, err error) {
	switch do {
	case lookUp:
		err = r.lookUp(ctx, o)
	case startRun:
		err = r.start(ctx, o)
	case suspendJob, resumeJob:
		err = r.suspend(ctx, o.Job, do == suspendJob)
	case deleteJob:
		err = r.delete(ctx, o.Job)
	case deleteLookup:
		err = r.delete(ctx, o.Lookup)
	case removeOutput:
		return r.remove(ctx, o)
	case release:
		err = r.release(ctx, o.Stage)
	default:
		return false, nil
	}
	return err == nil, err
}

// lookUp begins a run: its objects, and the search for a checkpoint that makes it unnecessary.
func (r *Reconciler) lookUp(ctx context.Context, o status.Observed) error {
	made, err := r.applyAll(ctx, o.Stage, append(shared(o.Run), o.Run.Lookup)...)
	if err != nil || !made {
		return err
	}
	since := o.Stage.GetCreationTimestamp().Time
	if o.Inputs.Since.After(since) {
		since = o.Inputs.Since
	}
	r.Metrics.jobCreated.WithLabelValues(string(r.Kind)).Observe(r.Clock.Since(since).Seconds())
	return nil
}

// shared are the objects that the Jobs of a run find there.
func shared(run *desired.Run) []object {
	list := []object{run.ConfigMap, run.NetworkPolicy}
	if run.Service != nil {
		list = append(list, run.Service)
	}
	return list
}

// start trains; the lookup has left the other objects.
func (r *Reconciler) start(ctx context.Context, o status.Observed) error {
	objects := []object{o.Run.Job}
	if o.Between() { // the spec may place it otherwise than before
		objects = append(shared(o.Run), o.Run.Follow(o.Follow()))
	}
	if made, err := r.applyAll(ctx, o.Stage, objects...); err != nil || !made {
		return err
	}
	log.FromContext(ctx).Info("Starting run", "runHash", o.Run.Hash, "output", o.Run.Config.Output.URI)
	return nil
}

// object is what is applied, of any kind.
type object interface {
	runtime.ApplyConfiguration
	GetKind() *string
	GetAPIVersion() *string
	GetName() *string
}

// applyAll applies a stage's objects, in this order, if none of them is in someone's way. The last is a Job:
// where the stage's own is there already, the cache was behind, all has been done, and nothing is made.
func (r *Reconciler) applyAll(ctx context.Context, stage v1alpha1.Stage, objects ...object) (made bool, err error) {
	for _, obj := range slices.Backward(objects) {
		gvk := schema.FromAPIVersionAndKind(*obj.GetAPIVersion(), *obj.GetKind())
		owner, err := r.nameFree(ctx, stage, gvk, *obj.GetName())
		if err != nil {
			return false, err
		}
		if gvk.Kind == "Job" && owner == stage.GetUID() {
			return false, nil
		}
	}
	for _, obj := range objects {
		if err := r.Client.Apply(ctx, obj, FieldOwner); err != nil {
			return false, fmt.Errorf("apply: %w", err)
		}
	}
	return true, nil
}

// suspend ends a Job's pods, or lets it go on.
func (r *Reconciler) suspend(ctx context.Context, job *batchv1.Job, suspended bool) error {
	base := job.DeepCopy()
	job.Spec.Suspend = &suspended
	if err := r.Client.Patch(ctx, job, client.MergeFrom(base), FieldOwner); err != nil {
		return fmt.Errorf("suspend Job: %w", err)
	}
	return nil
}

// delete ends a Job and its pods, which save their state.
func (r *Reconciler) delete(ctx context.Context, job *batchv1.Job) error {
	err := r.Client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground), client.Preconditions{UID: &job.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Job %s: %w", job.Name, err)
	}
	return nil
}

// nameFree says what is in the way of a stage's object. Server-side apply would not: it merges
// with another's object where no field is in dispute, and makes the stage its owner. controller is whose
// the object is, if it is there.
func (r *Reconciler) nameFree(ctx context.Context, stage v1alpha1.Stage, gvk schema.GroupVersionKind, name string) (controller types.UID, err error) {
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(gvk)
	err = r.Reader.Get(ctx, client.ObjectKey{Namespace: stage.GetNamespace(), Name: name}, obj)
	switch {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("get %s: %w", gvk.Kind, err)
	case !belongs(obj, stage):
		return "", fmt.Errorf("%s %q is in the way: it does not belong to this %s; delete it, or give one of them another name", gvk.Kind, obj.Name, stage.StageKind())
	}
	if c := metav1.GetControllerOf(obj); c != nil {
		controller = c.UID
	}
	return controller, nil
}

// belongs says whether an object was made for a stage of this kind and name: this one, or one deleted
// before it, whose objects are still being collected or were left on purpose.
func belongs(obj metav1.Object, stage v1alpha1.Stage) bool {
	for k, v := range desired.Labels(stage) {
		if obj.GetLabels()[k] != v {
			return false
		}
	}
	c := metav1.GetControllerOf(obj)
	return c == nil || c.Kind == string(stage.StageKind()) && c.Name == stage.GetName()
}

// patchStatus writes the status once, if it says something new, and tells of it. A conflict
// wrote nothing: the stage in the cache was not the newest.
func (r *Reconciler) patchStatus(ctx context.Context, o status.Observed) (conflict bool, err error) {
	before := *o.Stage.StageStatus()
	after := status.Next(o, r.Clock.Now())
	if status.Equal(before, after) {
		return false, nil
	}
	base := o.Stage.DeepCopyObject().(client.Object)
	*o.Stage.StageStatus() = after
	// With the lock, a status made from an old copy is never written over a newer one.
	patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, o.Stage, patch, FieldOwner); err != nil {
		switch {
		case apierrors.IsConflict(err):
			return true, nil
		case apierrors.IsNotFound(err):
			return false, nil // deleted meanwhile
		}
		return false, fmt.Errorf("patch status: %w", err)
	}
	for _, e := range status.Events(before, after) {
		r.Events.Eventf(o.Stage, nil, e.Type, e.Reason, e.Action, "%s", e.Message)
	}
	r.Metrics.observe(r.Kind, before, after)
	return false, nil
}
