package run_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/metrics"
	"github.com/alignment-dev/alignment-operator/runtime/run"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// files are the data of a small language: "double 3 =" -> " 6".
type files struct{ sft, pairs, ranked, prompts string }

func words(t *testing.T, dir string) files {
	t.Helper()
	var f [4]strings.Builder
	for i := range 200 {
		prompt, n := fmt.Sprintf("double %d =", i%50), i%50*2
		good, bad := fmt.Sprintf(" %d", n), fmt.Sprintf(" it is %d, I think", n+1)
		for j, v := range []map[string]any{
			{"prompt": prompt, "completion": good},
			{"prompt": prompt, "chosen": good, "rejected": bad},
			{"prompt": prompt, "responses": []string{bad, good, fmt.Sprintf(" %d", n+1), " who knows"}, "ranks": []int{3, 1, 2, 3}},
			{"prompt": prompt},
		} {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			f[j].Write(append(b, '\n'))
		}
	}
	return files{
		write(t, dir, "sft.jsonl", f[0].String()), write(t, dir, "pairs.jsonl", f[1].String()),
		write(t, dir, "ranked.jsonl", f[2].String()), write(t, dir, "prompts.jsonl", f[3].String()),
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func sftConfig(data, out string) *runconfig.RunConfig {
	c := &runconfig.RunConfig{
		Version: 1, Method: runconfig.SFT, Name: "test", Seed: 1,
		Model: runconfig.Model{
			Init:      map[string]any{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": true},
			Tokenizer: &runconfig.Tokenizer{Train: &runconfig.TokenizerTraining{VocabSize: 280}},
		},
		Data:       runconfig.Data{Train: []runconfig.Dataset{{URI: "file://" + data}}, EvalFraction: 0.1, MaxLength: 64},
		Training:   runconfig.Training{MaxSteps: 12, BatchSize: 16, MicroBatchSize: 8, LearningRate: 1e-2, MaxGradNorm: 1, LogSteps: 1},
		Evaluation: runconfig.Evaluation{EverySteps: 6, Samples: 2, MaxNewTokens: 8},
		Checkpoint: runconfig.Checkpoint{EverySteps: 3},
		Output:     runconfig.Output{URI: "file://" + out},
		Placement:  runconfig.Placement{Threads: 1}, // tiny products, and other tests run beside
	}
	c.SetDefaults()
	return c
}

func dpoConfig(model, data, out string) *runconfig.RunConfig {
	return objectiveConfig(runconfig.DPO, "DPO", model, data, out)
}

func objectiveConfig(method runconfig.Method, objective, model, data, out string) *runconfig.RunConfig {
	c := sftConfig(data, out)
	c.Method, c.Objective = method, &runconfig.Objective{Type: objective}
	c.Model = runconfig.Model{Source: runconfig.Source{URI: "file://" + model}}
	c.Training.LearningRate = 1e-3
	c.SetDefaults()
	return c
}

func ppoConfig(model, reward, data, out string) *runconfig.RunConfig {
	c := sftConfig(data, out)
	c.Method = runconfig.PPO
	c.Model = runconfig.Model{Source: runconfig.Source{URI: "file://" + model}}
	c.Training.LearningRate = 1e-3
	c.PPO = &runconfig.PPOSettings{RewardModel: runconfig.Source{URI: "file://" + reward}, MaxNewTokens: 8, MinibatchSize: 8, InnerEpochs: 2}
	c.SetDefaults()
	return c
}

// methods are all there are, each as a function of the output folder. Those after SFT start from its
// checkpoint, which is trained here.
func methods(t *testing.T, dir string) (list []method) {
	f := words(t, dir)
	base, reward := filepath.Join(dir, "base"), filepath.Join(dir, "reward")
	list = append(list, method{"SFT", func(out string) *runconfig.RunConfig { return sftConfig(f.sft, out) }})
	add := func(name string, m runconfig.Method, objective, data string) {
		list = append(list, method{name, func(out string) *runconfig.RunConfig { return objectiveConfig(m, objective, base, data, out) }})
	}
	for _, o := range runconfig.ObjectiveTypes[runconfig.DPO] {
		add(o, runconfig.DPO, o, f.pairs)
	}
	for _, o := range runconfig.ObjectiveTypes[runconfig.SimPO] {
		data := f.pairs
		if o == "RRHF" {
			data = f.ranked
		}
		add(o, runconfig.SimPO, o, data)
	}
	for _, o := range runconfig.ObjectiveTypes[runconfig.RewardModel] {
		add(o, runconfig.RewardModel, o, f.ranked)
	}
	list = append(list,
		method{"DPO precomputed", func(out string) *runconfig.RunConfig {
			c := dpoConfig(base, f.pairs, out)
			c.Objective.PrecomputeReference = true
			return c
		}},
		method{"PPO", func(out string) *runconfig.RunConfig { return ppoConfig(base, reward, f.prompts, out) }},
		method{"PPO-ptx", func(out string) *runconfig.RunConfig {
			c := ppoConfig(base, reward, f.prompts, out)
			c.PPO.KLTarget, c.PPO.PTXCoefficient, c.PPO.EMADecay, c.Training.FreezeLayers = 1, 2, 0.9, 1
			c.Data.Pretraining = []runconfig.Dataset{{URI: "file://" + f.sft}}
			c.SetDefaults()
			return c
		}},
	)
	adapted := map[string]runconfig.LoRA{ // one of each kind of step
		"DPO": {Rank: 4, Dropout: 0.1}, "DPO precomputed": {Rank: 4, Publish: runconfig.PublishAdapter}, "KTO": {Rank: 4, Dropout: 0.1},
		"SimPO": {Rank: 4, Dropout: 0.1}, "RRHF": {Rank: 4}, "KWise": {Rank: 4, Dropout: 0.1}, "PPO": {Rank: 4}, "PPO-ptx": {Rank: 4},
	}
	for _, m := range slices.Clone(list) {
		if l, ok := adapted[m.name]; ok {
			list = append(list, method{m.name + " with LoRA", func(out string) *runconfig.RunConfig { return withLoRA(m.config(out), l) }})
		}
	}
	list = append(list, method{"SFT with LoRA", func(out string) *runconfig.RunConfig {
		c := sftConfig(f.sft, out)
		c.Model = runconfig.Model{Source: runconfig.Source{URI: "file://" + base}}
		return withLoRA(c, runconfig.LoRA{Rank: 4, Dropout: 0.1, TargetModules: []string{runconfig.AllLinear}})
	}})
	mustPublish(t, sftConfig(f.sft, base))
	mustPublish(t, objectiveConfig(runconfig.RewardModel, "KWise", base, f.ranked, reward))
	return list
}

func withLoRA(c *runconfig.RunConfig, l runconfig.LoRA) *runconfig.RunConfig {
	c.Training.LoRA, c.Training.FreezeLayers = &l, 0
	c.SetDefaults()
	return c
}

type method struct {
	name   string
	config func(out string) *runconfig.RunConfig
}

func start(t *testing.T, ctx context.Context, c *runconfig.RunConfig, progress func(runconfig.Progress)) runconfig.Result {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return run.Run(ctx, c, run.Environment{Now: time.Now, Log: testr.New(t), Version: "test", Progress: progress})
}

func mustPublish(t *testing.T, c *runconfig.RunConfig) runconfig.Result {
	t.Helper()
	r := start(t, t.Context(), c, nil)
	if r.ExitCode != runconfig.ExitDone || r.Output == nil {
		t.Fatalf("got exit code %d (%s): %s", r.ExitCode, r.Reason, r.Message)
	}
	return r
}

// TestChain trains SFT, then DPO from its checkpoint, and looks at what each leaves.
func TestChain(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	first, second := filepath.Join(dir, "sft"), filepath.Join(dir, "dpo")
	r1 := mustPublish(t, sftConfig(f.sft, first))
	if r1.Metrics["eval_loss"] >= math.Log(280)-1 {
		t.Errorf("SFT: held-out loss %.3f hardly fell from ln 280 = %.3f", r1.Metrics["eval_loss"], math.Log(280))
	}
	c := dpoConfig(first, f.pairs, second)
	c.Model.Digest = r1.Output.Digest
	r2 := mustPublish(t, c)
	if r2.Metrics["eval_rewards/accuracies"] < 0.9 {
		t.Errorf("DPO: held-out accuracy %.2f", r2.Metrics["eval_rewards/accuracies"])
	}
	if r2.Metrics["kl"] <= 0 {
		t.Errorf("DPO: got KL %g, want more than 0 after training", r2.Metrics["kl"])
	}
	m, err := checkpoint.Verify(second, r2.Output.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if m.Inputs[0].Digest != r1.Output.Digest {
		t.Errorf("lineage: got %+v, want the SFT checkpoint %s", m.Inputs, r1.Output.Digest)
	}
	rows := history(t, second)
	if rows[0].Step != 0 || math.Abs(rows[0].Values["eval_loss"]-math.Ln2) > 1e-6 {
		t.Errorf("DPO before the first step: got %+v, want eval_loss ln 2", rows[0])
	}
	for _, name := range []string{"report.html", "result.json", "metrics.jsonl", "tb"} {
		if _, err := os.Stat(filepath.Join(second, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(second, "state")); err == nil {
		t.Error("resume state is left behind a published checkpoint")
	}
	again := start(t, t.Context(), c, nil)
	if !again.Adopted || again.Output.Digest != r2.Output.Digest {
		t.Errorf("second run of the same hash: got %+v, want the checkpoint adopted", again)
	}
}

func history(t *testing.T, dir string) []metrics.Row {
	t.Helper()
	r, err := metrics.New(metrics.Options{Dir: dir, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows, err := r.History()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestResume stops each method early and late; each end is the undisturbed run's, bit for bit.
func TestResume(t *testing.T) {
	for _, method := range methods(t, t.TempDir()) {
		t.Run(method.name, func(t *testing.T) {
			config := func(out string) *runconfig.RunConfig {
				c := method.config(out)
				c.Training.MaxSteps, c.Evaluation.EverySteps, c.Evaluation.Samples = 6, 4, 0
				return c
			}
			straight := filepath.Join(t.TempDir(), "straight")
			want := mustPublish(t, config(straight)).Output.Digest
			for _, stop := range []int{1, 5} {
				out := filepath.Join(t.TempDir(), "stopped")
				ctx, cancel := context.WithCancel(t.Context())
				r := start(t, ctx, config(out), func(p runconfig.Progress) {
					if p.Step >= stop {
						cancel()
					}
				})
				if r.ExitCode != runconfig.ExitTerminated || r.Reason != runconfig.ReasonInterrupted {
					t.Fatalf("stopped at %d: got %+v, want exit code 143", stop, r)
				}
				var resumed int
				r = start(t, t.Context(), config(out), func(p runconfig.Progress) { resumed = max(resumed, p.ResumedFrom) })
				if resumed != stop {
					t.Errorf("resumed from step %d, want %d", resumed, stop)
				}
				if r.Output == nil || r.Output.Digest != want {
					t.Errorf("stopped at %d: got %+v, want digest %s", stop, r, want)
				}
				if got, want := len(history(t, out)), len(history(t, straight)); got != want {
					t.Errorf("stopped at %d: history has %d rows, the straight run's %d", stop, got, want)
				}
			}
		})
	}
}

// TestMicroBatches: neither a split of the batch nor recomputed activations change anything but the
// order of additions, for any method.
func TestMicroBatches(t *testing.T) {
	for _, method := range methods(t, t.TempDir()) {
		t.Run(method.name, func(t *testing.T) {
			var want []metrics.Row
			for _, split := range []struct {
				micro      int
				checkpoint bool
			}{{8, false}, {4, false}, {1, false}, {8, true}, {1, true}} {
				out := filepath.Join(t.TempDir(), "out")
				c := method.config(out)
				c.Training.BatchSize, c.Training.MicroBatchSize, c.Training.MaxSteps, c.Training.Precision = 8, split.micro, 4, "float64"
				c.Training.ActivationCheckpointing = split.checkpoint
				c.Evaluation.Samples, c.Evaluation.EverySteps = 0, 0
				mustPublish(t, c)
				rows := history(t, out)
				if want == nil {
					want = rows
					continue
				}
				for i, row := range rows {
					for name, b := range want[i].Values {
						if a := row.Values[name]; !(math.Abs(a-b) <= 1e-8*max(1, math.Abs(b))) {
							t.Errorf("%+v, step %d: %s is %.12f, with one micro-batch it is %.12f", split, row.Step, name, a, b)
						}
					}
				}
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	good := mustPublish(t, sftConfig(f.sft, filepath.Join(dir, "base")))
	text, err := os.ReadFile(f.sft)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		config       func(c *runconfig.RunConfig)
		reason, says string
	}{
		"bad line": {func(c *runconfig.RunConfig) {
			c.Data.Train[0].URI = "file://" + write(t, dir, "bad.jsonl", string(text)+"{\"prompt\": \n")
		}, runconfig.ReasonInvalidData, "bad.jsonl:201"},
		"missing column": {func(c *runconfig.RunConfig) {
			c.Data.Train[0].URI = "file://" + write(t, dir, "missing.jsonl", string(text)+"{\"prompt\": \"x\"}\n")
		}, runconfig.ReasonInvalidData, "missing.jsonl:201: completion"},
		"no file": {func(c *runconfig.RunConfig) { c.Data.Train[0].URI = "file:///nowhere.jsonl" }, runconfig.ReasonInvalidData, "data.train[0].uri"},
		"wrong digest of data": {func(c *runconfig.RunConfig) { c.Data.Train[0].Digest = "sha256:" + strings.Repeat("0", 64) },
			runconfig.ReasonDigestMismatch, "data.train[0].digest"},
		"wrong digest of model": {func(c *runconfig.RunConfig) {
			*c = *dpoConfig(filepath.Join(dir, "base"), f.pairs, filepath.Join(dir, "out"))
			c.Model.Digest = "sha256:" + strings.Repeat("0", 64)
		}, runconfig.ReasonDigestMismatch, "model"},
		"changed weights": {func(c *runconfig.RunConfig) {
			*c = *dpoConfig(filepath.Join(dir, "changed"), f.pairs, filepath.Join(dir, "out"))
			if err := os.CopyFS(filepath.Join(dir, "changed"), os.DirFS(filepath.Join(dir, "base"))); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "changed"), "config.json", "{}")
			c.Model.Digest = good.Output.Digest
		}, runconfig.ReasonDigestMismatch, "config.json"},
		"not a preference": {func(c *runconfig.RunConfig) {
			*c = *dpoConfig(filepath.Join(dir, "base"), f.sft, filepath.Join(dir, "out"))
		}, runconfig.ReasonInvalidData, "sft.jsonl:1"},
		"architecture": {func(c *runconfig.RunConfig) { c.Model.Init["num_key_value_heads"] = 3 }, runconfig.ReasonInvalidConfig, "num_key_value_heads"},
		"family":       {func(c *runconfig.RunConfig) { c.Model.Init["model_type"] = "mamba" }, runconfig.ReasonInvalidConfig, "model.init: model_type"},
		"learned positions": {func(c *runconfig.RunConfig) {
			c.Model.Init = map[string]any{"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 63}
		}, runconfig.ReasonInvalidConfig, "data.maxLength: got 64"},
		"several ranks": {func(c *runconfig.RunConfig) { c.Placement.ProcessesPerNode = 2 }, runconfig.ReasonInvalidConfig, "placement: 2 ranks"},
		"another run's folder": {func(c *runconfig.RunConfig) { c.Output.URI, c.Seed = "file://"+filepath.Join(dir, "base"), 2 },
			runconfig.ReasonInvalidConfig, "output.uri"},
	} {
		t.Run(name, func(t *testing.T) {
			c := sftConfig(f.sft, filepath.Join(t.TempDir(), "out"))
			test.config(c)
			r := start(t, t.Context(), c, func(p runconfig.Progress) {
				if p.Step > 0 {
					t.Error("found only after training began")
				}
			})
			if r.ExitCode != runconfig.ExitInvalid || r.Reason != test.reason || !strings.Contains(r.Message, test.says) {
				t.Errorf("got %d %s %q, want 2 %s with %q", r.ExitCode, r.Reason, r.Message, test.reason, test.says)
			}
		})
	}
}

func TestDivergenceStops(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	c := sftConfig(f.sft, filepath.Join(dir, "out"))
	c.Training.LearningRate, c.Training.MaxGradNorm = 1e30, 0
	r := start(t, t.Context(), c, nil)
	if r.ExitCode != runconfig.ExitStopped || r.Reason != runconfig.ReasonDiverged {
		t.Errorf("got %+v, want exit code 3", r)
	}
}

// TestAdoptsOnlyTheSameInputs: a file may change under a URI without changing the run's hash.
func TestAdoptsOnlyTheSameInputs(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	c := sftConfig(f.sft, filepath.Join(dir, "out"))
	mustPublish(t, c)
	write(t, dir, "sft.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n")
	r := start(t, t.Context(), c, nil)
	if r.ExitCode != runconfig.ExitInvalid || r.Adopted || !strings.Contains(r.Message, "trained on other inputs") {
		t.Errorf("got %+v, want the changed data named", r)
	}
}

// TestInstructGPT takes the three stages: the reward model, loaded again, gives demonstrations a mean of 0,
// and PPO raises its reward.
func TestInstructGPT(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	base, reward, aligned := filepath.Join(dir, "base"), filepath.Join(dir, "reward"), filepath.Join(dir, "ppo")
	c := sftConfig(f.sft, base)
	c.Training.MaxSteps = 60
	mustPublish(t, c)
	c = objectiveConfig(runconfig.RewardModel, "KWise", base, f.ranked, reward)
	c.Data.Demonstrations = []runconfig.Dataset{{URI: "file://" + f.sft, Format: "auto"}}
	c.Training.MaxSteps, c.Training.LearningRate = 60, 3e-3
	r := mustPublish(t, c)
	if acc := r.Metrics["eval_rewards/accuracies"]; acc < 0.9 {
		t.Errorf("reward model: held-out accuracy %.2f", acc)
	}
	if err := tensor.Run(func() error { return meanReward(t, reward, f.sft) }); err != nil {
		t.Error(err)
	}

	c = ppoConfig(base, reward, f.prompts, aligned)
	c.Training.MaxSteps, c.Training.BatchSize, c.Training.LearningRate = 40, 32, 2e-3
	c.PPO.ValueLearningRate = 3e-3
	r = mustPublish(t, c)
	rows := history(t, aligned)
	before, after := rows[0].Values["eval_objective/scores"], r.Metrics["eval_objective/scores"]
	if after < before+0.5 {
		t.Errorf("PPO: mean reward %.3f before, %.3f after", before, after)
	}
	if r.Metrics["kl"] <= 0 || rows[0].Values["kl"] > 1e-6 {
		t.Errorf("PPO: KL %g before, %g after", rows[0].Values["kl"], r.Metrics["kl"])
	}
	for _, row := range rows {
		if off, ok := row.Values["completions/logp_difference"]; ok && off > 1e-5 {
			t.Errorf("PPO, step %d: sampler and trainer differ by %g nats a token", row.Step, off)
		}
		if ratio, ok := row.Values["val/ratio"]; ok && row.Step == 1 && math.Abs(ratio-1) > 0.2 {
			t.Errorf("PPO: the first step's mean ratio is %g", ratio)
		}
	}
}

// meanReward checks that demonstrations have a mean reward of 0 under a published reward model.
func meanReward(t *testing.T, dir, demonstrations string) error {
	tok, err := tokenizer.Load(dir)
	if err != nil {
		return err
	}
	m, err := run.LoadModel(dir, tensor.Float32, tensor.CPU)
	if err != nil {
		return err
	}
	e := data.Encoder{Tokenizer: tok, MaxLength: 64}
	sequences, _, err := e.Sequences(data.Read(demonstrations, runconfig.Dataset{}))
	if err != nil {
		return err
	}
	tensor.NoGrad(func() {
		if mean := evaluate.Scores(m, data.BatchSequences(sequences, 0)).Mean().Item(); math.Abs(mean) > 1e-4 {
			t.Errorf("the demonstrations' mean reward is %g", mean)
		}
	})
	return nil
}

// TestPPOStopsAtItsKL: a run that leaves its reference ends early and publishes what it has.
func TestPPOStopsAtItsKL(t *testing.T) {
	dir := t.TempDir()
	methods(t, dir) // for the checkpoints
	c := ppoConfig(filepath.Join(dir, "base"), filepath.Join(dir, "reward"), filepath.Join(dir, "prompts.jsonl"), filepath.Join(dir, "out"))
	c.PPO.StopKL, c.Training.LearningRate = 0.5, 1e-2
	r := mustPublish(t, c)
	if r.Step == 0 || r.Step >= r.TotalSteps || !strings.Contains(r.Message, "ppo.stopKL is 0.5") {
		t.Errorf("got step %d of %d, message %q", r.Step, r.TotalSteps, r.Message)
	}
}

// TestPPOWithFewPrompts: fewer prompts than one minibatch wants.
func TestPPOWithFewPrompts(t *testing.T) {
	dir := t.TempDir()
	methods(t, dir)
	prompts := write(t, dir, "few.jsonl", strings.Repeat("{\"prompt\": \"double 3 =\"}\n", 5))
	c := ppoConfig(filepath.Join(dir, "base"), filepath.Join(dir, "reward"), prompts, filepath.Join(dir, "out"))
	c.Data.EvalFraction, c.Training.MaxSteps, c.PPO.InnerEpochs = 0, 2, 1
	if r := mustPublish(t, c); !(r.Metrics["grad_norm"] > 0) || math.IsInf(r.Metrics["grad_norm"], 0) {
		t.Errorf("got gradient norm %g", r.Metrics["grad_norm"])
	}
}

// TestWrongKindOfModel: a policy is no reward model, nor is a reward model of other tokens one.
func TestWrongKindOfModel(t *testing.T) {
	dir := t.TempDir()
	methods(t, dir)
	base, reward, prompts := filepath.Join(dir, "base"), filepath.Join(dir, "reward"), filepath.Join(dir, "prompts.jsonl")
	other := sftConfig(filepath.Join(dir, "sft.jsonl"), filepath.Join(dir, "other"))
	other.Model.Tokenizer.Train.VocabSize = 270
	mustPublish(t, other)
	otherReward := objectiveConfig(runconfig.RewardModel, "KWise", filepath.Join(dir, "other"), filepath.Join(dir, "ranked.jsonl"), filepath.Join(dir, "other-reward"))
	mustPublish(t, otherReward)
	out := filepath.Join(dir, "out")
	deep := dpoConfig(base, filepath.Join(dir, "pairs.jsonl"), out)
	deep.Training.FreezeLayers = 3
	for says, c := range map[string]*runconfig.RunConfig{
		"training.freezeLayers: got 3, model has 2 layers":             deep,
		"ppo.rewardModel.uri: file://" + base + " is a language model": ppoConfig(base, base, prompts, out),
		"model.uri: file://" + reward + " is a reward model":           dpoConfig(reward, filepath.Join(dir, "pairs.jsonl"), out),
		"ppo.rewardModel.uri: its tokenizer is another":                ppoConfig(base, filepath.Join(dir, "other-reward"), prompts, out),
	} {
		r := start(t, t.Context(), c, nil)
		if r.ExitCode != runconfig.ExitInvalid || !strings.Contains(r.Message, says) {
			t.Errorf("got %d %q, want 2 with %q", r.ExitCode, r.Message, says)
		}
	}
}
