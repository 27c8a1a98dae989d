package run_test

import (
	"bytes"
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
	"github.com/alignment-dev/alignment-operator/runtime/run"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// weights are the published ones, as bytes.
func weights(t *testing.T, out string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(out, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A folder, a pattern and a weight of 1 give what one file gives.
func TestSourcesOfData(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	whole, err := os.ReadFile(f.sft)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(bytes.Lines(whole))
	parts := filepath.Join(dir, "parts")
	half := len(lines) / 2
	array := "[" + string(bytes.Join(lines[half:], []byte(","))) + "]"
	list := ""
	for _, part := range []struct{ name, content string }{{"a.jsonl", string(bytes.Join(lines[:half], nil))}, {"b/c.json", array}} {
		path := filepath.Join(parts, part.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(part.content), 0o600); err != nil {
			t.Fatal(err)
		}
		list += fmt.Sprintf("%s  %s\n", strings.TrimPrefix(storage.Digest([]byte(part.content)), "sha256:"), part.name)
	}
	train := func(name string, sets ...runconfig.Dataset) (runconfig.Result, []byte) {
		out := filepath.Join(dir, name)
		c := sftConfig(f.sft, out)
		c.Data.Train = sets
		c.Training.MaxSteps, c.Training.Epochs = 0, 1
		c.SetDefaults()
		return mustPublish(t, c), weights(t, out)
	}
	one := 1.0
	want, wantWeights := train("whole", runconfig.Dataset{URI: "file://" + f.sft})
	for name, sets := range map[string][]runconfig.Dataset{
		"folder":  {{URI: "file://" + parts, Digest: storage.Digest([]byte(list))}},
		"files":   {{URI: "file://" + parts + "/a.jsonl", Weight: &one}, {URI: "file://" + parts + "/b/*.json"}},
		"pattern": {{URI: "file://" + parts + "/*"}, {URI: "file://" + parts + "/b"}},
	} {
		if _, got := train(name, sets...); !bytes.Equal(got, wantWeights) {
			t.Errorf("%s: other weights than of one file", name)
		}
	}

	two, quarter := 2.0, 0.25
	n, held := len(lines), int(math.Round(0.1*float64(len(lines))))
	got, other := train("weights", runconfig.Dataset{URI: "file://" + parts + "/a.jsonl", Weight: &two}, runconfig.Dataset{URI: "file://" + parts + "/b", Weight: &quarter})
	// 0.1 of either is held out, by chance a little more of one.
	if about := (2*float64(half) + 0.25*float64(n-half)) * 0.9 / 16; math.Abs(float64(got.TotalSteps)-about) > 0.15*about || got.TotalSteps == want.TotalSteps || bytes.Equal(other, wantWeights) {
		t.Errorf("with weights there are %d steps, want about %.1f; without %d of %d examples less %d", got.TotalSteps, about, want.TotalSteps, n, held)
	}

	for message, set := range map[string]runconfig.Dataset{
		"data.train[0].uri: file://" + dir + "/none/* has no files": {URI: "file://" + dir + "/none/*"},
		"data.train[0].digest": {URI: "file://" + parts, Digest: storage.Digest(nil)},
	} {
		c := sftConfig(f.sft, filepath.Join(dir, "bad"))
		c.Data.Train = []runconfig.Dataset{set}
		c.SetDefaults()
		if r := start(t, t.Context(), c, nil); r.ExitCode != runconfig.ExitInvalid || !strings.Contains(r.Message, message) {
			t.Errorf("got %d %q, want %q", r.ExitCode, r.Message, message)
		}
	}
}

// TestPacking: a row of several examples is as good as a row for each.
func TestPacking(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	train := func(name string, packing bool) string {
		out := filepath.Join(dir, name)
		c := sftConfig(f.sft, out)
		c.Data.Packing, c.Training.Precision, c.Training.ActivationCheckpointing = packing, "float64", packing
		mustPublish(t, c)
		return out
	}
	want, got := history(t, train("rows", false)), history(t, train("packed", true))
	for i, row := range want {
		for name, b := range row.Values {
			if a := got[i].Values[name]; !(math.Abs(a-b) <= 1e-8*max(1, math.Abs(b))) {
				t.Errorf("step %d: %s is %.12f packed and %.12f not", row.Step, name, a, b)
			}
		}
	}
}

// TestExamplesInFiles: where the examples are kept makes no difference, for what each kind of method learns from.
func TestExamplesInFiles(t *testing.T) {
	dir := t.TempDir()
	for _, method := range methods(t, dir) {
		if !slices.Contains([]string{"SFT", "DPO", "KTO", "KWise", "PPO"}, method.name) {
			continue
		}
		var published [][]byte
		for _, budget := range []int64{0, 1} {
			out := filepath.Join(dir, fmt.Sprint(method.name, budget))
			r := run.Run(t.Context(), method.config(out), run.Environment{Now: time.Now, Log: testr.New(t), Version: "test", ExampleBudget: budget})
			if r.ExitCode != runconfig.ExitDone {
				t.Fatalf("%s: %s", method.name, r.Message)
			}
			published = append(published, weights(t, out))
		}
		if !bytes.Equal(published[0], published[1]) {
			t.Errorf("%s: examples in files give other weights", method.name)
		}
	}
}
