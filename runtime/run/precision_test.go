package run_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
)

// TestBFloat16 trains with float32 master weights: losses stay near float32's, a stopped run ends as a straight one, byte
// for byte, what is published is bfloat16, and the next stage loads it.
func TestBFloat16(t *testing.T) {
	for _, method := range methods(t, t.TempDir()) {
		near, ok := map[string]float64{"SFT": 0.02, "DPO precomputed": 0.02, "KTO": 0.02, "KWise": 0.02, "PPO-ptx": 0.02}[method.name]
		if !ok {
			continue
		}
		t.Run(method.name, func(t *testing.T) {
			config := func(out, precision string) *runconfig.RunConfig {
				c := method.config(out)
				c.Training.Precision, c.Training.MaxSteps, c.Evaluation.EverySteps, c.Evaluation.Samples = precision, 8, 4, 0
				return c
			}
			wide, narrow := filepath.Join(t.TempDir(), "wide"), filepath.Join(t.TempDir(), "narrow")
			mustPublish(t, config(wide, "float32"))
			digest := mustPublish(t, config(narrow, "bfloat16")).Output.Digest
			want := history(t, wide)
			var furthest float64
			for i, row := range history(t, narrow) {
				for _, name := range []string{"loss", "eval_loss"} {
					if b, ok := want[i].Values[name]; ok {
						furthest = max(furthest, math.Abs(row.Values[name]-b)/max(1, math.Abs(b)))
					}
				}
			}
			t.Logf("losses are within %.4f of float32's", furthest)
			if !(furthest <= near) {
				t.Errorf("losses are off by up to %.4f, want at most %g", furthest, near)
			}

			stopped := filepath.Join(t.TempDir(), "stopped")
			ctx, cancel := context.WithCancel(t.Context())
			start(t, ctx, config(stopped, "bfloat16"), func(p runconfig.Progress) {
				if p.Step >= 5 {
					cancel()
				}
			})
			state, _, err := checkpoint.NewestState(stopped)
			if err != nil || state == "" {
				t.Fatalf("no state: %v", err)
			}
			types(t, filepath.Join(state, "policy.safetensors"), "F32")
			if got := mustPublish(t, config(stopped, "bfloat16")).Output.Digest; got != digest {
				t.Errorf("stopped and resumed: got digest %s, want the straight run's %s", got, digest)
			}

			types(t, filepath.Join(narrow, "model.safetensors"), "BF16")
			b, err := os.ReadFile(filepath.Join(narrow, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			var stored struct {
				DType string `json:"torch_dtype"`
			}
			if err := json.Unmarshal(b, &stored); err != nil || stored.DType != "bfloat16" {
				t.Errorf("config.json: got torch_dtype %q, %v", stored.DType, err)
			}
			if method.name != "SFT" {
				return
			}
			dir := t.TempDir()
			for precision, dtype := range map[string]string{"float32": "F32", "bfloat16": "BF16"} { // the next stage
				out := filepath.Join(dir, precision)
				c := dpoConfig(narrow, words(t, dir).pairs, out)
				c.Training.Precision = precision
				mustPublish(t, c)
				types(t, filepath.Join(out, "model.safetensors"), dtype)
				if loss := history(t, out)[0].Values["eval_loss"]; math.Abs(loss-math.Ln2) > 1e-6 {
					t.Errorf("%s: the reference is not the policy at first: eval_loss %v", precision, loss)
				}
			}
		})
	}
}

// types fails unless every tensor of a safetensors file has that type.
func types(t *testing.T, path, want string) {
	t.Helper()
	f, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, name := range f.Names() {
		if x, err := f.Read(name); err != nil || x.DType != want {
			t.Errorf("%s: %s is %s, want %s: %v", path, name, x.DType, want, err)
		}
	}
}

// TestBFloat16InShards: frozen halves and trainable float32 weights are divided among ranks together.
func TestBFloat16InShards(t *testing.T) {
	dir := t.TempDir()
	var alone, shared []*runconfig.RunConfig
	for _, m := range methods(t, t.TempDir()) {
		if m.name != "DPO" && m.name != "PPO-ptx" { // a frozen reference; frozen layers, an average
			continue
		}
		for _, list := range []*[]*runconfig.RunConfig{&alone, &shared} {
			c := m.config(filepath.Join(dir, m.name+strconv.Itoa(len(alone)+len(shared))))
			c.Name, c.Training.Precision, c.Training.MaxSteps, c.Evaluation.EverySteps, c.Evaluation.Samples = m.name, "bfloat16", 3, 2, 0
			*list = append(*list, c)
		}
	}
	for i, c := range alone {
		mustPublish(t, c)
		shared[i].Placement.Sharding = runconfig.ShardingFull
	}
	if r := launch(t, 2, shared); r.ExitCode != runconfig.ExitDone {
		t.Fatalf("%+v", r)
	}
	for i, c := range shared {
		want := history(t, folder(alone[i]))
		for j, row := range history(t, folder(c)) {
			if a, b := row.Values["loss"], want[j].Values["loss"]; !(math.Abs(a-b) <= 0.02*max(1, math.Abs(b))) {
				t.Errorf("%s, step %d: loss %v, in one process %v", c.Name, row.Step, a, b)
			}
		}
		types(t, filepath.Join(folder(c), "model.safetensors"), "BF16")
	}
}
