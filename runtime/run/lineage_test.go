package run_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
)

// TestLineage: the last checkpoint of a chain names all before it, each once, with what went into them, and
// its model card shows them.
func TestLineage(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	publish := func(name string, c *runconfig.RunConfig) (folder string, r runconfig.Result) {
		t.Helper()
		c.Training.MaxSteps, c.Evaluation.EverySteps, c.Evaluation.Samples = 2, 0, 0
		hash, err := c.Hash()
		if err != nil {
			t.Fatal(err)
		}
		folder = filepath.Join(dir, "team", name, hash[:12])
		c.Output = runconfig.Output{URI: "file://" + folder, RunHash: hash}
		return folder, mustPublish(t, c)
	}
	sft, r1 := publish("sft", sftConfig(f.sft, dir))
	reward, r2 := publish("reward-rm", objectiveConfig(runconfig.RewardModel, "KWise", sft, f.ranked, dir))
	aligned, _ := publish("aligned-ppo", ppoConfig(sft, reward, f.prompts, dir))
	m, _, err := checkpoint.ReadManifest(aligned)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Lineage) != 2 {
		t.Fatalf("got %+v, want two ancestors", m.Lineage)
	}
	for i, want := range []struct {
		name, method string
		r            runconfig.Result
	}{{"team/sft", "SFT", r1}, {"team/reward-rm", "RewardModel", r2}} {
		a := m.Lineage[i]
		if a.Name != want.name || a.Method != want.method || a.Digest != want.r.Output.Digest || a.URI != want.r.Output.URI ||
			a.RunHash != want.r.RunHash || !slices.Equal(a.Inputs, want.r.Inputs) {
			t.Errorf("got %+v, want %s of %+v", a, want.name, want.r)
		}
	}
	b, err := os.ReadFile(filepath.Join(aligned, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := "- SFT team/sft `" + r1.Output.Digest + "`\n- RewardModel team/reward-rm `" + r2.Output.Digest + "`\n\n## Metrics\n"
	if !strings.Contains(string(b), "\n\n"+lines) {
		t.Errorf("the card is\n%s\nwant in it\n%s", b, lines)
	}
	b, err = os.ReadFile(filepath.Join(sft, "README.md"))
	if err != nil || strings.Contains(string(b), "Lineage") {
		t.Errorf("a model of no other: %v\n%s", err, b)
	}
}

// TestHostileParent: what a trainer has not written is not carried on.
func TestHostileParent(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	base := filepath.Join(dir, "base")
	mustPublish(t, sftConfig(f.sft, base))
	m, _, err := checkpoint.ReadManifest(base)
	if err != nil {
		t.Fatal(err)
	}
	m.Inputs[0].Role = "train |"
	if _, err := checkpoint.Publish(base, *m); err != nil {
		t.Fatal(err)
	}
	r := start(t, t.Context(), dpoConfig(base, f.pairs, filepath.Join(dir, "out")), nil)
	if r.ExitCode != runconfig.ExitInvalid || !strings.Contains(r.Message, "model.uri") || !strings.Contains(r.Message, "lineage[0]: inputs") {
		t.Errorf("got %+v, want exit code 2", r)
	}
}
