//go:build e2e

package e2e

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// undisturbed is the digest of sftJob's checkpoint when nothing happens to it.
var undisturbed struct {
	sync.Mutex
	digest string
}

func undisturbedDigest(t *testing.T) string {
	t.Helper()
	undisturbed.Lock()
	defer undisturbed.Unlock()
	if undisturbed.digest == "" {
		s := newSpace(t).workspace()
		s.create(sftJob("undisturbed"))
		status := s.succeeds(v1alpha1.SFTJobKind, "undisturbed")
		if status.Attempts != 1 {
			t.Fatalf("undisturbed: %d attempts", status.Attempts)
		}
		undisturbed.digest = status.Output.Digest
		t.Logf("undisturbed: %s", undisturbed.digest)
	}
	return undisturbed.digest
}

// TestKilled kills trainers with SIGKILL, at moments that the seed draws: each run goes on from its newest
// state and ends with the bytes of the undisturbed one.
func TestKilled(t *testing.T) {
	t.Parallel()
	want := undisturbedDigest(t)
	s := newSpace(t).workspace()
	draw := random(t.Name())
	between := func(lo, hi int) int { return lo + draw.IntN(hi-lo) }
	for _, c := range []struct {
		name string
		at   []int         // the step of each attempt at which its end draws near
		wait time.Duration // until it comes, at most
	}{
		{"loading", []int{0}, 500 * time.Millisecond},
		{"early", []int{between(1, saveEvery)}, 50 * time.Millisecond},
		{"saving", []int{saveEvery * between(1, steps/saveEvery/2)}, 20 * time.Millisecond},
		{"twice", []int{between(steps/5, steps/3), between(steps/2, steps*2/3)}, 50 * time.Millisecond},
		{"ending", []int{steps - 15}, 0}, // somewhere from the last steps until after it has published
	} {
		fractions := make([]float64, len(c.at)) // drawn here: the subtests run in any order
		for i := range fractions {
			fractions[i] = draw.Float64()
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := s.as(t)
			s.create(sftJob(c.name))
			attempts, saved := 1, 0
			for i, at := range c.at {
				pod, p := s.attempt(v1alpha1.SFTJobKind, c.name, i+1, step(at))
				limit := c.wait
				if limit == 0 {
					limit = time.Duration(p.ETASeconds/2*float64(time.Second)) + 200*time.Millisecond // an estimate errs on the long side
				}
				wait := time.Duration(fractions[i] * float64(limit)).Round(time.Millisecond)
				time.Sleep(wait)
				killed := s.signal(&pod, syscall.SIGKILL)
				t.Logf("attempt %d was seen at step %d of %d, %s; %s later it was killed: %t", i+1, p.Step, p.TotalSteps, p.Phase, wait, killed)
				if killed {
					attempts++
					// A step is reported before its state is saved: of the one it was at, nothing is certain.
					saved = max(0, (p.Step-1)/saveEvery*saveEvery)
				} else if c.wait != 0 {
					t.Fatal("the trainer has ended too early")
				}
			}
			status := s.succeeds(v1alpha1.SFTJobKind, c.name)
			s.sameCheckpoint(status, want)
			pods := s.pods(v1alpha1.SFTJobKind, c.name)
			if int(status.Attempts) != attempts || len(pods) != attempts {
				t.Errorf("status counts %d attempts, there are %d pods, want %d", status.Attempts, len(pods), attempts)
			}
			s.resumed(pods, status, saved)
		})
	}
}

// TestKilledDPO kills a stage with a second model: the reference has to be the policy of before the first step,
// not the one that is resumed.
func TestKilledDPO(t *testing.T) {
	t.Parallel()
	s := newSpace(t).workspace()
	s.create(sftJob("base", func(j *v1alpha1.SFTJob) { j.Spec.Training.MaxSteps = 30 }))
	from := v1alpha1.CheckpointSource{From: &v1alpha1.StageReference{Kind: v1alpha1.SFTJobKind, Name: "base"}}
	s.create(dpoJob("calm", from))
	s.create(dpoJob("killed", from))
	at := steps/3 + random(t.Name()).IntN(steps/3)
	pod, p := s.attempt(v1alpha1.DPOJobKind, "killed", 1, step(at))
	if !s.signal(&pod, syscall.SIGKILL) {
		t.Fatal("the trainer has ended too early")
	}
	t.Logf("killed at step %d of %d", p.Step, p.TotalSteps)
	calm, killed := s.succeeds(v1alpha1.DPOJobKind, "calm"), s.succeeds(v1alpha1.DPOJobKind, "killed")
	s.sameCheckpoint(killed, calm.Output.Digest)
	if calm.Attempts != 1 || killed.Attempts != 2 {
		t.Errorf("status counts %d and %d attempts, want 1 and 2", calm.Attempts, killed.Attempts)
	}
	s.resumed(s.pods(v1alpha1.DPOJobKind, "killed"), killed, (p.Step-1)/saveEvery*saveEvery)
}

// TestTerminated deletes a running pod, as a drained node does: the trainer saves its state in the time it
// has, and the next pod goes on from there.
func TestTerminated(t *testing.T) {
	t.Parallel()
	want := undisturbedDigest(t)
	s := newSpace(t).workspace()
	s.create(sftJob("terminated", func(j *v1alpha1.SFTJob) { j.Spec.Checkpoint = v1alpha1.Checkpoint{} })) // nothing else saves
	at := steps/4 + random(t.Name()).IntN(steps/4)
	pod, p := s.attempt(v1alpha1.SFTJobKind, "terminated", 1, step(at))
	if err := kube.Delete(ctx, &pod); err != nil {
		t.Fatal(err)
	}
	t.Logf("deleted pod %s at step %d", pod.Name, p.Step)
	status := s.succeeds(v1alpha1.SFTJobKind, "terminated")
	s.sameCheckpoint(status, want)
	if status.Attempts != 1 || status.Restarts != 0 || status.Disruptions != 1 {
		t.Errorf("status counts %d attempts, %d restarts and %d disruptions, want one disruption alone", status.Attempts, status.Restarts, status.Disruptions)
	}
	s.resumed(s.pods(v1alpha1.SFTJobKind, "terminated"), status, p.Step)
}

func (s *space) sameCheckpoint(status v1alpha1.StageStatus, want string) {
	s.Helper()
	if got := status.Output.Digest; got != want {
		s.Errorf("checkpoint %s has digest %s, the undisturbed one %s", status.Output.URI, got, want)
	}
}

var resuming = regexp.MustCompile(`msg=Resuming step=(\d+)`)

// resumed checks in its log that the pod that published went on from a state not older than saved.
func (s *space) resumed(pods []corev1.Pod, status v1alpha1.StageStatus, saved int) {
	s.Helper()
	if strings.HasPrefix(message(status, v1alpha1.ConditionTrained), v1alpha1.ReasonAdopted+":") {
		return // what ended before was complete: there was nothing to resume
	}
	for _, p := range pods {
		if p.Status.Phase != corev1.PodSucceeded {
			continue
		}
		log, from := s.log(p.Name), 0
		if m := resuming.FindStringSubmatch(log); m != nil {
			from, _ = strconv.Atoi(m[1])
		}
		s.Logf("pod %s went on from step %d", p.Name, from)
		if from < saved {
			s.Errorf("pod %s went on from step %d, the state of step %d was saved; its log:\n%s", p.Name, from, saved, log)
		}
		return
	}
	s.Error("no pod has succeeded")
}
