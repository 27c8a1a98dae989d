package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// attempt is a trainer that runs.
type attempt struct {
	*exec.Cmd
	out bytes.Buffer
}

// attemptOf starts a run of a small model in so many ranks.
func attemptOf(t *testing.T, dir string, ranks int, sharding string, environ ...string) *attempt {
	t.Helper()
	var data strings.Builder
	for i := range 100 {
		fmt.Fprintf(&data, "{\"prompt\": \"double %d =\", \"completion\": \" %d\"}\n", i%50, i%50*2)
	}
	path := filepath.Join(dir, "data.jsonl")
	if err := os.WriteFile(path, []byte(data.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	config := &runconfig.RunConfig{
		Version: runconfig.Version, Method: runconfig.SFT, Name: "ranks", Seed: 1,
		Model: runconfig.Model{
			Init:      map[string]any{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
			Tokenizer: &runconfig.Tokenizer{Train: &runconfig.TokenizerTraining{VocabSize: 270}},
		},
		Data:       runconfig.Data{Train: []runconfig.Dataset{{URI: "file://" + path}}, EvalFraction: 0.1, MaxLength: 32},
		Training:   runconfig.Training{MaxSteps: 300, BatchSize: 8, LearningRate: 1e-3},
		Checkpoint: runconfig.Checkpoint{EverySteps: 20},
		Output:     runconfig.Output{URI: "file://" + filepath.Join(dir, "out")},
		Placement:  runconfig.Placement{Threads: 1, ProcessesPerNode: ranks, Sharding: sharding, Device: "cpu"},
	}
	for _, e := range environ {
		if e == twoNodes {
			config.Placement.Nodes, config.Placement.Rendezvous = 2, "127.0.0.1:1"
		}
	}
	config.SetDefaults()
	b, err := runconfig.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, fmt.Sprintf("run-%d.yaml", ranks))
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	a := &attempt{Cmd: exec.CommandContext(t.Context(), "/proc/self/exe", "train", "--config", path)}
	a.Env = append(append(os.Environ(), asTrainer), environ...)
	a.Stdout, a.Stderr = &a.out, &a.out
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	return a
}

const twoNodes = "TEST_TWO_NODES=1"

// ends waits for an exit code and for what was said.
func (a *attempt) ends(t *testing.T, code int, says string) {
	t.Helper()
	a.Wait()
	if got := a.ProcessState.ExitCode(); got != code || !strings.Contains(a.out.String(), says) {
		t.Fatalf("got exit code %d, want %d and %q:\n%s", got, code, says, a.out.String())
	}
}

// saved waits for a state of the run of this step or a later one.
func saved(t *testing.T, dir string, step int) {
	t.Helper()
	for range 1200 {
		states, err := os.ReadDir(filepath.Join(dir, "out", "state"))
		for _, s := range states {
			if n, bad := strconv.Atoi(strings.TrimPrefix(s.Name(), "step-")); err == nil && bad == nil && n >= step {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("no state of step %d in time", step)
}

// pidOf finds the process that is a rank of an attempt.
func (a *attempt) pidOf(t *testing.T, rank int) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", a.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, _ := os.ReadFile(task) // a thread may be gone
		for _, pid := range strings.Fields(string(b)) {
			env, _ := os.ReadFile("/proc/" + pid + "/environ")
			for _, e := range strings.Split(string(env), "\x00") {
				var p struct{ Rank int }
				text, ok := strings.CutPrefix(e, "ALIGNMENT_PROCESS=")
				if ok && json.Unmarshal([]byte(text), &p) == nil && p.Rank == rank {
					n, err := strconv.Atoi(pid)
					if err != nil {
						t.Fatal(err)
					}
					return n
				}
			}
		}
	}
	t.Fatalf("no process is rank %d:\n%s", rank, a.out.String())
	return 0
}

// TestRanksEndTogether: a rank that is killed ends the attempt with its name; the retry resumes, in another
// number of ranks, which have the weights whole or in parts; SIGTERM saves once for all; the launcher's own end leaves no rank behind.
func TestRanksEndTogether(t *testing.T) {
	dir := t.TempDir()
	four := attemptOf(t, dir, 4, runconfig.ShardingFull)
	saved(t, dir, 20)
	began := time.Now()
	if err := syscall.Kill(four.pidOf(t, 2), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	four.ends(t, runconfig.ExitError, "rank 2 (node 0, process 2) was killed by signal 9 (killed)")
	t.Logf("the attempt ended %v after its rank", time.Since(began).Round(time.Millisecond))

	two := attemptOf(t, dir, 2, runconfig.ShardingNone)
	saved(t, dir, 60)
	if err := two.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	two.ends(t, runconfig.ExitTerminated, "Resuming")

	three := attemptOf(t, dir, 3, runconfig.ShardingFull)
	saved(t, dir, 100)
	orphan := three.pidOf(t, 1)
	three.Process.Kill()
	three.ends(t, -1, "Resuming")
	alive := func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", orphan))
		return err == nil && !strings.Contains(string(b), ") Z ")
	}
	for i := 0; alive(); i++ {
		if i == 600 {
			t.Fatal("rank 1 outlived its launcher")
		}
		time.Sleep(50 * time.Millisecond)
	}
	attemptOf(t, dir, 1, runconfig.ShardingNone).ends(t, runconfig.ExitDone, "Resuming")
}

// TestNodeOfALauncher comes from the Indexed Job.
func TestNodeOfALauncher(t *testing.T) {
	for _, index := range []string{"", "2", "x"} {
		attemptOf(t, t.TempDir(), 2, runconfig.ShardingNone, twoNodes, indexVariable+"="+index).ends(t, runconfig.ExitInvalid, indexVariable)
	}
}
