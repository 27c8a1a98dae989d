//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// onTwoNodes is a run of two pods, each on a node of its own as long as there are two.
func onTwoNodes(j *v1alpha1.SFTJob) {
	j.Spec.Pod.Nodes = 2
	j.Spec.Pod.Tolerations = []corev1.Toleration{{Key: spareTaint, Operator: corev1.TolerationOpExists}}
	j.Spec.PodTemplate.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule, NodeTaintsPolicy: new(corev1.NodeInclusionPolicyHonor),
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"alignment.dev/name": j.Name}},
	}}
}

// TestTwoNodes trains one run in two pods on two nodes, over the pod network. A rank is killed: the stage says which,
// in the pod and on the node it was, and the next attempt goes on from what was saved. The result is that of one pod.
func TestTwoNodes(t *testing.T) {
	if !ownCluster {
		t.Skip("two nodes and their processes are needed")
	}
	t.Parallel()
	spare.RLock()
	t.Cleanup(spare.RUnlock)
	s := newSpace(t).workspace()
	s.create(sftJob("one"))
	s.create(sftJob("two", onTwoNodes))
	at := 2*saveEvery + random(t.Name()).IntN(steps/3)
	pods, p := s.gang("two", "", func(p runconfig.Progress) bool { return p.Step >= at })
	t.Logf("%s on %s and %s on %s were at step %d when a rank was killed", pods[0].Name, pods[0].Spec.NodeName, pods[1].Name, pods[1].Spec.NodeName, p.Step)
	if pods[0].Spec.NodeName == pods[1].Spec.NodeName {
		t.Error("both pods are on one node")
	}
	pid, err := rankProcess(&pods[1])
	if err != nil || pid == 0 {
		t.Fatalf("no rank in pod %s: %v", pods[1].Name, err)
	}
	killed := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.eventually(30*time.Second, func() error {
		var events corev1.EventList
		if err := kube.List(ctx, &events, client.InNamespace(s.name)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "AttemptFailed" && strings.Contains(e.Message, pods[1].Name) && strings.Contains(e.Message, "rank 1") && strings.Contains(e.Message, "signal 9") {
				t.Logf("after %s: %s", time.Since(killed).Round(100*time.Millisecond), e.Message)
				return nil
			}
		}
		return fmt.Errorf("of %d events none names the rank", len(events.Items))
	})
	next, _ := s.gang("two", pods[0].Labels[batchv1.ControllerUidLabel], func(p runconfig.Progress) bool { return p.ResumedFrom > 0 })
	t.Logf("after %s the next attempt trains", time.Since(killed).Round(100*time.Millisecond))

	two := s.succeeds(v1alpha1.SFTJobKind, "two")
	s.resumed([]corev1.Pod{s.again(next[0])}, two, (p.Step-1)/saveEvery*saveEvery)
	if two.Restarts != 1 || two.Disruptions != 0 || len(two.History) != 2 || two.History[0].FailedPod != pods[1].Name || two.History[0].Reason != runconfig.ReasonRankLost {
		t.Errorf("%d restarts, %d disruptions, history %+v", two.Restarts, two.Disruptions, two.History)
	}
	one := s.succeeds(v1alpha1.SFTJobKind, "one")
	if one.RunHash == "" || one.RunHash != two.RunHash {
		t.Errorf("the runs' hashes are %s and %s", one.RunHash, two.RunHash)
	}
	for _, metric := range []string{"loss", "eval_loss"} {
		a, aerr := strconv.ParseFloat(one.Metrics[metric], 64)
		b, berr := strconv.ParseFloat(two.Metrics[metric], 64)
		if aerr != nil || berr != nil || math.Abs(a-b) > 0.01*a {
			t.Errorf("%s is %q in one pod and %q in two", metric, one.Metrics[metric], two.Metrics[metric])
		}
		t.Logf("%s: %s in one pod, %s in two", metric, one.Metrics[metric], two.Metrics[metric])
	}
}

// TestTwoNodesMoved has one of two pods deleted, as a drained node would: both save and end, and go on from that very step. Each
// holds half of the model, and writes its part of a state into the folder that both mount.
func TestTwoNodesMoved(t *testing.T) {
	if !ownCluster {
		t.Skip("two nodes are needed")
	}
	t.Parallel()
	spare.RLock()
	t.Cleanup(spare.RUnlock)
	s := newSpace(t).workspace()
	s.create(sftJob("moved", onTwoNodes, func(j *v1alpha1.SFTJob) {
		j.Spec.Checkpoint = v1alpha1.Checkpoint{} // nothing but its end saves
		j.Spec.MaxRestarts = 0
		j.Spec.Pod.Sharding = runconfig.ShardingFull
	}))
	pods, p := s.gang("moved", "", func(p runconfig.Progress) bool { return p.Step >= steps/5 })
	if err := kube.Delete(ctx, &pods[1]); err != nil {
		t.Fatal(err)
	}
	next, _ := s.gang("moved", pods[0].Labels[batchv1.ControllerUidLabel], func(p runconfig.Progress) bool { return p.ResumedFrom > 0 })
	status := s.succeeds(v1alpha1.SFTJobKind, "moved")
	s.resumed([]corev1.Pod{s.again(next[0])}, status, p.Step)
	// Where both have saved and ended within a second, the times of their ends do not tell which was first.
	ended := func(name string) bool { return name == pods[0].Name || name == pods[1].Name }
	if status.Restarts != 0 || status.Disruptions != 1 || len(status.History) != 2 || !ended(status.History[0].FailedPod) || *status.History[0].ExitCode != runconfig.ExitTerminated {
		t.Errorf("%d restarts, %d disruptions, history %+v", status.Restarts, status.Disruptions, status.History)
	}
}

