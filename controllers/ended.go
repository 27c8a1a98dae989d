package controllers

import (
	"slices"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxEnded is how many pods of a stage are remembered, of each index in its Job.
const maxEnded = 10

// endedPods remembers how pods ended. Kubernetes deletes a preempted or drained pod as soon as its Job has
// counted it, which may be before a pass has read why. A new operator has forgotten; it then says Lost.
type endedPods struct {
	mu   sync.Mutex
	pods map[types.NamespacedName][]corev1.Pod // by stage, the oldest first
}

func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// note keeps what a status is made of.
func (e *endedPods) note(stage types.NamespacedName, p *corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := slices.DeleteFunc(e.pods[stage], func(q corev1.Pod) bool { return q.UID == p.UID })
	list = append(list, corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name, UID: p.UID, OwnerReferences: p.OwnerReferences,
			CreationTimestamp: p.CreationTimestamp, DeletionTimestamp: p.DeletionTimestamp, DeletionGracePeriodSeconds: p.DeletionGracePeriodSeconds,
			Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: indexOf(p)},
		},
		Spec:   corev1.PodSpec{NodeName: p.Spec.NodeName},
		Status: *p.Status.DeepCopy(),
	})
	if e.pods == nil {
		e.pods = map[types.NamespacedName][]corev1.Pod{}
	}
	same := 0
	for i := len(list) - 1; i >= 0; i-- {
		if indexOf(&list[i]) != indexOf(p) {
			continue
		}
		if same++; same > maxEnded {
			list = slices.Delete(list, i, i+1)
		}
	}
	e.pods[stage] = list
}

func indexOf(p *corev1.Pod) string { return p.Annotations[batchv1.JobCompletionIndexAnnotation] }

// gone are the pods of a Job that are not among those that are there.
func (e *endedPods) gone(stage types.NamespacedName, job metav1.Object, there []corev1.Pod) []corev1.Pod {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []corev1.Pod
	for _, p := range e.pods[stage] {
		known := slices.ContainsFunc(there, func(q corev1.Pod) bool { return q.UID == p.UID })
		if !known && metav1.IsControlledBy(&p, job) {
			list = append(list, p)
		}
	}
	return list
}

func (e *endedPods) forget(stage types.NamespacedName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.pods, stage)
}
