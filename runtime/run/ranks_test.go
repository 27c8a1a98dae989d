package run_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

// configsVariable names, in a process that is a rank, a folder of RunConfigs to carry out one after another.
const configsVariable = "TEST_CONFIGS"

func TestMain(m *testing.M) {
	p, err := distributed.FromEnvironment(os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if p == nil {
		os.Exit(m.Run())
	}
	link := distributed.Connect()
	go func() {
		link.Gone()
		os.Exit(runconfig.ExitError)
	}()
	r := carryOut(*p, os.Getenv(configsVariable))
	if err := link.Report(r); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(r.ExitCode)
}

// carryOut is a rank's part of the runs.
func carryOut(p distributed.Process, dir string) (r runconfig.Result) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err == nil && len(files) == 0 {
		err = errors.New("no configuration")
	}
	for _, file := range files {
		c, bad := runconfig.Load(file)
		if err = bad; err != nil {
			break
		}
		r = run.Run(context.Background(), c, run.Environment{Now: time.Now, Log: logr.Discard(), Version: "test", Process: &p})
		if r.ExitCode != runconfig.ExitDone {
			r.Message = c.Name + ": " + r.Message
			return r
		}
	}
	if err != nil {
		return runconfig.Result{ExitCode: runconfig.ExitInvalid, Reason: runconfig.ReasonInvalidConfig, Message: err.Error()}
	}
	return r
}

// launch carries out runs in so many ranks, which share their processes for all of them.
func launch(t *testing.T, ranks int, configs []*runconfig.RunConfig) runconfig.Result {
	t.Helper()
	dir := t.TempDir()
	for i, c := range configs {
		c.Placement.ProcessesPerNode = ranks
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		b, err := runconfig.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, fmt.Sprintf("%02d.yaml", i), string(b))
	}
	l := distributed.Launcher{
		Nodes: 1, Processes: ranks, Log: testr.New(t), Environ: append(os.Environ(), configsVariable+"="+dir, "OMP_NUM_THREADS=1"),
		Command: func() *exec.Cmd {
			c := exec.Command("/proc/self/exe")
			c.Stdout, c.Stderr = os.Stderr, os.Stderr
			return c
		},
	}
	return l.Run(t.Context())
}

// tolerance of a trajectory in float32, of each metric: relative, or absolute below 1; 4e-6 was the most seen. The sums of a batch are added up in
// another order, and Adam divides by their roots.
const tolerance = 2e-5

// TestRanksGiveOneTrajectory: every metric of every step, and of every evaluation, is that of a run in one process.
func TestRanksGiveOneTrajectory(t *testing.T) {
	all := methods(t, t.TempDir())
	in := func(ranks int) (configs []*runconfig.RunConfig) {
		dir := t.TempDir()
		for _, m := range all {
			c := m.config(filepath.Join(dir, m.name))
			c.Name = m.name
			c.Training.MaxSteps, c.Evaluation.EverySteps, c.Checkpoint.EverySteps = 4, 2, 3
			configs = append(configs, c)
		}
		return configs
	}
	alone := in(1)
	for _, c := range alone {
		mustPublish(t, c)
	}
	for _, ranks := range []int{2, 4} {
		configs := in(ranks)
		if r := launch(t, ranks, configs); r.ExitCode != runconfig.ExitDone {
			t.Fatalf("%d ranks: %+v", ranks, r)
		}
		for i, c := range configs {
			off, where := distance(t, folder(alone[i]), folder(c))
			t.Logf("%s in %d ranks: at most %.1e off (%s)", c.Name, ranks, off, where)
			if !(off <= tolerance) {
				t.Errorf("%s in %d ranks: %s is %g off", c.Name, ranks, where, off)
			}
		}
	}
}

func folder(c *runconfig.RunConfig) string { return c.Output.URI[len("file://"):] }

// distance is the largest between two runs' metrics, relative to those above 1.
func distance(t *testing.T, want, got string) (most float64, where string) {
	t.Helper()
	a, b := history(t, want), history(t, got)
	if len(a) != len(b) {
		t.Errorf("%s has %d rows of metrics, %s has %d", want, len(a), got, len(b))
		return math.Inf(1), "the number of rows"
	}
	for i := range a {
		if a[i].Step != b[i].Step || len(a[i].Values) != len(b[i].Values) {
			t.Errorf("row %d: %v and %v", i, a[i], b[i])
			return math.Inf(1), fmt.Sprintf("row %d", i)
		}
		for name, v := range a[i].Values {
			other, ok := b[i].Values[name]
			if off := math.Abs(v-other) / max(1, math.Abs(v)); !ok || !(off <= most) {
				most, where = off, fmt.Sprintf("%s of step %d, %g and %g", name, a[i].Step, v, other)
			}
		}
	}
	return most, where
}