// TestTwoNodesLost loses the node of one of two pods, with all that runs on it. The other pod ends for want of it, and both go on
// on the node that is left once someone says that the lost one is off.
func TestTwoNodesLost(t *testing.T) {
	if !ownCluster {
		t.Skip("the nodes of KUBECONFIG's cluster are not to be lost")
	}
	t.Parallel()
	spare.Lock()
	t.Cleanup(spare.Unlock)
	s := newSpace(t).workspace()
	s.create(sftJob("pair", onTwoNodes, evictedSoon, func(j *v1alpha1.SFTJob) {
		j.Spec.Training.MaxSteps = 4 * steps // its pods outlive the look at them
		j.Spec.MaxRestarts = 0
	}))
	pods, p := s.gang("pair", "", func(p runconfig.Progress) bool { return p.Step > 2*saveEvery })
	lost, left := pods[1], pods[0]
	if left.Spec.NodeName == spareNode {
		lost, left = left, lost
	}
	t.Cleanup(s.nodeBack)
	if _, err := local.run(ctx, "node-stop", "2"); err != nil {
		t.Fatal(err)
	}
	if !s.signal(&lost, syscall.SIGKILL) {
		t.Fatal("the trainer has ended too early")
	}
	s.eventually(3*time.Minute, func() error {
		st, err := s.stage(v1alpha1.SFTJobKind, "pair")
		if err != nil {
			return err
		}
		if got := message(*st.StageStatus(), v1alpha1.ConditionReady); !strings.Contains(got, "when pod "+lost.Name+" on node "+spareNode+" has ended") || !strings.Contains(got, left.Name) {
			return fmt.Errorf("Ready is %q, want it to name the pod that has lost the other, and to wait for that", got)
		}
		return nil
	})
	if pods := s.pods(v1alpha1.SFTJobKind, "pair"); len(pods) != 2 {
		t.Errorf("there are %d pods while the lost one may still write", len(pods))
	}
	s.taint(corev1.TaintNodeOutOfService + "=nodeshutdown:NoExecute")
	next, _ := s.gang("pair", left.Labels[batchv1.ControllerUidLabel], func(p runconfig.Progress) bool { return p.ResumedFrom > 0 })
	for _, pod := range next {
		if pod.Spec.NodeName != left.Spec.NodeName {
			t.Errorf("pod %s is on node %s, want %s", pod.Name, pod.Spec.NodeName, left.Spec.NodeName)
		}
	}
	status := s.succeeds(v1alpha1.SFTJobKind, "pair")
	s.resumed([]corev1.Pod{s.again(next[0])}, status, (p.Step-1)/saveEvery*saveEvery)
	if a := status.History[0]; status.Restarts != 0 || status.Disruptions != 1 || len(status.History) != 2 || a.FailedPod != lost.Name || a.Node != spareNode {
		t.Errorf("%d restarts, %d disruptions, history %+v", status.Restarts, status.Disruptions, status.History)
	}
}

// gang waits until both pods of a stage run, of another Job than the one with a uid, and have come as far as reached says.
func (s *space) gang(stage, not string, reached func(runconfig.Progress) bool) (pods [2]corev1.Pod, p runconfig.Progress) {
	s.Helper()
	s.eventually(5*time.Minute, func() error {
		run := 0
		for _, c := range s.pods(v1alpha1.SFTJobKind, stage) {
			if c.Labels[batchv1.ControllerUidLabel] == not {
				continue
			}
			if c.Status.Phase == corev1.PodSucceeded || c.Status.Phase == corev1.PodFailed {
				return final{fmt.Errorf("%s has ended (%s) before it was looked at", c.Name, c.Status.Phase)}
			}
			if c.Status.Phase == corev1.PodRunning && c.DeletionTimestamp == nil {
				i, err := strconv.Atoi(c.Annotations[batchv1.JobCompletionIndexAnnotation])
				if err != nil {
					return final{err}
				}
				pods[i], run = c, run+1
			}
		}
		if run != 2 {
			return fmt.Errorf("%d pods run", run)
		}
		b, err := s.answer(pods[0].Name+":8080/proxy", "progress")
		if err != nil {
			return err // it has not begun to listen
		}
		if err := json.Unmarshal(b, &p); err != nil {
			return final{fmt.Errorf("progress of %s: %w: %s", pods[0].Name, err, b)}
		}
		if !reached(p) {
			return fmt.Errorf("%s is not there yet: %s", pods[0].Name, b)
		}
		return nil
	})
	return pods, p
}

// rankProcess is a process that trains in a pod, which the pod's first process has started.
func rankProcess(pod *corev1.Pod) (int, error) {
	launcher, err := trainerProcess(pod)
	if err != nil || launcher == 0 {
		return 0, err
	}
	group, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", launcher))
	if err != nil {
		return 0, err
	}
	return process(func(dir string, _ []string) bool {
		own, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil || !bytes.Equal(own, group) {
			return false
		}
		environ, err := os.ReadFile(filepath.Join(dir, "environ"))
		return err == nil && bytes.Contains(environ, []byte("ALIGNMENT_PROCESS="))
	})
}
