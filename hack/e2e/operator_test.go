//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// TestOperatorRestart takes the operator away in mid-run, for a moment and until after the end: the run does not
// notice, and there is never a second one. It is not parallel: the operator is everyone's.
func TestOperatorRestart(t *testing.T) {
	want := undisturbedDigest(t)
	s := newSpace(t).workspace()

	s.create(sftJob("restart"))
	s.seenRunning("restart")
	var operators corev1.PodList
	if err := kube.List(ctx, &operators, client.InNamespace(operatorNamespace), client.MatchingLabels{"app.kubernetes.io/name": "alignment-operator"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range operators.Items {
		if err := kube.Delete(ctx, &p, client.GracePeriodSeconds(0)); err != nil { // no farewell: its lease has to run out
			t.Fatal(err)
		}
	}
	s.endsOnce("restart", want)

	s.create(sftJob("absent"))
	s.attempt(v1alpha1.SFTJobKind, "absent", 1, step(1))
	s.scaleOperator("0")
	t.Cleanup(func() { s.scaleOperator(operatorReplicas) })
	s.eventually(5*time.Minute, func() error {
		if j := s.job(v1alpha1.SFTJobKind, "absent"); j.Status.Succeeded == 0 {
			return fmt.Errorf("the Job has not ended: %+v", j.Status)
		}
		return nil
	})
	st, err := s.stage(v1alpha1.SFTJobKind, "absent")
	if err != nil {
		t.Fatal(err)
	}
	if st.StageStatus().Phase == v1alpha1.PhaseSucceeded {
		t.Error("the status knows of the end that no operator has seen")
	}
	s.scaleOperator(operatorReplicas)
	s.endsOnce("absent", want)
}

// seenRunning waits until the status tells of progress.
func (s *space) seenRunning(name string) {
	s.Helper()
	s.eventually(2*time.Minute, func() error {
		st, err := s.stage(v1alpha1.SFTJobKind, name)
		if err != nil {
			return err
		}
		status := st.StageStatus()
		switch p := status.Progress; {
		case status.Phase == v1alpha1.PhaseSucceeded:
			return final{fmt.Errorf("%s ended before its status told of any progress", name)}
		case status.Phase != v1alpha1.PhaseRunning || p == nil || p.Step == 0:
			return fmt.Errorf("%s is %s, its progress %+v", name, status.Phase, p)
		default:
			s.Logf("%s: step %d of %d, ETA %q, loss %s", name, p.Step, p.TotalSteps, p.ETA, status.Metrics["loss"])
			return nil
		}
	})
}

// endsOnce waits for the checkpoint of an undisturbed run, made by one pod.
func (s *space) endsOnce(name, want string) {
	s.Helper()
	status := s.succeeds(v1alpha1.SFTJobKind, name)
	s.sameCheckpoint(status, want)
	var jobs batchv1.JobList
	if err := kube.List(ctx, &jobs, client.InNamespace(s.name), client.MatchingLabels{"alignment.dev/name": name}); err != nil {
		s.Fatal(err)
	}
	// One Job looks for a published checkpoint, one trains.
	if pods := s.pods(v1alpha1.SFTJobKind, name); len(jobs.Items) != 2 || len(pods) != 1 || status.Attempts != 1 {
		s.Errorf("%s: %d Jobs, %d pods, %d attempts, want 2, 1 and 1", name, len(jobs.Items), len(pods), status.Attempts)
	}
}

func (s *space) scaleOperator(replicas string) {
	s.Helper()
	if _, err := kubectl(ctx, nil, "--namespace", operatorNamespace, "scale", "deployment/"+operatorDeployment, "--replicas="+replicas); err != nil {
		s.Error(err)
	}
	if err := rollout(ctx); err != nil {
		s.Error(err)
	}
}

// leader is the operator's pod that acts.
func leader() (string, error) {
	var lease coordinationv1.Lease
	if err := kube.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: operatorDeployment}, &lease); err != nil {
		return "", err
	}
	if lease.Spec.HolderIdentity == nil {
		return "", fmt.Errorf("nobody holds the lease")
	}
	pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_") // after it stands what tells two runs of it apart
	if err := kube.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: pod}, &corev1.Pod{}); err != nil {
		return "", fmt.Errorf("who holds the lease: %w", err)
	}
	return pod, nil
}
