//go:build e2e

package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// memoryClass is the local cluster's class of volumes that hold no more than was claimed.
const memoryClass = "local-memory"

// TestFullDisk meets disks that are too small from the beginning, and that fill up on the way.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if err := kube.Get(ctx, client.ObjectKey{Name: memoryClass}, &storagev1.StorageClass{}); apierrors.IsNotFound(err) {
		t.Skipf("the cluster has no StorageClass %s", memoryClass)
	}
	want := undisturbedDigest(t)
	s := newSpace(t)
	s.claim("tiny", memoryClass, "1Mi")
	s.claim("small", memoryClass, "8Mi")
	s.workspace("tiny", "small")
	on := func(claim string) func(*v1alpha1.SFTJob) {
		return func(j *v1alpha1.SFTJob) { j.Spec.Output.URI = "pvc://" + claim + "/out" }
	}
	t.Run("from-the-beginning", func(t *testing.T) {
		t.Parallel()
		s := s.as(t)
		s.create(sftJob("too-small", on("tiny")))
		s.refused(v1alpha1.SFTJobKind, "too-small", runconfig.ReasonDiskFull, "output.uri", "pvc://tiny/")
	})
	t.Run("on-the-way", func(t *testing.T) {
		t.Parallel()
		s := s.as(t)
		s.create(sftJob("filled", on("small")))
		pod, _ := s.attempt(v1alpha1.SFTJobKind, "filled", 1, step(2*saveEvery+1))
		if !s.signal(&pod, syscall.SIGSTOP) { // filling takes a moment, in which the run could end
			t.Fatal("the trainer has ended too early")
		}
		s.fill("small", 8<<20)
		s.signal(&pod, syscall.SIGCONT)
		s.refused(v1alpha1.SFTJobKind, "filled", runconfig.ReasonDiskFull, "no space left on device")

		uri := s.job(v1alpha1.SFTJobKind, "filled").Annotations["alignment.dev/output"]
		out := s.fetch(inPod(uri))
		_, saved, err := checkpoint.NewestState(out)
		if err != nil || saved < 2*saveEvery {
			t.Errorf("the newest whole state is of step %d (%v), want %d at least: what was saved must stay", saved, err, 2*saveEvery)
		}
		s.noLeftovers(out)

		// With room again, another try goes on from there.
		s.fill("small", 0)
		if err := kube.Delete(ctx, s.job(v1alpha1.SFTJobKind, "filled"), client.PropagationPolicy("Background")); err != nil {
			t.Fatal(err)
		}
		s.leaves(v1alpha1.SFTJobKind, "filled", v1alpha1.PhaseFailed)
		status := s.succeeds(v1alpha1.SFTJobKind, "filled")
		s.sameCheckpoint(status, want)
		s.resumed(s.pods(v1alpha1.SFTJobKind, "filled"), status, saved)
	})
}

// fill makes a file of a size on a claim: too large a one takes what room there is.
func (s *space) fill(claim string, size int) {
	s.Helper()
	err := s.put(claimPath(claim), map[string][]byte{"filler": make([]byte, size)})
	if full := err != nil && strings.Contains(err.Error(), "no space left"); full != (size > 0) {
		s.Fatalf("fill %s with %d bytes: %v", claim, size, err)
	}
}

// noLeftovers checks that a failed attempt has not left what it was writing.
func (s *space) noLeftovers(out string) {
	s.Helper()
	for _, dir := range []string{out, out + "/" + checkpoint.StateFolder} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			s.Fatal(err)
		}
		for _, e := range entries {
			if storage.IsTemp(e.Name()) {
				s.Errorf("%s was left in %s", e.Name(), dir)
			}
		}
	}
}
