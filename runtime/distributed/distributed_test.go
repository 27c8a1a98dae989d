package distributed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// What a rank does, in a process of this test binary.
const (
	taskVariable   = "TEST_TASK"
	folderVariable = "TEST_FOLDER"
)

var tasks = map[string]func(*Group) error{"collectives": collectives, "sleep": sleep, "error": fails}

func TestMain(m *testing.M) {
	p, err := FromEnvironment(os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if p == nil {
		os.Exit(m.Run())
	}
	link := Connect()
	go func() {
		link.Gone()
		os.Exit(1)
	}()
	err = tensor.Run(func() error {
		g, err := Join(*p, tensor.CPU)
		if err != nil {
			return err
		}
		return tasks[os.Getenv(taskVariable)](g)
	})
	r := runconfig.Result{Reason: runconfig.ReasonSucceeded, Step: p.Rank + 1}
	if err != nil {
		r = runconfig.Result{ExitCode: runconfig.ExitInvalid, Reason: runconfig.ReasonInvalidData, Message: err.Error()}
		if Lost(err) {
			r = failed(err.Error())
		}
	}
	if err := link.Report(r); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(r.ExitCode)
}

func launcher(t *testing.T, node, nodes, processes int, rendezvous, task, dir string) *Launcher {
	return &Launcher{
		Node: node, Nodes: nodes, Processes: processes, Rendezvous: rendezvous, Log: testr.New(t), Plan: "test",
		Environ: append(os.Environ(), taskVariable+"="+task, folderVariable+"="+dir, "OMP_NUM_THREADS=1"),
		Command: func() *exec.Cmd {
			c := exec.Command("/proc/self/exe")
			c.Stdout, c.Stderr = os.Stderr, os.Stderr
			return c
		},
	}
}

// collectives checks each against what it must give.
func collectives(g *Group) error {
	w, r := float64(g.World()), float64(g.Rank())
	sum := w * (w + 1) / 2 // of 1..w
	var errs []error
	equal := func(what string, t *tensor.Tensor, want ...float64) {
		if got := t.Float64s(); !slices.Equal(got, want) {
			errs = append(errs, fmt.Errorf("rank %d: %s: got %v, want %v", g.Rank(), what, got, want))
		}
	}
	x := tensor.FromFloat32([]float32{float32(r + 1), float32(10 * (r + 1))}, 2)
	g.Sum(x)
	equal("Sum", x, sum, 10*sum)
	y := tensor.FromFloat64([]float64{r + 7}, 1)
	g.Broadcast(y)
	equal("Broadcast", y, 7)
	in := tensor.Full(r, tensor.Float32, 3)
	all := tensor.Zeros(tensor.Float32, 3*int64(w))
	g.AllGather(all, in)
	var want []float64
	for rank := range g.World() {
		want = append(want, float64(rank), float64(rank), float64(rank))
	}
	equal("AllGather", all, want...)
	parts := tensor.Arange(2 * int64(w)).To(tensor.Float32).MulScalar(r + 1)
	mine := tensor.Zeros(tensor.Float32, 2)
	g.ReduceScatter(mine, parts)
	equal("ReduceScatter", mine, 2*r*sum, (2*r+1)*sum)

	text := Gather(g, strings.Repeat("x", g.Rank()))
	for rank, s := range text {
		if len(s) != rank {
			errs = append(errs, fmt.Errorf("Gather: rank %d sent %q", rank, s))
		}
	}
	if got := g.SumOf([]float64{r, math.Inf(1)}); got[0] != sum-w || !math.IsInf(got[1], 1) {
		errs = append(errs, fmt.Errorf("SumOf: got %v", got))
	}
	if !g.Any(g.Rank() == g.World()-1) || g.Any(false) {
		errs = append(errs, errors.New("Any: wrong"))
	}
	var turns []int
	for piece, idle := range g.Turns(g.World() + 1) {
		if !idle {
			turns = append(turns, piece)
		}
	}
	dealt := slices.Concat(Gather(g, turns)...)
	slices.Sort(dealt)
	if n := len(dealt); n != g.World()+1 || dealt[n-1] != g.World() {
		errs = append(errs, fmt.Errorf("Turns: dealt %v", dealt))
	}
	return errors.Join(errs...)
}

// sleep says where it is, and meets the others until it is ended.
func sleep(g *Group) error {
	name := filepath.Join(os.Getenv(folderVariable), strconv.Itoa(g.Rank()))
	if err := os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	for {
		g.Any(false)
		time.Sleep(10 * time.Millisecond)
	}
}

var errInvalid = errors.New("the third line is wrong")

// fails ends rank 1 while the others wait for it.
func fails(g *Group) error {
	g.Any(false)
	if g.Rank() == 1 {
		return errInvalid
	}
	for {
		g.Any(false)
	}
}

func TestCollectives(t *testing.T) {
	for _, world := range []int{1, 2, 4} {
		r := launcher(t, 0, 1, world, "", "collectives", "").Run(t.Context())
		if r.ExitCode != 0 || r.Step != 1 { // rank 0's
			t.Errorf("%d ranks: %+v", world, r)
		}
	}
}

// pid waits for a rank to be at work.
func pid(t *testing.T, dir string, rank int) int {
	t.Helper()
	for range 600 {
		b, err := os.ReadFile(filepath.Join(dir, strconv.Itoa(rank)))
		if n, parsed := strconv.Atoi(string(b)); err == nil && parsed == nil {
			return n
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("rank %d did not start", rank)
	return 0
}

// kill ends the rank without a word and returns when it did.
func kill(t *testing.T, dir string, rank int) time.Time {
	t.Helper()
	if err := syscall.Kill(pid(t, dir, rank), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	return time.Now()
}

func TestKilledRankIsNamed(t *testing.T) {
	dir := t.TempDir()
	end := make(chan runconfig.Result, 1)
	go func() { end <- launcher(t, 0, 1, 4, "", "sleep", dir).Run(t.Context()) }()
	for rank := range 4 {
		pid(t, dir, rank)
	}
	kill(t, dir, 2)
	r := <-end
	if want := "rank 2 (node 0, process 2) was killed by signal 9 (killed)"; r.Message != want || r.ExitCode != runconfig.ExitError {
		t.Errorf("got %+v, want %s", r, want)
	}
	for rank := range 4 {
		if err := syscall.Kill(pid(t, dir, rank), 0); err == nil {
			t.Errorf("rank %d lives", rank)
		}
	}
}

// TestKilledRankIsNamedOnAllNodes has two launchers, as two pods have.
func TestKilledRankIsNamedOnAllNodes(t *testing.T) {
	dir, at := t.TempDir(), "127.0.0.1:"+freePort(t)
	ends := make(chan runconfig.Result, 2)
	for node := range 2 {
		go func() { ends <- launcher(t, node, 2, 2, at, "sleep", dir).Run(t.Context()) }()
	}
	for rank := range 4 {
		pid(t, dir, rank)
	}
	kill(t, dir, 3)
	for range 2 {
		if r, want := <-ends, "rank 3 (node 1, process 1) was killed by signal 9 (killed)"; r.Message != want || r.ExitCode != runconfig.ExitError {
			t.Errorf("got %+v, want %s", r, want)
		}
	}
}

// TestExitCodeOfTheFirstCause: the ranks that only lost another do not hide why it ended.
func TestExitCodeOfTheFirstCause(t *testing.T) {
	r := launcher(t, 0, 1, 3, "", "error", "").Run(t.Context())
	if r.ExitCode != runconfig.ExitInvalid || !strings.Contains(r.Message, errInvalid.Error()) || !strings.HasPrefix(r.Message, "rank 1 ") {
		t.Errorf("got %+v", r)
	}
}

func TestLaunchersMustAgree(t *testing.T) {
	at := "127.0.0.1:" + freePort(t)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan runconfig.Result, 1)
	go func() { first <- launcher(t, 0, 2, 1, at, "sleep", t.TempDir()).Run(ctx) }()
	other := launcher(t, 1, 2, 1, at, "sleep", t.TempDir())
	other.Plan = "another"
	if r := other.Run(ctx); r.ExitCode == 0 || !strings.Contains(r.Message, "node 1 is told of 2 nodes of 1 processes, run another, node 0 of 2 nodes of 1 processes, run test") {
		t.Errorf("got %+v", r)
	}
	cancel()
	if r := <-first; r.ExitCode != runconfig.ExitTerminated {
		t.Errorf("got %+v, want one that was interrupted", r)
	}
}

func TestGPUOfAProcess(t *testing.T) {
	for _, c := range []struct {
		environ []string
		local   int
		want    string
	}{
		{nil, 3, "3"},
		{[]string{"CUDA_VISIBLE_DEVICES=4,GPU-a1,6"}, 1, "GPU-a1"},
		{[]string{"CUDA_VISIBLE_DEVICES=4"}, 1, ""},
	} {
		env := Process{Local: c.local}.environment(c.environ)
		if !slices.Contains(env, "CUDA_VISIBLE_DEVICES="+c.want) || len(env) != 2 {
			t.Errorf("%v, process %d: got %v, want %q", c.environ, c.local, env, c.want)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
