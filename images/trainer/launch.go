package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/go-logr/logr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/metrics"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

// indexVariable is what an Indexed Job sets: which of its pods, and so which node of the run, this is.
const indexVariable = "JOB_COMPLETION_INDEX"

// launch starts this node's ranks, each the same program with the same arguments, and ends as they do.
func launch(ctx context.Context, log logr.Logger, c *runconfig.RunConfig) error {
	p := c.Placement
	invalid := func(err error) error {
		return finish(log, runconfig.Result{ExitCode: runconfig.ExitInvalid, Reason: runconfig.ReasonInvalidConfig, Message: err.Error()})
	}
	l := &distributed.Launcher{
		Nodes: max(p.Nodes, 1), Processes: max(p.ProcessesPerNode, 1), Rendezvous: p.Rendezvous, Environ: os.Environ(), Log: log,
		Command: func() *exec.Cmd {
			c := exec.Command("/proc/self/exe", os.Args[1:]...)
			c.Stdout, c.Stderr = os.Stdout, os.Stderr
			return c
		},
	}
	if l.Nodes > 1 {
		index := os.Getenv(indexVariable)
		n, err := strconv.Atoi(index)
		if err != nil || n < 0 || n >= l.Nodes {
			return invalid(fmt.Errorf("placement.nodes is %d, and the environment variable %s, which says which of them this is, %q", l.Nodes, indexVariable, index))
		}
		l.Node = n
	}
	if l.Plan = c.Output.RunHash; l.Plan == "" {
		var err error
		if l.Plan, err = c.Hash(); err != nil {
			return invalid(err)
		}
	}
	return finish(log, l.Run(ctx))
}

// rank carries out a run as one of its processes. It reports to its launcher, and does not outlive it.
func rank(ctx context.Context, p distributed.Process, c *runconfig.RunConfig, bad error) error {
	link := distributed.Connect()
	go func() {
		link.Gone()
		os.Exit(runconfig.ExitError)
	}()
	result := runconfig.Result{ExitCode: runconfig.ExitInvalid, Reason: runconfig.ReasonInvalidConfig}
	if bad != nil {
		result.Message = bad.Error()
	} else {
		env := run.Environment{Now: time.Now, Log: newLog(), Version: version, Process: &p, Open: open}
		if p.Rank == 0 {
			bar := metrics.NewBar(os.Stderr, 10*time.Second, time.Now)
			defer bar.Close()
			env.Progress = bar.Update
		} else { // what the others have to say, rank 0 says
			env.Log = logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
		}
		result = run.Run(ctx, c, env)
	}
	if err := link.Report(result); err != nil {
		return err
	}
	if result.ExitCode != runconfig.ExitDone {
		return exitCode(result.ExitCode)
	}
	return nil
}
