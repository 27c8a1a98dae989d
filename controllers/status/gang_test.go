package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// gangJob is job, of two pods.
func gangJob(conditions ...batchv1.JobConditionType) *batchv1.Job {
	j := job(conditions...)
	n := int32(2)
	j.Spec.Completions, j.Status.Active = &n, 0
	return j
}

// gangPod is the pod of an index, which ended so many seconds after t0, if it has.
func gangPod(index, second int, s corev1.PodStatus) corev1.Pod {
	p := attempt(0, s)
	p.Name, p.Annotations = fmt.Sprintf("p-%d", index), map[string]string{batchv1.JobCompletionIndexAnnotation: fmt.Sprint(index)}
	if t := terminated(&p); t != nil {
		t.FinishedAt = metav1.NewTime(t0.Add(time.Duration(second) * time.Second))
	}
	return p
}

func lost(node int) string {
	return fmt.Sprintf(`{"reason":"RankLost","message":"rank %d (node %d, process 0) was killed by signal 9 (killed)"}`, node, node)
}

// Of several ends, the first that follows from no other's is the cause, in whatever order they are seen.
func TestCause(t *testing.T) {
	at := metav1.NewTime(t0)
	deleted := func(p corev1.Pod) corev1.Pod { p.DeletionTimestamp = &at; return p }
	later := func(p corev1.Pod) corev1.Pod {
		p = deleted(p)
		p.DeletionTimestamp = &metav1.Time{Time: t0.Add(3 * time.Second)}
		return p
	}
	for name, c := range map[string]struct {
		a, b                  corev1.Pod
		pod, reason           string
		disruptions, restarts int32
	}{
		"a pod killed":             {gangPod(0, 1, ended(1, lost(1))), gangPod(1, 1, ended(137, "")), "p-1", "Error", 0, 1},
		"the first is killed":      {gangPod(0, 5, ended(137, "")), deleted(gangPod(1, 3, ended(143, ""))), "p-0", "Error", 0, 1},
		"a process killed":         {gangPod(0, 1, ended(1, lost(1))), gangPod(1, 2, ended(1, lost(1))), "p-1", "RankLost", 0, 1},
		"an error, and its echo":   {gangPod(0, 2, ended(1, lost(1))), gangPod(1, 1, ended(1, `{"reason":"Error","message":"m"}`)), "p-1", "Error", 0, 1},
		"two errors":               {gangPod(0, 2, ended(1, "")), gangPod(1, 1, ended(1, "")), "p-1", "Error", 0, 1},
		"drained":                  {deleted(gangPod(0, 1, ended(143, ""))), gangPod(1, 1, disrupted(143)), "p-1", "PreemptionByScheduler", 1, 0},
		"drained, killed late":     {gangPod(0, 1, ended(1, lost(1))), gangPod(1, 90, disrupted(137)), "p-1", "PreemptionByScheduler", 1, 0},
		"deleted by someone":       {deleted(gangPod(0, 9, ended(137, ""))), deleted(gangPod(1, 1, ended(143, ""))), "p-1", "Interrupted", 1, 0},
		"deleted, all saved":       {gangPod(0, 1, ended(143, "")), deleted(gangPod(1, 1, ended(143, ""))), "p-1", "Interrupted", 1, 0},
		"deleted, one is slow":     {later(gangPod(0, 1, ended(143, ""))), deleted(gangPod(1, 1, ended(143, ""))), "p-1", "Interrupted", 1, 0},
		"a node that is not heard": {gangPod(0, 1, ended(1, strings.ReplaceAll(lost(7), "killed", "gone"))), gangPod(1, 2, ended(1, lost(7))), "p-0", "Lost", 1, 0},
		"invalid, and killed":      {gangPod(0, 1, ended(137, "")), gangPod(1, 2, ended(2, `{"reason":"InvalidData","message":"m"}`)), "p-1", "InvalidData", 0, 0},
	} {
		for _, pods := range [][]corev1.Pod{{c.a, c.b}, {c.b, c.a}} {
			stage := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: 2}}
			stage.Spec.MaxRestarts = 1
			stage.Status = Next(Observed{Stage: stage, Run: run(), Job: gangJob(), Pods: []corev1.Pod{gangPod(0, 0, running()), gangPod(1, 0, running())}}, t0)
			o := Observed{Stage: stage, Run: run(), Job: gangJob(batchv1.JobFailed), Pods: pods}
			for range 3 { // it is counted once
				stage.Status = Next(o, t0)
			}
			s := stage.Status
			if a := s.History[0]; len(s.History) != 1 || a.Pod != "p-0" || a.FailedPod != c.pod || a.Reason != c.reason || a.EndTime == nil {
				t.Errorf("%s: history %+v, want %s of %s", name, s.History, c.reason, c.pod)
			}
			if s.Disruptions != c.disruptions || s.Restarts != c.restarts {
				t.Errorf("%s: %d disruptions and %d restarts, want %d and %d", name, s.Disruptions, s.Restarts, c.disruptions, c.restarts)
			}
			if again := c.disruptions+c.restarts > 0; o.Replaced() != again || (s.Phase == v1alpha1.PhaseFailed) == again {
				t.Errorf("%s: the Job is replaced: %v, phase %s", name, o.Replaced(), s.Phase)
			}
		}
	}
}

