//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// seat is what there is one of in the cluster: who has it trains.
const seat = "alignment.dev/seat"

// TestPreempted lets a pod of higher priority take a trainer's place: the trainer saves its state and goes, and goes on
// when the place is free again. That counts as no restart.
func TestPreempted(t *testing.T) {
	if !ownCluster {
		t.Skip("the nodes of KUBECONFIG's cluster are not to be changed")
	}
	t.Parallel()
	want, before := undisturbedDigest(t), leaders(t)
	s := newSpace(t).workspace()
	if _, err := kubectl(ctx, nil, "patch", "node", "localcluster-1", "--subresource=status", "--type=merge",
		"--patch", fmt.Sprintf(`{"status": {"capacity": {%q: "1"}}}`, seat)); err != nil {
		t.Fatal(err)
	}
	urgent := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: s.name + "-urgent"}, Value: 1000}
	if err := kube.Create(ctx, urgent); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kube.Delete(ctx, urgent); err != nil {
			t.Error(err)
		}
	})
	one := corev1.ResourceList{seat: resource.MustParse("1")}
	s.create(sftJob("preempted", func(j *v1alpha1.SFTJob) {
		j.Spec.Pod.Resources = v1alpha1.Resources{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), seat: one[seat]}, Limits: one}
		j.Spec.Checkpoint = v1alpha1.Checkpoint{} // nothing but its end saves
	}))
	at := steps/5 + random(t.Name()).IntN(steps/3)
	pod, p := s.attempt(v1alpha1.SFTJobKind, "preempted", 1, step(at))
	intruder := trainerPod("intruder", "data", "import", "/tmp/nothing")
	intruder.Spec.PriorityClassName = urgent.Name
	intruder.Spec.Containers[0].Stdin = true // it waits for an archive that never comes
	intruder.Spec.Containers[0].Resources.Limits = one
	s.create(intruder)
	t.Logf("pod %s was at step %d when it had to go", pod.Name, p.Step)

	s.eventually(time.Minute, func() error {
		var i corev1.Pod
		if err := s.get(intruder.Name, &i); err != nil {
			return err
		}
		st, err := s.stage(v1alpha1.SFTJobKind, "preempted")
		if err != nil {
			return err
		}
		status := st.StageStatus()
		got := message(*status, v1alpha1.ConditionReady)
		switch {
		case status.Phase == v1alpha1.PhaseSucceeded:
			return final{fmt.Errorf("the run ended before it was preempted")}
		case i.Status.Phase != corev1.PodRunning:
			return fmt.Errorf("the intruder is %s", i.Status.Phase)
		case status.Phase != v1alpha1.PhasePending || !strings.Contains(got, "is not scheduled"):
			return fmt.Errorf("the stage is %s, Ready is %q", status.Phase, got)
		}
		t.Logf("preempted: %s", got)
		return nil
	})
	if err := kube.Delete(ctx, intruder, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	status := s.succeeds(v1alpha1.SFTJobKind, "preempted")
	s.sameCheckpoint(status, want)
	reasons := []string{"PreemptionByScheduler"}
	if now := leaders(t); now != before { // one that has just begun to lead has not seen the pod go
		t.Logf("another operator leads: the lease changed hands %s times before and %s after", before, now)
		reasons = append(reasons, "Lost")
	}
	s.disruptedOnce(status, pod, reasons...)
	s.resumed(s.pods(v1alpha1.SFTJobKind, "preempted"), status, p.Step)
}

// TestSuspended suspends a run, twice, and lets it go on: it saves its state, has no pod meanwhile, and ends as if
// nothing had been.
func TestSuspended(t *testing.T) {
	t.Parallel()
	want := undisturbedDigest(t)
	s := newSpace(t).workspace()
	s.create(sftJob("suspended", func(j *v1alpha1.SFTJob) { j.Spec.Checkpoint = v1alpha1.Checkpoint{} })) // nothing but its end saves
	draw := random(t.Name())
	reached := 0
	for _, at := range []int{1 + draw.IntN(steps/3), steps/2 + draw.IntN(steps/4)} {
		s.attempt(v1alpha1.SFTJobKind, "suspended", 1, step(at)) // earlier pods are gone
		s.suspend("suspended", true)
		s.eventually(time.Minute, func() error {
			st, err := s.stage(v1alpha1.SFTJobKind, "suspended")
			if err != nil {
				return err
			}
			status := st.StageStatus()
			if !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionSuspended) || status.Phase != v1alpha1.PhaseSuspended {
				return fmt.Errorf("the stage is %s: %s", status.Phase, message(*status, v1alpha1.ConditionReady))
			}
			t.Logf("%s", message(*status, v1alpha1.ConditionSuspended))
			return nil
		})
		for range 30 { // and nothing begins by itself
			for _, p := range s.pods(v1alpha1.SFTJobKind, "suspended") {
				if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
					t.Fatalf("pod %s is %s in a suspended run", p.Name, p.Status.Phase)
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		s.suspend("suspended", false)
		reached = at
	}
	status := s.succeeds(v1alpha1.SFTJobKind, "suspended")
	s.sameCheckpoint(status, want)
	if status.Restarts != 0 || status.Disruptions != 0 || len(status.History) != 3 {
		t.Errorf("status counts %d restarts and %d disruptions, want none: %+v", status.Restarts, status.Disruptions, status.History)
	}
	if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionSuspended); c == nil || c.Status != metav1.ConditionFalse {
		t.Errorf("Suspended is %+v", c)
	}
	s.resumed(s.pods(v1alpha1.SFTJobKind, "suspended"), status, reached)
}

func (s *space) suspend(name string, suspend bool) {
	s.Helper()
	s.kubectl(nil, "patch", "sftjob", name, "--type=merge", "--patch", fmt.Sprintf(`{"spec": {"suspend": %t}}`, suspend))
}

// leaders is how often the operators' lease has changed hands.
func leaders(t *testing.T) string {
	t.Helper()
	n, err := kubectl(ctx, nil, "--namespace", operatorNamespace, "get", "lease", "alignment-operator", "--output=jsonpath={.spec.leaseTransitions}")
	if err != nil {
		t.Fatal(err)
	}
	return n
}
