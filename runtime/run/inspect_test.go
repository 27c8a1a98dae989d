package run_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data/inspect"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

// TestInspectCountsWhatRunTrainsOn of every method, on data of which something is dropped.
func TestInspectCountsWhatRunTrainsOn(t *testing.T) {
	for _, method := range methods(t, t.TempDir()) {
		t.Run(method.name, func(t *testing.T) {
			dir := t.TempDir()
			c := method.config(filepath.Join(dir, "out"))
			path := strings.TrimPrefix(c.Data.Train[0].URI, "file://")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.NewReplacer(`double 7 =`, ``, `" 16"`, `""`).Replace(string(b)) // no prompt, no response
			c.Data.Train[0].URI = "file://" + write(t, dir, "data.jsonl", lines)
			c.Training.MaxSteps, c.Evaluation = 1, runconfig.Evaluation{MaxNewTokens: 1}
			var trained struct{ Examples int }
			log := funcr.NewJSON(func(line string) {
				if strings.Contains(line, `"msg":"Training"`) {
					if err := json.Unmarshal([]byte(line), &trained); err != nil {
						t.Error(err)
					}
				}
			}, funcr.Options{})
			env := run.Environment{Now: time.Now, Log: log, Version: "test"}
			if r := run.Run(t.Context(), c, env); r.ExitCode != runconfig.ExitDone {
				t.Fatal(r.Message)
			}
			report, err := run.Inspect(t.Context(), c, env, inspect.Options{})
			if err != nil {
				t.Fatal(err)
			}
			l := report.Lists[0]
			if got := l.Examples - l.HeldOut; got != trained.Examples && method.name != "ShuffledPairs" || got == 0 || l.HeldOut == 0 {
				t.Errorf("got %d examples, %d held out, want %d trained on", l.Examples, l.HeldOut, trained.Examples)
			}
			if !slices.ContainsFunc(report.Problems, func(p *inspect.Problem) bool { return strings.HasPrefix(p.Kind, "empty") }) {
				t.Errorf("nothing is dropped: %+v", report.Problems)
			}
			if n := len(report.Lists); n != 1+len(c.Data.Pretraining) {
				t.Errorf("got %d lists", n)
			}
		})
	}
}

func TestInspectRefuses(t *testing.T) {
	dir := t.TempDir()
	data := write(t, dir, "data.jsonl", `{"prompt": "p", "completion": "c"}`)
	for says, break_ := range map[string]func(*runconfig.RunConfig){
		"no.jsonl":  func(c *runconfig.RunConfig) { c.Data.Train[0].URI = "file://" + filepath.Join(dir, "no.jsonl") },
		`claim "x"`: func(c *runconfig.RunConfig) { c.Data.Train[0].URI = "pvc://x/data.jsonl" },
		"model.tokenizer.uri": func(c *runconfig.RunConfig) {
			c.Model.Tokenizer = &runconfig.Tokenizer{Source: runconfig.Source{URI: "file:///no"}}
		},
	} {
		c := sftConfig(data, filepath.Join(dir, "out"))
		break_(c)
		if _, err := run.Inspect(t.Context(), c, run.Environment{Now: time.Now, Log: logr.Discard()}, inspect.Options{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want an error with %q", err, says)
		}
	}
}
