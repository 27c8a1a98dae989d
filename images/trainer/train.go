package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/metrics"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

func trainCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "train --config run.yaml",
		Short: "Carry out a RunConfig, resuming what an earlier attempt left",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log := newLog()
			process, err := distributed.FromEnvironment(os.Environ())
			if err != nil {
				return err
			}
			config, err := runconfig.Load(path)
			if process != nil {
				return rank(c.Context(), *process, config, err)
			}
			if err != nil {
				return finish(log, runconfig.Result{ExitCode: runconfig.ExitInvalid, Reason: runconfig.ReasonInvalidConfig, Message: err.Error()})
			}
			if config.Placement.Ranks() > 1 {
				return launch(c.Context(), log, config)
			}
			bar := metrics.NewBar(os.Stderr, 10*time.Second, time.Now)
			result := run.Run(c.Context(), config, run.Environment{Now: time.Now, Log: log, Version: version, Open: open, Progress: bar.Update})
			bar.Close()
			return finish(log, result)
		},
	}
	c.Flags().StringVar(&path, "config", runconfig.ConfigPath, "the RunConfig")
	return c
}

func newLog() logr.Logger { return logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, nil)) }

// finish leaves the result where the kubelet looks for it and turns it into an exit code.
func finish(log logr.Logger, result runconfig.Result) error {
	f, err := os.OpenFile(runconfig.TerminationPath, os.O_WRONLY|os.O_TRUNC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist): // not in a pod
	case err != nil:
		log.Error(err, "Writing the termination message failed")
	default:
		if _, err := f.Write(result.Short()); err != nil {
			log.Error(err, "Writing the termination message failed")
		}
		f.Close()
	}
	if result.ExitCode != runconfig.ExitDone {
		log.Error(nil, "Run ended early", "reason", result.Reason, "message", result.Message, "exitCode", result.ExitCode)
		return exitCode(result.ExitCode)
	}
	if result.Output == nil {
		log.Info("Done", "message", result.Message)
		return nil
	}
	log.Info("Run done", "output", result.Output.URI, "digest", result.Output.Digest, "steps", result.Step, "adopted", result.Adopted)
	return nil
}
