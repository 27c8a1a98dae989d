package run_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

func lookup(t *testing.T, c *runconfig.RunConfig) runconfig.Result {
	t.Helper()
	return run.Lookup(t.Context(), c, run.Environment{Now: time.Now, Log: testr.New(t), Version: "test"})
}

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	out := filepath.Join(dir, "out")
	c := sftConfig(f.sft, out)
	hash, err := c.Hash()
	if err != nil {
		t.Fatal(err)
	}
	r := lookup(t, c)
	if r.ExitCode != runconfig.ExitDone || r.Reason != runconfig.ReasonNotPublished || r.Output != nil || r.RunHash != hash || r.Message == "" || r.Adopted {
		t.Errorf("before the run: got %+v", r)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Error("the lookup made the folder")
	}
	published := mustPublish(t, c)
	before := content(t, out)
	r = lookup(t, c)
	if r.ExitCode != runconfig.ExitDone || r.Reason != runconfig.ReasonSucceeded || !r.Adopted || r.RunHash != hash || r.Step != 12 {
		t.Errorf("after the run: got %+v", r)
	}
	if r.Output == nil || *r.Output != *published.Output || len(r.Inputs) != 1 || r.Inputs[0] != published.Inputs[0] || !maps.Equal(r.Metrics, published.Metrics) {
		t.Errorf("after the run: got %+v, want what was published: %+v", r, published)
	}
	if adopted := start(t, t.Context(), c, nil); !adopted.Adopted || *adopted.Output != *r.Output || !maps.Equal(adopted.Metrics, r.Metrics) {
		t.Errorf("train adopts %+v, lookup %+v", adopted, r)
	}
	if r = lookup(t, c); !maps.Equal(content(t, out), before) && r.Output == nil {
		t.Error("the lookup changed the folder")
	}
}

// content is what the checkpoint of a folder consists of.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	m, _, err := checkpoint.ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, file := range m.Files {
		b, err := os.ReadFile(filepath.Join(dir, file.Path))
		if err != nil {
			t.Fatal(err)
		}
		out[file.Path] = string(b)
	}
	return out
}

// TestLookupRefuses what Run refuses, and is neither stopped nor misled by what else may lie there.
func TestLookupRefuses(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	base := filepath.Join(dir, "base")
	mustPublish(t, sftConfig(f.sft, base))
	for name, test := range map[string]struct {
		change func(t *testing.T, out string, c *runconfig.RunConfig)
		code   int
		reason string
		says   string
	}{
		"other inputs": {func(t *testing.T, _ string, c *runconfig.RunConfig) {
			hash, err := c.Hash()
			if err != nil {
				t.Fatal(err)
			}
			c.Output.RunHash = hash // the URI is the same file, as far as the configuration knows
			c.Data.Train[0].URI = "file://" + write(t, t.TempDir(), "sft.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n")
		}, runconfig.ExitInvalid, runconfig.ReasonInvalidData, "trained on other inputs"},
		"another run": {func(_ *testing.T, _ string, c *runconfig.RunConfig) { c.Seed = 9 },
			runconfig.ExitInvalid, runconfig.ReasonInvalidConfig, "another run"},
		"changed weights": {func(t *testing.T, out string, _ *runconfig.RunConfig) { write(t, out, "config.json", "{}") },
			runconfig.ExitInvalid, runconfig.ReasonDigestMismatch, "config.json"},
		"no input": {func(_ *testing.T, _ string, c *runconfig.RunConfig) { c.Data.Train[0].URI = "file:///nowhere.jsonl" },
			runconfig.ExitInvalid, "", "nowhere.jsonl"},
		"no manifest": {func(t *testing.T, out string, _ *runconfig.RunConfig) { write(t, out, "manifest.json", "{") },
			runconfig.ExitError, runconfig.ReasonError, "manifest"},
		"a pipe for a manifest": {func(t *testing.T, out string, _ *runconfig.RunConfig) { pipe(t, filepath.Join(out, "manifest.json")) },
			runconfig.ExitError, runconfig.ReasonError, "not a regular file"},
		"a pipe for weights": {func(t *testing.T, out string, _ *runconfig.RunConfig) {
			pipe(t, filepath.Join(out, "model.safetensors"))
		},
			runconfig.ExitInvalid, runconfig.ReasonDigestMismatch, "model.safetensors"},
		"a pipe for data": {func(t *testing.T, out string, c *runconfig.RunConfig) {
			path := filepath.Join(t.TempDir(), "pipe.jsonl")
			pipe(t, path)
			c.Data.Train[0].URI = "file://" + path
		}, runconfig.ExitInvalid, runconfig.ReasonInvalidData, "not a regular file"},
		"a forged result": {func(t *testing.T, out string, _ *runconfig.RunConfig) {
			write(t, out, "result.json", `{"exitCode":3,"reason":"Diverged","metrics":{"eval_loss":-1},"output":{"digest":"sha256:0"}}`)
		}, runconfig.ExitDone, runconfig.ReasonSucceeded, ""},
		"an endless result": {func(t *testing.T, out string, _ *runconfig.RunConfig) {
			path := filepath.Join(out, "result.json")
			os.Remove(path)
			if err := os.Symlink("/dev/zero", path); err != nil {
				t.Fatal(err)
			}
		}, runconfig.ExitDone, runconfig.ReasonSucceeded, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			if err := os.CopyFS(out, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			c := sftConfig(f.sft, out)
			test.change(t, out, c)
			r := lookup(t, c)
			if r.ExitCode != test.code || test.reason != "" && r.Reason != test.reason || !strings.Contains(r.Message, test.says) {
				t.Errorf("got %d %s %q, want %d %s with %q", r.ExitCode, r.Reason, r.Message, test.code, test.reason, test.says)
			}
			if r.ExitCode == runconfig.ExitDone && (r.Metrics["eval_loss"] <= 0 || len(r.Output.Digest) != 71) {
				t.Errorf("took the result's word: %+v", r)
			}
		})
	}
}

func pipe(t *testing.T, path string) {
	t.Helper()
	os.Remove(path)
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
}
