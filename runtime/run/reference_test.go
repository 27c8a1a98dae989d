package run_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// computes runs c, ended after its first step if it is to stop, and says whether it computed the reference's log-probabilities.
func computes(run func(context.Context, *runconfig.RunConfig, func(runconfig.Progress)) runconfig.Result, c *runconfig.RunConfig, stop bool) (computed bool, r runconfig.Result) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r = run(ctx, c, func(p runconfig.Progress) {
		computed = computed || strings.Contains(p.Message, "reference's log-probabilities")
		if stop && p.Step >= 1 {
			cancel()
		}
	})
	return computed, r
}

// TestReferenceIsComputedOnce: an attempt takes what an earlier one has computed, and a run what another one has put into the cache, if
// weights and pairs are the same; torn, it is computed again. None of it changes the end.
func TestReferenceIsComputedOnce(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	base, other := filepath.Join(dir, "base"), filepath.Join(dir, "other")
	mustPublish(t, sftConfig(f.sft, base))
	c := sftConfig(f.sft, other)
	c.Seed = 2
	mustPublish(t, c)
	config := func(beta float64, out string) *runconfig.RunConfig {
		c := dpoConfig(base, f.pairs, filepath.Join(dir, out))
		c.Objective.Beta, c.Objective.PrecomputeReference = beta, true
		c.Training.MaxSteps, c.Evaluation.Samples = 4, 0
		return c
	}
	attempt := func(ctx context.Context, c *runconfig.RunConfig, progress func(runconfig.Progress)) runconfig.Result {
		return start(t, ctx, c, progress)
	}
	step := func(what string, c *runconfig.RunConfig, stop, want bool) runconfig.Result {
		t.Helper()
		computed, r := computes(attempt, c, stop)
		if computed != want {
			t.Errorf("%s: computed %v, want %v", what, computed, want)
		}
		if !stop && r.Output == nil {
			t.Fatalf("%s: %+v", what, r)
		}
		return r
	}
	straight := step("straight", config(0.1, "straight"), false, true)

	step("first attempt", config(0.1, "retried"), true, true)
	if r := step("second attempt", config(0.1, "retried"), false, false); r.Output.Digest != straight.Output.Digest {
		t.Errorf("second attempt: digest %s, want the straight run's %s", r.Output.Digest, straight.Output.Digest)
	}

	step("first attempt", config(0.1, "torn"), true, true)
	flip(t, filepath.Join(dir, "torn/state/reference/logps.safetensors"))
	if r := step("torn", config(0.1, "torn"), false, true); r.Output.Digest != straight.Output.Digest {
		t.Errorf("torn: digest %s, want the straight run's %s", r.Output.Digest, straight.Output.Digest)
	}

	cached := func(beta float64, out string) *runconfig.RunConfig {
		c := config(beta, out)
		c.Placement.Cache = filepath.Join(dir, "cache")
		return c
	}
	step("first run", cached(0.1, "a"), false, true)
	alone := step("another beta, alone", config(0.5, "alone"), false, true)
	if r := step("another beta", cached(0.5, "b"), false, false); r.Output.Digest != alone.Output.Digest {
		t.Errorf("another beta: digest %s, alone %s", r.Output.Digest, alone.Output.Digest)
	}
	for _, other := range []struct {
		what   string
		change func(c *runconfig.RunConfig)
		want   bool
	}{
		{"other weights", func(c *runconfig.RunConfig) { c.Model.URI = "file://" + other }, true},
		{"the same weights as a reference", func(c *runconfig.RunConfig) { c.Reference = &runconfig.Source{URI: "file://" + other} }, false},
		{"a seed", func(c *runconfig.RunConfig) { c.Seed = 3 }, true}, // other pairs are held out
		{"precision", func(c *runconfig.RunConfig) { c.Training.Precision = "float64" }, true},
	} {
		c := cached(0.1, other.what)
		other.change(c)
		step(other.what, c, false, other.want)
	}
	entries, err := filepath.Glob(filepath.Join(dir, "cache/reference-*/files/logps.safetensors"))
	if err != nil || len(entries) != 4 {
		t.Fatalf("entries in the cache: %v, %v", entries, err)
	}
	for _, e := range entries {
		flip(t, e)
	}
	step("torn in the cache", cached(0.1, "c"), false, true)
	step("mended", cached(0.1, "d"), false, false)
}

// flip changes a file's last bit.
func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReferenceIsComputedOnceForABucket: the next attempt may be on another node, with an empty cache.
func TestReferenceIsComputedOnceForABucket(t *testing.T) {
	l := newLab(t, "s3")
	sft := l.publishes(l.sft("out/sft"))
	config := func(out string) *runconfig.RunConfig {
		c := l.sft(out)
		c.Method, c.Objective = runconfig.DPO, &runconfig.Objective{Type: "DPO", PrecomputeReference: true}
		c.Model = runconfig.Model{Source: runconfig.Source{URI: "s3://lab/out/sft", Digest: sft.Output.Digest}}
		c.Data.Train[0].URI = "s3://lab/data/pair*.jsonl"
		c.Placement.Cache = t.TempDir()
		c.SetDefaults()
		return c
	}
	if computed, r := computes(l.run, config("out/dpo"), true); !computed || r.Reason != runconfig.ReasonInterrupted {
		t.Fatalf("first attempt: computed %v, %+v", computed, r)
	}
	computed, r := computes(l.run, config("out/dpo"), false)
	if computed || r.Output == nil {
		t.Errorf("second attempt: computed %v, %+v", computed, r)
	}
	if straight := l.publishes(config("out/straight")); r.Output != nil && straight.Output.Digest != r.Output.Digest {
		t.Errorf("second attempt: digest %s, straight %s", r.Output.Digest, straight.Output.Digest)
	}
	if left, err := os.ReadDir(l.path("out/dpo/state")); err == nil && len(left) > 0 {
		t.Errorf("state is left: %v", left)
	}
}
