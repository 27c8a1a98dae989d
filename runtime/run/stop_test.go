package run_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
)

// TestStopRules: a rule ends a run of any method with its state saved, and with the limit raised it publishes
// what it would have published without one.
func TestStopRules(t *testing.T) {
	limit := func(v float64) *float64 { return &v }
	rules := map[string]struct {
		stop runconfig.Stop
		says string
	}{
		"SFT":   {runconfig.Stop{MaxLoss: limit(0.01), AfterSteps: 3}, "stop.maxLoss"},
		"DPO":   {runconfig.Stop{MaxKL: limit(1e-9), AfterSteps: 3}, "stop.maxKL: kl"},
		"SimPO": {runconfig.Stop{MinRewardAccuracy: limit(1)}, "stop.minRewardAccuracy"},
		"KWise": {runconfig.Stop{MaxLoss: limit(0.01), AfterSteps: 6}, "stop.maxLoss"}, // the last step
		"PPO":   {runconfig.Stop{MaxKL: limit(1e-9), AfterSteps: 2}, "stop.maxKL: objective/kl"},
	}
	dir := t.TempDir()
	list := methods(t, dir)
	pairs, err := os.ReadFile(filepath.Join(dir, "pairs.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	swapped := write(t, dir, "swapped.jsonl", strings.NewReplacer("chosen", "rejected", "rejected", "chosen").Replace(string(pairs)))
	for _, method := range list {
		rule, ok := rules[method.name]
		if !ok {
			continue
		}
		delete(rules, method.name)
		t.Run(method.name, func(t *testing.T) {
			config := func(out string) *runconfig.RunConfig {
				c := method.config(out)
				c.Training.MaxSteps, c.Evaluation.EverySteps, c.Evaluation.Samples, c.Checkpoint.EverySteps = 6, 4, 0, 0
				c.Training.LearningRate = 1e-4
				if method.name == "SimPO" {
					c.Data.Train[0].URI = "file://" + swapped // of the others the checkpoint knows the order
				}
				return c
			}
			want := mustPublish(t, config(filepath.Join(t.TempDir(), "straight"))).Output.Digest
			out := filepath.Join(t.TempDir(), "stopped")
			c := config(out)
			c.Stop = rule.stop
			r := start(t, t.Context(), c, nil)
			if r.ExitCode != runconfig.ExitStopped || r.Reason != runconfig.ReasonStopRule || r.Output != nil || !strings.Contains(r.Message, rule.says) {
				t.Fatalf("got %+v, want exit code 3 and %s", r, rule.says)
			}
			if _, step, err := checkpoint.NewestState(out); err != nil || step != r.Step || step == 0 {
				t.Fatalf("the state is of step %d, %v; the run stopped at %d", step, err, r.Step)
			}
			var resumed int
			r = start(t, t.Context(), config(out), func(p runconfig.Progress) { resumed = max(resumed, p.ResumedFrom) })
			if r.Output == nil || r.Output.Digest != want || resumed == 0 {
				t.Errorf("without the rule, resumed from step %d: got %+v, want digest %s", resumed, r, want)
			}
		})
	}
	for name := range rules {
		t.Errorf("no method %s", name)
	}
}

// TestEveryMethodDiverges: a learning rate that breaks the weights is never a checkpoint.
func TestEveryMethodDiverges(t *testing.T) {
	for _, method := range methods(t, t.TempDir()) {
		t.Run(method.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			c := method.config(out)
			c.Training.LearningRate, c.Training.MaxGradNorm, c.Evaluation.EverySteps, c.Evaluation.Samples = 1e37, 0, 0, 0
			if c.PPO != nil {
				c.PPO.ValueLearningRate = 1e37
			}
			r := start(t, t.Context(), c, nil)
			if r.ExitCode != runconfig.ExitStopped || r.Reason != runconfig.ReasonDiverged || r.Output != nil {
				t.Errorf("got %d %s %q at step %d, want exit code 3 Diverged", r.ExitCode, r.Reason, r.Message, r.Step)
			}
		})
	}
}