// An attempt that no one saw, its pods gone, ends as lost; a Job that follows is not taken for the one before it.
func TestGangUnseen(t *testing.T) {
	stage := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: 2}}
	j := gangJob(batchv1.JobFailed)
	o := Observed{Stage: stage, Run: run(), Job: j}
	for range 2 {
		stage.Status = Next(o, t0)
	}
	if s := stage.Status; s.Disruptions != 1 || len(s.History) != 1 || s.History[0].Reason != endLost || !o.Replaced() {
		t.Fatalf("%+v", s)
	}
	o.Job = nil
	if !o.Between() {
		t.Fatal("no next attempt")
	}
	for range 2 { // nothing happens to the status, whatever comes between
		stage.Status = Next(o, t0.Add(time.Hour))
	}
	e := o.Follow()
	next := gangJob(batchv1.JobFailed)
	next.UID, next.CreationTimestamp = "2", metav1.NewTime(t0)
	next.Annotations[desired.AnnotationAfter], next.Annotations[desired.AnnotationStarted] = e.FailedPod, e.Started.Format(time.RFC3339)
	o.Job = next
	if o.Replaced() || o.Outdated() {
		t.Error("an end that is not counted was acted on")
	}
	for range 2 {
		stage.Status = Next(o, t0)
	}
	if s := stage.Status; s.Disruptions != 2 || len(s.History) != 2 || !s.StartTime.Equal(&j.CreationTimestamp) {
		t.Errorf("%+v", s)
	}
}

// A pod that does not come is told of, with the usual reason, once others have waited for it.
func TestGangStarts(t *testing.T) {
	up := running()
	up.ContainerStatuses[0].State.Running.StartedAt = metav1.NewTime(t0)
	o := Observed{
		Stage: &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: 2}}, Run: run(), Job: gangJob(),
		Pods: []corev1.Pod{gangPod(0, 0, up), gangPod(1, 0, waiting("ContainerCreating", ""))},
	}
	says := func(now time.Time) string {
		s := Next(o, now)
		c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
		if s.Phase != v1alpha1.PhasePending || c.Reason != v1alpha1.ReasonPodPending {
			t.Errorf("%s: %+v", s.Phase, c)
		}
		return c.Message
	}
	if got := says(t0.Add(time.Minute)); got != startingMessage {
		t.Errorf("at first: %q", got)
	}
	if got := says(t0.Add(3 * time.Minute)); !strings.Contains(got, "pod p-1 (rank 1, on node n) is still starting") || !strings.Contains(got, "ReadWriteOnce") {
		t.Errorf("after a while: %q", got)
	}
}
