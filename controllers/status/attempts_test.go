package status

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// attempt is a pod of a Job, made so many minutes after the others.
func attempt(minute int, s corev1.PodStatus) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%02d", minute), CreationTimestamp: metav1.NewTime(t0.Add(time.Duration(minute) * time.Minute))},
		Spec:       corev1.PodSpec{NodeName: "n"}, Status: s,
	}
}

func disrupted(code int32) corev1.PodStatus {
	s := ended(code, "")
	s.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: "True", Reason: "PreemptionByScheduler"}}
	return s
}

// Each end is counted once, whatever is seen how often, and what no one saw is not lost.
func TestAttempts(t *testing.T) {
	stage := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: 2}}
	j := job()
	see := func(failed int32, pods ...corev1.Pod) {
		j.Status.Failed = failed
		for range 2 {
			stage.Status = Next(Observed{Stage: stage, Job: j, Pods: pods}, t0)
		}
	}
	p := []corev1.Pod{attempt(1, running()), attempt(2, running()), attempt(3, running()), attempt(4, running()), attempt(5, running()), attempt(0, running())}
	see(0, p[5])
	at := metav1.NewTime(t0)
	p[5].DeletionTimestamp, p[5].Status.Conditions = &at, disrupted(143).Conditions
	see(0, p[5]) // its end is not seen, but why it came
	see(0, p[0])
	p[0].Status = disrupted(143)
	see(0, p[0])
	see(0, p[1])
	see(0, p[2]) // the second one's end was not seen
	p[2].Status = ended(143, "")
	see(0, p[2], p[3])
	p[3].Status = ended(1, `{"reason":"Error","message":"m"}`)
	see(1, p[2], p[3])
	see(1, p[2], p[3], p[4])
	p[4].Status = disrupted(2) // a wrong configuration is no disruption
	j.Status.Active = 0
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: "True", LastTransitionTime: metav1.NewTime(t0)}}
	see(2, p[3], p[4])
	var got []string
	for _, a := range stage.Status.History {
		got = append(got, a.Pod+" "+a.Reason)
	}
	want := []string{"p00 PreemptionByScheduler", "p01 PreemptionByScheduler", "p02 Lost", "p03 Interrupted", "p04 Error", "p05 Error"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if stage.Status.Disruptions != 4 || stage.Status.Restarts != 1 {
		t.Errorf("%d disruptions and %d restarts, want 4 and 1", stage.Status.Disruptions, stage.Status.Restarts)
	}
}

// Why a pod that is being deleted ends is known before its end, which nobody may see.
func TestEndNotSeen(t *testing.T) {
	at := metav1.NewTime(t0)
	preempted := running()
	preempted.Conditions = disrupted(143).Conditions
	for _, c := range []struct {
		name, want  string
		suspend     bool
		status      corev1.PodStatus
		deleted     *metav1.Time
		disruptions int32
	}{
		{"preempted", "PreemptionByScheduler", false, preempted, &at, 1},
		{"deleted", "Interrupted", false, running(), &at, 1},
		{"suspended", "Suspended", true, running(), &at, 0},
		{"forced away", "Lost", false, running(), nil, 1},
	} {
		stage := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: 2}}
		stage.Spec.Suspend = c.suspend
		j, p := job(), attempt(1, c.status)
		p.DeletionTimestamp = c.deleted
		stage.Status = Next(Observed{Stage: stage, Job: j, Pods: []corev1.Pod{p}}, t0)
		if a := stage.Status.History[0]; a.EndTime != nil || stage.Status.Disruptions != 0 {
			t.Errorf("%s: ended before it has: %+v", c.name, a)
		}
		stage.Spec.Suspend = false // resumed at once
		stage.Status = Next(Observed{Stage: stage, Job: j, Pods: []corev1.Pod{p}}, t0)
		seen := stage.DeepCopy()
		stage.Status = Next(Observed{Stage: stage, Job: j}, t0)
		if a := stage.Status.History[0]; a.Reason != c.want || a.EndTime == nil || stage.Status.Disruptions != c.disruptions {
			t.Errorf("%s: %+v, %d disruptions, want %s and %d", c.name, a, stage.Status.Disruptions, c.want, c.disruptions)
		}
		if c.deleted == nil {
			continue
		}
		// Seen after all, its end says the same.
		p.Status.Phase, p.Status.ContainerStatuses = ended(143, "").Phase, ended(143, "").ContainerStatuses
		seen.Status = Next(Observed{Stage: seen, Job: j, Pods: []corev1.Pod{p}}, t0)
		if a := seen.Status.History[0]; a.Reason != c.want || a.ExitCode == nil || seen.Status.Disruptions != c.disruptions {
			t.Errorf("%s, its end seen: %+v, %d disruptions, want %s and %d", c.name, a, seen.Status.Disruptions, c.want, c.disruptions)
		}
	}
}

// A history is short, and what it forgot it does not count again.
func TestHistoryIsBounded(t *testing.T) {
	stage := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: 2}}
	j := job()
	limit := int32(100)
	j.Spec.BackoffLimit = &limit
	var pods []corev1.Pod
	for i := range 25 {
		pods = append(pods, attempt(i, ended(143, "")))
		stage.Status = Next(Observed{Stage: stage, Job: j, Pods: pods}, t0)
	}
	if h := stage.Status.History; len(h) != maxHistory || h[maxHistory-1].Pod != "p24" || stage.Status.Disruptions != 25 {
		t.Errorf("%d attempts up to %s, %d disruptions", len(h), h[len(h)-1].Pod, stage.Status.Disruptions)
	}
}
