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
