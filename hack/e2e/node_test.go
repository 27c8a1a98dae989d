//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// evictedSoon lets a stage's pods on the spare node, and has them evicted as soon as it is lost.
func evictedSoon(j *v1alpha1.SFTJob) {
	soon := new(int64(1))
	j.Spec.Pod.Tolerations = []corev1.Toleration{
		{Key: spareTaint, Operator: corev1.TolerationOpExists},
		{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: soon},
		{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: soon},
	}
}

// onSpareNode puts a stage's pods on the spare node while that is there, and elsewhere as soon as it is not.
func onSpareNode(j *v1alpha1.SFTJob) {
	evictedSoon(j)
	j.Spec.PodTemplate.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
			Weight: 100,
			Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{spareNode}},
			}},
		}},
	}}
}

// TestNodeLost loses a node with two runs on it: first its kubelet, and with it all that the cluster knows of the trainers, which
// may well go on writing. As long as nobody says that they do not, no second one is started. Then someone says so, as
// Kubernetes asks for, and both runs go on on the other node. Of one trainer it is true. The other one still writes: the second waits for it.
func TestNodeLost(t *testing.T) {
	if !ownCluster {
		t.Skip("the nodes of KUBECONFIG's cluster are not to be lost")
	}
	t.Parallel()
	want := undisturbedDigest(t)
	spare.Lock()
	t.Cleanup(spare.Unlock)
	s := newSpace(t).workspace()
	runs := []*lostRun{{name: "off"}, {name: "alive"}}
	draw := random(t.Name())
	for _, r := range runs {
		s.create(sftJob(r.name, onSpareNode))
		r.at = saveEvery + 1 + draw.IntN(steps/3)
	}
	for _, r := range runs {
		pod, p := s.attempt(v1alpha1.SFTJobKind, r.name, 1, step(r.at))
		// It must not come to its end before the cluster misses its node.
		if r.pod = pod; !s.signal(&r.pod, syscall.SIGSTOP) {
			t.Fatal("the trainer has ended too early")
		}
		t.Logf("pod %s of node %s stands still after step %d", pod.Name, pod.Spec.NodeName, p.Step)
		if r.at = p.Step; pod.Spec.NodeName != spareNode {
			t.Fatalf("pod %s is on node %s, want the spare one", pod.Name, pod.Spec.NodeName)
		}
	}
	t.Cleanup(s.nodeBack)
	if _, err := local.run(ctx, "node-stop", "2"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for _, r := range runs {
		s.eventually(3*time.Minute, func() error {
			var pod corev1.Pod
			if err := s.get(r.pod.Name, &pod); err != nil {
				return final{err}
			}
			if pod.DeletionTimestamp == nil {
				return fmt.Errorf("pod %s is not evicted from the lost node", pod.Name)
			}
			return nil
		})
	}
	t.Logf("evicted after %s", time.Since(start).Round(time.Second))

	// Nobody knows whether the trainers still write (they are still there): they are waited for.
	for range 50 {
		for _, r := range runs {
			if pods := s.pods(v1alpha1.SFTJobKind, r.name); len(pods) != 1 || pods[0].UID != r.pod.UID {
				t.Fatalf("there are %d pods while the lost one may still write", len(pods))
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, r := range runs {
		if pid, err := trainerProcess(&r.pod); err != nil || pid == 0 {
			t.Errorf("the process of lost pod %s: %d, %v", r.pod.Name, pid, err)
		}
		st, err := s.stage(v1alpha1.SFTJobKind, r.name)
		if err != nil {
			t.Fatal(err)
		}
		got := message(*st.StageStatus(), v1alpha1.ConditionReady)
		if st.StageStatus().Phase != v1alpha1.PhasePending || !strings.Contains(got, "pod "+r.pod.Name+" is ending") {
			t.Errorf("the stage is %s, Ready is %q, want it to wait for pod %s", st.StageStatus().Phase, got, r.pod.Name)
		}
	}

	off, alive := runs[0], runs[1]
	s.signal(&off.pod, syscall.SIGKILL)
	s.taint(corev1.TaintNodeOutOfService + "=nodeshutdown:NoExecute")
	s.goesOn(alive)
	s.eventually(time.Minute, func() error {
		if log, err := s.answer(alive.next.Name, "log?container=trainer"); err != nil || !strings.Contains(string(log), "Waiting for another trainer") {
			return fmt.Errorf("pod %s does not wait for the lost one (%w): %s", alive.next.Name, err, log)
		}
		return nil
	})
	if !s.signal(&alive.pod, syscall.SIGCONT) {
		t.Error("the trainer that is alive is not")
	}
	s.goesOn(off)
	t.Logf("both went on after %s", time.Since(start).Round(time.Second))
	for _, r := range runs {
		status := s.succeeds(v1alpha1.SFTJobKind, r.name)
		s.sameCheckpoint(status, want)
		s.disruptedOnce(status, r.pod, "DeletionByTaintManager", "DeletionByPodGC", "Lost")
		if got := message(status, v1alpha1.ConditionTrained); strings.HasPrefix(got, v1alpha1.ReasonAdopted+":") != (r == alive) {
			t.Errorf("%s: Trained is %q", r.name, got)
		}
		s.resumed([]corev1.Pod{s.again(r.next)}, status, (r.at-1)/saveEvery*saveEvery)
	}
}

// lostRun is a run whose pod was on the lost node.
type lostRun struct {
	name string
	at   int // the step at which it was lost
	// pod is the lost one, next the one that goes on.
	pod, next corev1.Pod
}

// goesOn waits for a run's next pod to begin on another node.
func (s *space) goesOn(r *lostRun) {
	s.Helper()
	s.eventually(2*time.Minute, func() error {
		for _, pod := range s.pods(v1alpha1.SFTJobKind, r.name) {
			if pod.UID != r.pod.UID && pod.Status.Phase != corev1.PodPending {
				r.next = pod
				return nil
			}
		}
		return fmt.Errorf("%s has no other pod", r.name)
	})
	if r.next.Spec.NodeName == r.pod.Spec.NodeName {
		s.Errorf("pod %s is on the lost node", r.next.Name)
	}
}

// again reads a pod again.
func (s *space) again(pod corev1.Pod) corev1.Pod {
	s.Helper()
	if err := s.get(pod.Name, &pod); err != nil {
		s.Fatal(err)
	}
	return pod
}

// taint puts a taint on the spare node, or takes it away.
func (s *space) taint(taint string) {
	s.Helper()
	if _, err := kubectl(ctx, nil, "taint", "--overwrite", "node", spareNode, taint); err != nil {
		s.Error(err)
	}
}

// nodeBack brings the spare node back to the cluster.
func (s *space) nodeBack() {
	if _, err := local.run(ctx, "node-start", "2"); err != nil {
		s.Error(err)
	}
	s.taint(corev1.TaintNodeOutOfService + "-")
	s.eventually(time.Minute, func() error {
		var node corev1.Node
		if err := kube.Get(ctx, client.ObjectKey{Name: spareNode}, &node); err != nil {
			return err
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("node %s is not ready", spareNode)
	})
}

// disruptedOnce checks that a run's first pod is told of as disrupted, for one of these reasons, and not as failed.
func (s *space) disruptedOnce(status v1alpha1.StageStatus, first corev1.Pod, reasons ...string) {
	s.Helper()
	if status.Restarts != 0 || status.Disruptions != 1 || len(status.History) != 2 {
		s.Errorf("status counts %d restarts and %d disruptions, want 0 and 1: %+v", status.Restarts, status.Disruptions, status.History)
		return
	}
	a, b := status.History[0], status.History[1]
	known := false
	for _, r := range reasons {
		known = known || a.Reason == r
	}
	if a.Pod != first.Name || a.Node != first.Spec.NodeName || !known || a.EndTime == nil {
		s.Errorf("the first attempt is told of as %+v, want pod %s disrupted (%s)", a, first.Name, strings.Join(reasons, " or "))
	}
	if b.Reason != runconfig.ReasonSucceeded || b.ExitCode == nil || *b.ExitCode != 0 {
		s.Errorf("the second attempt is told of as %+v", b)
	}
}
