package status

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A run that is resumed at once has two pods of one second, whose names say nothing.
func TestNewestOfOneSecond(t *testing.T) {
	at := metav1.NewTime(time.Unix(1000, 0))
	pod := func(name string, phase corev1.PodPhase, deleted bool) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: at}, Status: corev1.PodStatus{Phase: phase}}
		if deleted {
			p.DeletionTimestamp = &at
		}
		return p
	}
	for _, name := range []string{"a", "z"} {
		for _, old := range []corev1.Pod{pod("m", corev1.PodFailed, true), pod("m", corev1.PodFailed, false), pod("m", corev1.PodRunning, true)} {
			for _, phase := range []corev1.PodPhase{corev1.PodPending, corev1.PodRunning} {
				pods := []corev1.Pod{old, pod(name, phase, false)}
				if got := newest(pods); got.Name != name {
					t.Errorf("%s (%s, deleted %t) is taken for newer than %s (%s)", got.Name, old.Status.Phase, old.DeletionTimestamp != nil, name, phase)
				}
				pods[0], pods[1] = pods[1], pods[0]
				if got := newest(pods); got.Name != name {
					t.Errorf("the other way round: %s is taken for newer than %s", got.Name, name)
				}
			}
		}
	}
}
