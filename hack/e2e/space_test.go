//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// space is a namespace of a test's own, under the restricted Pod Security Standard.
type space struct {
	*testing.T
	name string
}

// newSpace makes a namespace, and removes it when the test ends, after telling what is in it if the test failed.
func newSpace(t *testing.T) *space {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "e2e-",
		Labels: map[string]string{
			"pod-security.kubernetes.io/enforce": "restricted",
			"alignment.dev/test":                 strings.ReplaceAll(t.Name(), "/", "."),
		},
	}}
	if err := kube.Create(ctx, ns); err != nil {
		t.Fatal(err)
	}
	s := &space{t, ns.Name}
	start := time.Now()
	t.Logf("namespace %s", s.name)
	t.Cleanup(func() {
		t.Logf("took %s", time.Since(start).Round(100*time.Millisecond))
		if t.Failed() {
			s.dump()
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := kube.Delete(ctx, ns); err != nil {
			t.Log(err)
		}
	})
	return s
}

// as is the same namespace seen from a subtest.
func (s *space) as(t *testing.T) *space { return &space{t, s.name} }

func (s *space) create(o client.Object) {
	s.Helper()
	o.SetNamespace(s.name)
	if err := kube.Create(ctx, o); err != nil {
		s.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

func (s *space) get(name string, o client.Object) error {
	return kube.Get(ctx, client.ObjectKey{Namespace: s.name, Name: name}, o)
}

// claim makes a PersistentVolumeClaim; the class "" is the cluster's default.
func (s *space) claim(name, class, size string) {
	s.Helper()
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
	if class != "" {
		c.Spec.StorageClassName = &class
	}
	s.create(c)
}

// kubectl runs kubectl in the namespace and fails the test if it fails.
func (s *space) kubectl(stdin io.Reader, args ...string) string {
	s.Helper()
	out, err := kubectl(ctx, stdin, append([]string{"--namespace", s.name}, args...)...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// eventually waits until check finds nothing wrong, and fails the test with the last thing that was.
func (s *space) eventually(limit time.Duration, check func() error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check()
		var stop final
		switch {
		case err == nil:
			return
		case errors.As(err, &stop):
			s.Fatal(err)
		}
		select {
		case <-ctx.Done():
			s.Fatalf("after %s still: %v", limit, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// final is something wrong that waiting does not mend.
type final struct{ error }

// pods of a stage that train, in no order.
func (s *space) pods(kind v1alpha1.StageKind, stage string) []corev1.Pod {
	s.Helper()
	var list corev1.PodList
	if err := kube.List(ctx, &list, client.InNamespace(s.name), client.MatchingLabels{"batch.kubernetes.io/job-name": jobName(kind, stage)}); err != nil {
		s.Fatal(err)
	}
	return list.Items
}

func (s *space) log(pod string) string {
	s.Helper()
	b, err := s.answer(pod, "log?container=trainer")
	if err != nil {
		s.Fatal(err)
	}
	return string(b)
}

// answer is what the API server, or the pod's port through it, answers.
func (s *space) answer(pod, path string) ([]byte, error) {
	return get(ctx, fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/%s", s.name, pod, path))
}

func get(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, host+path, nil)
	if err != nil {
		return nil, err
	}
	a, err := api.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s: %s", path, a.Status, b)
	}
	return b, err
}

// dump tells what a failed test left, for people.
func (s *space) dump() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"get", "sftjobs,dpojobs,jobs,pods,persistentvolumeclaims", "-o", "wide"},
		{"get", "sftjobs,dpojobs", "-o", "yaml"},
		{"describe", "jobs,pods"},
		{"get", "events", "--sort-by=.lastTimestamp"},
	} {
		out, err := kubectl(ctx, nil, append([]string{"--namespace", s.name}, args...)...)
		s.Logf("$ kubectl %s\n%s", strings.Join(args, " "), out)
		if err != nil {
			s.Log(err)
		}
	}
	var pods corev1.PodList
	if err := kube.List(ctx, &pods, client.InNamespace(s.name)); err != nil {
		s.Log(err)
	}
	for _, p := range pods.Items {
		b, err := get(ctx, fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/log?tailLines=40", s.name, p.Name))
		s.Logf("log of %s (%v):\n%s", p.Name, err, b)
	}
	b, err := kubectl(ctx, nil, "--namespace", operatorNamespace, "logs", "deployment/"+operatorDeployment, "--tail=60")
	s.Logf("log of the operator (%v):\n%s", err, b)
}
