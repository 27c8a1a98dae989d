package run_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/run"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// TestLoRAHoldsOneCopyOfTheBase: with adapters, the reference is the policy's own weights, and the value function is the
// reward model's.
func TestLoRAHoldsOneCopyOfTheBase(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	base, reward := filepath.Join(dir, "base"), filepath.Join(dir, "reward")
	few := func(c *runconfig.RunConfig) *runconfig.RunConfig { // little beside the weights
		c.Training.MaxSteps, c.Training.BatchSize, c.Training.MicroBatchSize = 2, 2, 1
		c.Evaluation.MaxExamples, c.Evaluation.Samples, c.Data.EvalFraction = 1, 0, 0.01
		return c
	}
	c := few(sftConfig(f.sft, base))
	c.Model.Init["hidden_size"], c.Model.Init["intermediate_size"], c.Model.Init["num_hidden_layers"] = 256, 512, 4
	mustPublish(t, c)
	mustPublish(t, few(objectiveConfig(runconfig.RewardModel, "KWise", base, f.ranked, reward)))
	st, err := os.Stat(filepath.Join(base, checkpoint.WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	weights := float64(st.Size())
	ppo := func(out string) *runconfig.RunConfig {
		c := few(ppoConfig(base, reward, f.prompts, out))
		c.PPO.MinibatchSize, c.PPO.EMADecay = 2, 0.9
		return c
	}
	dpo := func(out string) *runconfig.RunConfig { return few(dpoConfig(base, f.pairs, out)) }
	for name, test := range map[string]struct {
		config      func(out string) *runconfig.RunConfig
		least, most float64 // copies of the base
	}{
		"DPO":           {dpo, 3.9, 5.5}, // policy, reference and two moments
		"DPO with LoRA": {func(out string) *runconfig.RunConfig { return withLoRA(dpo(out), runconfig.LoRA{Rank: 2}) }, 1, 1.3},
		"PPO with LoRA": {func(out string) *runconfig.RunConfig { return withLoRA(ppo(out), runconfig.LoRA{Rank: 2}) }, 2, 2.6},
		"PPO":           {ppo, 8.9, 11.5}, // and reward model, value function, its moments, the average
	} {
		t.Run(name, func(t *testing.T) {
			var copies float64
			r := start(t, t.Context(), test.config(filepath.Join(t.TempDir(), "out")), func(p runconfig.Progress) {
				if p.Phase == runconfig.PhaseTraining && p.Step > 0 {
					_, bytes := tensor.Live()
					copies = float64(bytes) / weights
				}
			})
			if r.ExitCode != runconfig.ExitDone {
				t.Fatalf("%+v", r)
			}
			t.Logf("%.2f copies of the base's weights between steps", copies)
			if copies < test.least || copies > test.most {
				t.Errorf("want %g to %g", test.least, test.most)
			}
		})
	}
}

// TestAdaptersLearn: what each method is measured by gets better, with the base's weights as they are.
func TestAdaptersLearn(t *testing.T) {
	dir := t.TempDir()
	for _, method := range methods(t, dir) {
		if !strings.Contains(method.name, "with LoRA") {
			continue
		}
		t.Run(method.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			c := method.config(out)
			c.Training.MaxSteps, c.Training.LearningRate, c.Evaluation.Samples = 15, 1e-2, 0
			c.Training.LoRA.TargetModules, c.Training.LoRA.Publish = []string{"q_proj", "v_proj"}, runconfig.PublishMerged
			mustPublish(t, c)
			rows := history(t, out)
			first, last := rows[0].Values, rows[len(rows)-1].Values
			better := last["eval_loss"] < first["eval_loss"]
			if c.Method == runconfig.PPO {
				better = last["eval_objective/scores"] > first["eval_objective/scores"]
			}
			if !better {
				t.Errorf("held-out, before %v\nafter %v", first, last)
			}
			trained := weightsOf(t, out)
			for name, b := range weightsOf(t, filepath.Join(dir, "base")) {
				adapted := strings.Contains(name, "q_proj") || strings.Contains(name, "v_proj")
				if bytes.Equal(trained[name], b) == adapted {
					t.Errorf("%s: is adapted: %t, is the base's: %t", name, adapted, adapted)
				}
			}
		})
	}
}

// weightsOf are the bytes of a checkpoint's tensors.
func weightsOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	w, err := checkpoint.OpenWeights(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	out := map[string][]byte{}
	for _, name := range w.Names() {
		v, err := w.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = bytes.Clone(v.Data)
	}
	return out
}

// loaded are the bytes of a folder's model as it is loaded.
func loaded(t *testing.T, dir string) (out map[string][]byte) {
	t.Helper()
	out = map[string][]byte{}
	err := tensor.Run(func() error {
		m, err := run.LoadModel(dir, tensor.Float32, tensor.CPU)
		if err != nil {
			return err
		}
		for _, p := range m.Parameters() {
			out[p.Name] = p.Tensor.Bytes()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAdaptersArePublishedAndRead: merged or as an adapter, a run's result is the same model, and the one is as
// good to go on from as the other.
func TestAdaptersArePublishedAndRead(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	base := filepath.Join(dir, "base")
	mustPublish(t, sftConfig(f.sft, base))
	for _, method := range []runconfig.Method{runconfig.DPO, runconfig.RewardModel} {
		t.Run(string(method), func(t *testing.T) {
			out := map[string]string{}
			results := map[string]runconfig.Result{}
			for _, publish := range []string{runconfig.PublishMerged, runconfig.PublishAdapter} {
				out[publish] = filepath.Join(t.TempDir(), publish)
				c := objectiveConfig(method, map[runconfig.Method]string{runconfig.DPO: "DPO", runconfig.RewardModel: "KWise"}[method], base, f.pairs, out[publish])
				c.Training.LearningRate = 1e-2
				if method == runconfig.RewardModel {
					c.Data.Train[0].URI = "file://" + f.ranked
				}
				results[publish] = mustPublish(t, withLoRA(c, runconfig.LoRA{Rank: 4, Dropout: 0.1, TargetModules: []string{"q_proj", "down_proj"}, Publish: publish}))
			}
			merged, adapter := out[runconfig.PublishMerged], out[runconfig.PublishAdapter]
			rows := history(t, merged)
			if first, last := rows[0].Values["eval_loss"], rows[len(rows)-1].Values["eval_loss"]; last >= first-0.05 {
				t.Errorf("held-out loss %.4f at first, %.4f at last", first, last)
			}

			weights, before := weightsOf(t, merged), weightsOf(t, base)
			for name, b := range before {
				adapted := strings.Contains(name, "q_proj") || strings.Contains(name, "down_proj")
				if method == runconfig.RewardModel && name == "lm_head.weight" {
					continue
				}
				if bytes.Equal(weights[name], b) == adapted {
					t.Errorf("%s: is adapted: %t, is the base's: %t", name, adapted, adapted)
				}
			}
			if got := loaded(t, adapter); !maps.EqualFunc(got, weights, bytes.Equal) {
				t.Error("the adapter on its base is not what was published merged")
			}

			m, err := checkpoint.Verify(adapter, results[runconfig.PublishAdapter].Output.Digest)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range m.Files {
				names = append(names, f.Path)
			}
			want := []string{"README.md", "adapter_config.json", "adapter_model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
			if !slices.Equal(names, want) {
				t.Errorf("got %v, want %v", names, want)
			}
			if method == runconfig.RewardModel {
				return
			}
			var metrics []map[string]float64
			for _, from := range []string{merged, adapter} {
				c := dpoConfig(from, f.pairs, filepath.Join(t.TempDir(), "next"))
				c.Training.MaxSteps = 3
				r := mustPublish(t, withLoRA(c, runconfig.LoRA{Rank: 2}))
				metrics = append(metrics, r.Metrics)
				if from == adapter && (r.Inputs[0].Digest != results[runconfig.PublishAdapter].Output.Digest || r.Inputs[1].Role != "modelBase" || r.Inputs[1].URI != "file://"+base) {
					t.Errorf("got inputs %+v, want the adapter and its base", r.Inputs)
				}
			}
			if !maps.Equal(metrics[0], metrics[1]) {
				t.Errorf("from the merged checkpoint %v\nfrom the adapter %v", metrics[0], metrics[1])
			}
		})
	}
}

// TestReadsPEFTsAdapters: testdata/peft is what PEFT saved; see hack/goldens/lora.
func TestReadsPEFTsAdapters(t *testing.T) {
	for _, task := range []string{"causal_lm", "seq_cls"} {
		dir := filepath.Join("testdata", "peft", task)
		b, err := os.ReadFile(filepath.Join(dir, "output.json"))
		if err != nil {
			t.Fatal(err)
		}
		var golden struct {
			Tokens []int64
			Output struct{ Data string }
		}
		if err := json.Unmarshal(b, &golden); err != nil {
			t.Fatal(err)
		}
		raw, err := base64.StdEncoding.DecodeString(golden.Output.Data)
		if err != nil {
			t.Fatal(err)
		}
		err = tensor.Run(func() error {
			m, err := run.LoadModel(dir, tensor.Float32, tensor.CPU)
			if err != nil {
				return err
			}
			n := len(golden.Tokens)
			in := model.Input{Rows: 1, SeqLen: n, Tokens: golden.Tokens, Segments: make([]int64, n), Prefixes: slices.Repeat([]int64{-1}, n)}
			all := make([]int64, n)
			for i := range all {
				in.Positions, all[i] = append(in.Positions, int64(i)), int64(i)
			}
			hidden := m.Hidden(in)
			var got []float64
			if m.HasScore() {
				got = m.Scores(hidden, all).Float64s()
			} else {
				got = m.Logits(hidden, all).Float64s()
			}
			if len(got)*8 != len(raw) {
				t.Fatalf("%s: got %d numbers, want %d", task, len(got), len(raw)/8)
			}
			for i, v := range got {
				if want := math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:])); math.Abs(v-want) > 2e-5*max(1, math.Abs(want)) {
					t.Fatalf("%s: output %d is %g, PEFT's %g", task, i, v, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAdaptersThatDoNotGo(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	base, adapter := filepath.Join(dir, "base"), filepath.Join(dir, "adapter")
	mustPublish(t, sftConfig(f.sft, base))
	mustPublish(t, withLoRA(dpoConfig(base, f.pairs, adapter), runconfig.LoRA{Rank: 2, Publish: runconfig.PublishAdapter}))
	copied := func(name string, change func(c map[string]any)) string { // the adapter without its manifest
		to := filepath.Join(dir, name)
		if err := os.CopyFS(to, os.DirFS(adapter)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(to, checkpoint.ManifestFile)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, "adapter_config.json")
		b, err := os.ReadFile(path)
		var c map[string]any
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		change(c)
		if err == nil {
			b, err = json.Marshal(c)
		}
		if err == nil {
			err = os.WriteFile(path, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	other := sftConfig(f.sft, filepath.Join(dir, "other"))
	other.Model.Init["hidden_size"] = 16
	mustPublish(t, other)
	onBase := func(c *runconfig.RunConfig, base string) *runconfig.RunConfig {
		c.Model.Base = &runconfig.Source{URI: "file://" + base}
		return c
	}
	out := filepath.Join(dir, "out")
	for _, test := range []struct {
		says   string // "" is a run that ends well
		config *runconfig.RunConfig
	}{
		{`training.lora.targetModules: invalid LoRA: "c_attn" is no linear module of a block; there are q_proj`, withLoRA(dpoConfig(base, f.pairs, out), runconfig.LoRA{TargetModules: []string{"q_proj", "c_attn"}})},
		{"training.lora.publish: file://" + adapter + " is an adapter itself", withLoRA(dpoConfig(adapter, f.pairs, out), runconfig.LoRA{Publish: runconfig.PublishAdapter})},
		{"model.base: file://" + base + " has no adapter_config.json", onBase(dpoConfig(base, f.pairs, out), base)},
		{"model.base: is missing: file://" + filepath.Join(dir, "alone") + " is an adapter; its adapter_config.json says that it goes on \"" + base + "\"", dpoConfig(copied("alone", func(map[string]any) {}), f.pairs, out)},
		{"", onBase(dpoConfig(filepath.Join(dir, "alone"), f.pairs, filepath.Join(dir, "out-alone")), base)},
		{"lora_A.weight: got shape [2 32], the config says [2 16]", onBase(dpoConfig(filepath.Join(dir, "alone"), f.pairs, out), filepath.Join(dir, "other"))},
		{"use_dora: got true", onBase(dpoConfig(copied("dora", func(c map[string]any) { c["use_dora"] = true }), f.pairs, out), base)},
		{"peft_type: got \"IA3\"", onBase(dpoConfig(copied("ia3", func(c map[string]any) { c["peft_type"] = "IA3" }), f.pairs, out), base)},
		{"init_lora_weights: got pissa", onBase(dpoConfig(copied("pissa", func(c map[string]any) { c["init_lora_weights"] = "pissa" }), f.pairs, out), base)},
		{"adapts nothing that is known here", onBase(dpoConfig(copied("fewer", func(c map[string]any) { c["target_modules"] = []string{"v_proj"} }), f.pairs, out), base)},
	} {
		r := start(t, t.Context(), test.config, func(p runconfig.Progress) {
			if p.Step > 0 && test.says != "" {
				t.Errorf("%s: found only after training began", test.says)
			}
		})
		if test.says == "" && r.ExitCode == runconfig.ExitDone {
			continue
		}
		if r.ExitCode != runconfig.ExitInvalid || !strings.Contains(r.Message, test.says) || test.says == "" {
			t.Errorf("got %d %q, want 2 with %q", r.ExitCode, r.Message, test.says)
		}
	}

	changed := filepath.Join(base, "README.md")
	if err := os.WriteFile(changed, []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := start(t, t.Context(), dpoConfig(adapter, f.pairs, out), nil); r.Reason != runconfig.ReasonDigestMismatch || !strings.Contains(r.Message, "model.base") {
		t.Errorf("a changed base: got %s %q", r.Reason, r.Message)
	}
}
