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
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/run"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/train"
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
	var r runconfig.Result
	if dir := os.Getenv(configsVariable); dir != "" {
		r = carryOut(*p, dir)
	} else {
		r = weigh(*p)
	}
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
	if configs == nil {
		dir = "" // to weigh
	}
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
	dir := t.TempDir()
	all := append(methods(t, dir), method{"SFT in small batches", func(out string) *runconfig.RunConfig { // of which some ranks have none
		c := sftConfig(filepath.Join(dir, "sft.jsonl"), out)
		c.Training.BatchSize, c.Training.MicroBatchSize = 3, 1
		return c
	}})
	configsOf := func() (configs []*runconfig.RunConfig) {
		dir := t.TempDir()
		for _, m := range all {
			c := m.config(filepath.Join(dir, m.name))
			c.Name = m.name
			c.Training.MaxSteps, c.Evaluation.EverySteps, c.Checkpoint.EverySteps = 4, 2, 3
			configs = append(configs, c)
		}
		return configs
	}
	alone := configsOf()
	for _, c := range alone {
		mustPublish(t, c)
	}
	for _, in := range []struct {
		ranks    int
		sharding string
	}{{2, runconfig.ShardingNone}, {4, runconfig.ShardingNone}, {4, runconfig.ShardingFull}} {
		configs := configsOf()
		for _, c := range configs {
			c.Placement.Sharding = in.sharding
		}
		if r := launch(t, in.ranks, configs); r.ExitCode != runconfig.ExitDone {
			t.Fatalf("%d ranks, sharding %s: %+v", in.ranks, in.sharding, r)
		}
		for i, c := range configs {
			off, where := distance(t, folder(alone[i]), folder(c))
			t.Logf("%s in %d ranks, sharding %s: at most %.1e off (%s)", c.Name, in.ranks, in.sharding, off, where)
			if !(off <= tolerance) {
				t.Errorf("%s in %d ranks, sharding %s: %s is %g off", c.Name, in.ranks, in.sharding, where, off)
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

// TestShardedRankHoldsItsPart: of four ranks each holds at most 0.35 of what one process holds in weights and moments, after
// a step, in which all gradients were there.
func TestShardedRankHoldsItsPart(t *testing.T) {
	r := launch(t, 4, nil)
	if r.ExitCode != runconfig.ExitDone {
		t.Fatalf("%+v", r)
	}
	t.Logf("at rest %.3f, at the most of a step, activations included, %.3f of one process's weights and moments", r.Metrics["rest"], r.Metrics["peak"])
	if share := r.Metrics["rest"]; !(share > 0.2 && share <= 0.35) {
		t.Errorf("a rank holds %.3f of one process's weights and moments", share)
	}
}

// weigh compares what a step leaves in memory with the weights divided to what it leaves with all of them; the most of
// any rank.
func weigh(p distributed.Process) (r runconfig.Result) {
	c, err := model.ParseConfig("weigh", []byte(`{"model_type": "llama", "vocab_size": 1024, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 6, "num_attention_heads": 4}`))
	if err != nil {
		panic(err)
	}
	batch := data.BatchSequences([]data.Sequence{{Tokens: []int32{3, 1, 4}, ResponseMask: []bool{false, true, true}}}, 0)
	measure := func(g, among *distributed.Group) (rest, peak float64) {
		tensor.Scoped(func() {
			_, before := tensor.Live()
			m, err := model.New(c, tensor.Float32, tensor.CPU, 1, among)
			if err != nil {
				panic(err)
			}
			l := train.NewLearner("policy", m, runconfig.Training{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8})
			l.Group = g
			tensor.ResetPeak()
			tensor.Scoped(func() {
				evaluate.TokenLogps(m, batch).TokenLogps.Sum().Backward()
				m.FinishBackward()
				if _, err := l.Update(1e-3, 0); err != nil {
					panic(err)
				}
			})
			_, after := tensor.Live()
			rest, peak = float64(after-before), float64(tensor.PeakBytes()-before)
		})
		return rest, peak
	}
	err = tensor.Run(func() error {
		g, err := distributed.Join(p, tensor.CPU)
		if err != nil {
			return err
		}
		all, _ := measure(nil, nil)
		rest, peak := measure(g, g)
		r.Metrics = map[string]float64{}
		for _, of := range distributed.Gather(g, []float64{rest / all, peak / all}) {
			r.Metrics["rest"], r.Metrics["peak"] = max(r.Metrics["rest"], of[0]), max(r.Metrics["peak"], of[1])
		}
		return nil
	})
	if err != nil {
		return runconfig.Result{ExitCode: runconfig.ExitError, Reason: runconfig.ReasonError, Message: err.Error()}
	}
	return r
}
