package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// The test program is the trainer when it is told so.
const asTrainer = "TEST_AS_TRAINER=1"

func TestMain(m *testing.M) {
	if name, value, _ := strings.Cut(asTrainer, "="); os.Getenv(name) == value {
		main()
		return
	}
	os.Exit(m.Run())
}

// trainer runs the program and returns its exit code and all that it printed.
func trainer(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, args...)
	c.Env = append(os.Environ(), asTrainer)
	b, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(b)
}

// TestExitCodes of the commands that a Job runs beside training: its failure policy depends on them.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	stage := filepath.Join(dir, "ns", "stage")
	if err := os.MkdirAll(filepath.Join(stage, "0123456789ab", "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	config := &runconfig.RunConfig{
		Version: runconfig.Version, Method: runconfig.DPO, Name: "x", Seed: 1,
		Model:  runconfig.Model{Source: runconfig.Source{URI: "file://" + filepath.Join(dir, "model")}},
		Data:   runconfig.Data{Train: []runconfig.Dataset{{URI: "file://" + filepath.Join(dir, "data.jsonl")}}},
		Output: runconfig.Output{URI: "file://" + filepath.Join(dir, "out")},
	}
	config.SetDefaults()
	b, err := runconfig.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "run.yaml")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"lookup", "--config", path}, runconfig.ExitDone, "holds no checkpoint"},
		{[]string{"lookup", "--config", filepath.Join(dir, "no.yaml")}, runconfig.ExitInvalid, "no.yaml"},
		{[]string{"remove", "--folder", filepath.Dir(stage)}, runconfig.ExitInvalid, "nothing is removed"},
		{[]string{"remove", "--folder", stage}, runconfig.ExitDone, "removed " + stage + "\n"},
		{[]string{"remove", "--folder", stage}, runconfig.ExitDone, "with 0 runs"},
		{[]string{"remove"}, runconfig.ExitInvalid, "folder"},
	} {
		if code, out := trainer(t, c.args...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%q: got exit code %d, %s, want %d with %q", c.args, code, out, c.code, c.says)
		}
	}
	if _, err := os.Stat(stage); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", stage, err)
	}
}

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("a%20#b.jsonl", `{"q": "Why? ", "completion": "So."}`)
	bad := write("bad.jsonl", "{\"prompt\": \"p\", \"completion\": \"c\"}\n{\"prompt\": 1}")
	tok := filepath.Join(dir, "tok")
	if code, out := trainer(t, "tokenizer", "train", "--vocab-size", "258", "--format", "text", "--out", tok, write("t.jsonl", `{"text": ""}`)); code != 0 {
		t.Fatal(out)
	}
	config := write("run.yaml", "version: 1\nmethod: SFT\nmodel: {uri: \"file://"+tok+"\"}\ndata: {train: [{uri: \"file://"+bad+"\"}]}\noutput: {uri: \"file://"+dir+"/out\"}\n")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--data", good, "--columns", "prompt=q", "--tokenizer", tok, "--examples", "1"}, runconfig.ExitDone, "  > So.<|endoftext|>\n"},
		{[]string{"--data", good, "--columns", "prompt=q", "--tokenizer", tok, "--eval", good, "--json"}, runconfig.ExitDone, `"kind": "trainedOn"`},
		{[]string{"--data", good, "--columns", "prompt=q", "--tokenizer", tok, "--method", "DPO"}, runconfig.ExitInvalid, "a preference is needed"},
		{[]string{"--config", config}, runconfig.ExitInvalid, "bad.jsonl:2: prompt: is a number"},
		{[]string{"--config", config, "--max-length", "3"}, runconfig.ExitInvalid, "none of the others can be"},
		{nil, runconfig.ExitInvalid, "at least one of the flags"},
	} {
		if code, out := trainer(t, append([]string{"data", "inspect"}, c.args...)...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%q: got exit code %d, %s, want %d with %q", c.args, code, out, c.code, c.says)
		}
	}
}

func TestInspectFlags(t *testing.T) {
	for says, break_ := range map[string]func(*adHoc){
		"--format":            func(a *adHoc) { a.format = "x" },
		"--columns":           func(a *adHoc) { a.columns = map[string]string{"q": "prompt"} },
		"--method":            func(a *adHoc) { a.method = "KTO" },
		"--max-length":        func(a *adHoc) { a.maxLength = -1 },
		"--max-prompt-length": func(a *adHoc) { a.maxLength, a.maxPromptLength = 8, 8 },
	} {
		a := adHoc{train: []string{"x.jsonl"}, tokenizer: "tok", format: "auto"}
		if _, err := a.config(); err != nil {
			t.Fatal(err)
		}
		break_(&a)
		if _, err := a.config(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want an error that names %s", err, says)
		}
	}
}
