package controllers

import (
	"strconv"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
	"github.com/alignment-dev/alignment-operator/controllers/status"
)

// A pod that no pass has read since it was preempted, and that is gone, is told of as it ended.
func TestEndedPodIsGone(t *testing.T) {
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	stage := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x", UID: "stage", Generation: 1}}
	stage.Spec.Model.URI = "pvc://models/base"
	stage.Spec.Data.Train = []v1alpha1.Dataset{{URI: "pvc://data/x.jsonl"}}
	stage.Spec.Output.URI = "pvc://models"
	owned := func(name string, owner client.Object, kind string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Namespace: "ns", Name: name, Labels: desired.Labels(stage), CreationTimestamp: metav1.NewTime(now.Add(-time.Minute)),
			OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: ptr.To(true)}},
		}
	}
	job := &batchv1.Job{ObjectMeta: owned("x-sft", stage, "SFTJob")}
	job.UID, job.Spec.BackoffLimit = "job", ptr.To[int32](3)
	job.Annotations = map[string]string{desired.AnnotationGeneration: "1"}
	pod := &corev1.Pod{ObjectMeta: owned("x-sft-0-abc", job, "Job")}
	pod.UID, pod.Spec.NodeName = "pod", "n1"
	pod.Status = corev1.PodStatus{
		Phase:      corev1.PodFailed,
		Conditions: []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "PreemptionByScheduler"}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: desired.Container, State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: 143, StartedAt: metav1.NewTime(now), FinishedAt: metav1.NewTime(now)},
		}}},
	}
	r := &Reconciler{
		Kind:   v1alpha1.SFTJobKind,
		Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(stage, job).Build(), // the pod is gone
		Clock:  clocktesting.NewFakePassiveClock(now),
	}
	history := func() []v1alpha1.Attempt {
		t.Helper()
		o, err := r.gather(t.Context(), stage)
		if err != nil {
			t.Fatal(err)
		}
		return status.Next(o, now).History
	}
	if h := history(); len(h) != 0 {
		t.Fatalf("before any pod was seen there is %+v", h)
	}
	if reqs := r.seePod(t.Context(), pod); len(reqs) != 1 || reqs[0].NamespacedName != client.ObjectKeyFromObject(stage) {
		t.Fatalf("the pod's stage is %v", reqs)
	}
	h := history()
	if len(h) != 1 || h[0].Reason != "PreemptionByScheduler" || h[0].ExitCode == nil || *h[0].ExitCode != 143 || h[0].Node != "n1" {
		t.Errorf("history is %+v", h)
	}

	stage.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionTrained, Status: metav1.ConditionTrue}}
	if _, err := r.gather(t.Context(), stage); err != nil || len(r.ended.pods) != 0 {
		t.Errorf("a trained stage's pods are still remembered: %v, %v", r.ended.pods, err)
	}
}

// What is remembered of a stage is bounded, and each pod is remembered once.
func TestEndedPodsAreBounded(t *testing.T) {
	var e endedPods
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "job"}}
	key := client.ObjectKey{Name: "x"}
	for i := range 3 * maxEnded {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			UID: types.UID(strconv.Itoa(i)), OwnerReferences: []metav1.OwnerReference{{UID: job.UID, Controller: ptr.To(true)}},
		}}
		e.note(key, p)
		e.note(key, p)
	}
	if n := len(e.gone(key, job, nil)); n != maxEnded {
		t.Errorf("%d pods are remembered, want %d", n, maxEnded)
	}
}
