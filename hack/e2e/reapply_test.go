//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// TestReapplied deletes a pipeline and applies its files again over the storage that was kept: both stages are
// ready with the digests that they had, and nothing trains. A changed stage trains, and with it what follows;
// changed back, the first checkpoints are adopted again.
func TestReapplied(t *testing.T) {
	t.Parallel()
	s := newSpace(t).workspace()
	pipeline := strings.ReplaceAll(chainSFT+"---\n"+chainDPO, "spec:\n", "spec:\n  retrain: OnChange\n")
	s.kubectl(strings.NewReader(pipeline), "apply", "-f", "-")
	sft, dpo := s.succeeds(v1alpha1.SFTJobKind, "words"), s.succeeds(v1alpha1.DPOJobKind, "words")
	if len(dpo.Lineage) != 1 || dpo.Lineage[0].Digest != sft.Output.Digest || dpo.Lineage[0].RunHash != sft.RunHash {
		t.Errorf("the DPOJob's lineage is %+v, want the SFTJob's checkpoint %+v", dpo.Lineage, sft.Output)
	}

	s.kubectl(strings.NewReader(pipeline), "delete", "--wait", "--timeout=60s", "-f", "-")
	s.kubectl(strings.NewReader(pipeline), "apply", "-f", "-")
	for _, was := range []struct {
		kind   v1alpha1.StageKind
		status v1alpha1.StageStatus
	}{{v1alpha1.SFTJobKind, sft}, {v1alpha1.DPOJobKind, dpo}} {
		is := s.succeeds(was.kind, "words")
		ready := meta.FindStatusCondition(is.Conditions, v1alpha1.ConditionReady)
		if *is.Output != *was.status.Output || is.RunHash != was.status.RunHash || ready.Reason != v1alpha1.ReasonAdopted {
			t.Errorf("the %s was %+v, and now is %+v: %s", was.kind, was.status.Output, is.Output, ready.Reason)
		}
		if pods := s.pods(was.kind, "words"); len(pods) != 0 {
			t.Errorf("the %s trained again, in %d pods", was.kind, len(pods))
		}
	}

	first, err := s.stage(v1alpha1.SFTJobKind, "words")
	if err != nil {
		t.Fatal(err)
	}
	s.kubectl(nil, "patch", "sftjob", "words", "--type=merge", `--patch={"spec":{"seed":99}}`)
	s.eventually(2*time.Minute, func() error { return s.outputOf("words", func(d string) bool { return d != dpo.Output.Digest }) })
	if now := s.succeeds(v1alpha1.SFTJobKind, "words"); now.Output.Digest == sft.Output.Digest {
		t.Error("another seed gave the same checkpoint")
	}
	s.kubectl(nil, "patch", "sftjob", "words", "--type=merge", fmt.Sprintf(`--patch={"spec":{"seed":%d}}`, first.StageSpec().Seed))
	s.eventually(time.Minute, func() error { return s.outputOf("words", func(d string) bool { return d == dpo.Output.Digest }) })
}

// outputOf says whether a DPOJob is trained to a digest that is wanted.
func (s *space) outputOf(dpo string, wanted func(digest string) bool) error {
	st, err := s.stage(v1alpha1.DPOJobKind, dpo)
	if err != nil {
		return err
	}
	status := st.StageStatus()
	if status.Phase == v1alpha1.PhaseSucceeded && wanted(status.Output.Digest) {
		return nil
	}
	return fmt.Errorf("DPOJob %s is %s with %+v: %s", dpo, status.Phase, status.Output, message(*status, v1alpha1.ConditionReady))
}

// TestRemoved deletes a stage with deletionPolicy Delete: its folder goes, and no other.
func TestRemoved(t *testing.T) {
	t.Parallel()
	s := newSpace(t).workspace()
	s.create(sftJob("kept", func(j *v1alpha1.SFTJob) { j.Spec.Training.MaxSteps = 2 }))
	s.create(sftJob("removed", func(j *v1alpha1.SFTJob) {
		j.Spec.Training.MaxSteps = 2
		j.Spec.Output.DeletionPolicy = v1alpha1.DeletionDelete
	}))
	s.succeeds(v1alpha1.SFTJobKind, "kept")
	s.succeeds(v1alpha1.SFTJobKind, "removed")
	s.kubectl(nil, "delete", "sftjob", "kept", "removed", "--timeout=60s")
	folder := claimPath("lab") + "/out/" + s.name
	has, err := os.ReadDir(s.fetch(folder))
	if err != nil {
		t.Fatal(err)
	}
	if len(has) != 1 || has[0].Name() != "kept-sft" {
		t.Errorf("%s has %v, want kept-sft alone", folder, has)
	}
}
