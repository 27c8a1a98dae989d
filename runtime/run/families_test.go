package run_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

// A model of every family is made, trained, published in shards, loaded again and becomes a reward model.
func TestFamilies(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	common := map[string]any{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
	for family, init := range map[string]map[string]any{
		"mistral":  {"sliding_window": 5},
		"qwen2":    {"use_sliding_window": true, "sliding_window": 6, "max_window_layers": 0, "tie_word_embeddings": true},
		"qwen3":    {"head_dim": 4, "rope_parameters": map[string]any{"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 16}},
		"gpt2":     {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "resid_pdrop": 0.1},
		"gpt_neox": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "rotary_pct": 0.5},
	} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			init["model_type"] = family
			if family != "gpt2" && family != "gpt_neox" {
				for k, v := range common {
					init[k] = v
				}
			}
			sft, reward := filepath.Join(t.TempDir(), "sft"), filepath.Join(t.TempDir(), "reward")
			c := sftConfig(f.sft, sft)
			c.Model.Init, c.Training.MaxSteps = init, 4
			r := run.Run(t.Context(), c, run.Environment{Now: time.Now, Log: testr.New(t), Version: "test", ShardBytes: 10_000})
			if r.ExitCode != runconfig.ExitDone {
				t.Fatalf("got exit code %d (%s): %s", r.ExitCode, r.Reason, r.Message)
			}
			m, _, err := checkpoint.ReadManifest(sft)
			if err != nil {
				t.Fatal(err)
			}
			for file, want := range map[string]bool{checkpoint.IndexFile: true, checkpoint.WeightsFile: false} {
				if _, err := os.Stat(filepath.Join(sft, file)); (err == nil) != want || m.Has(file) != want {
					t.Errorf("%s: %v, in the manifest: %t", file, err, m.Has(file))
				}
			}
			shards, err := filepath.Glob(filepath.Join(sft, "model-*-of-*.safetensors"))
			if err != nil || len(shards) < 2 {
				t.Errorf("shards %q, %v", shards, err)
			}
			for _, path := range shards {
				if !m.Has(filepath.Base(path)) {
					t.Errorf("%s is not in the manifest", path)
				}
			}
			c = objectiveConfig(runconfig.RewardModel, "KWise", sft, f.ranked, reward)
			c.Training.MaxSteps = 3
			mustPublish(t, c)
			for out, class := range map[string]string{sft: "ForCausalLM", reward: "ForSequenceClassification"} {
				b, err := os.ReadFile(filepath.Join(out, "config.json"))
				if err != nil {
					t.Fatal(err)
				}
				c, err := model.ParseConfig("config.json", b)
				if err != nil {
					t.Fatal(err)
				}
				if family == "gpt2" && out == sft {
					class = "LMHeadModel"
				}
				if c.ModelType != family || !strings.HasSuffix(c.Architectures[0], class) || c.VocabSize != 280 {
					t.Errorf("%s: got a %s of family %s, vocabulary %d", out, c.Architectures, c.ModelType, c.VocabSize)
				}
				if drop := string(c.Other["resid_pdrop"]); family == "gpt2" && drop != "0.1" {
					t.Errorf("resid_pdrop is %q", drop)
				}
				if dtype := string(c.Other["torch_dtype"]); dtype != `"float32"` {
					t.Errorf("torch_dtype is %s", dtype)
				}
			}
		})
	}
}
