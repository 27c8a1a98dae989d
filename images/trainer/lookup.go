package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

func lookupCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "lookup --config run.yaml",
		Short: "Look whether a RunConfig's checkpoint is already published; train nothing",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			defer endAtSignal(c.Context())()
			log := newLog()
			config, err := runconfig.Load(path)
			if err != nil {
				return finish(log, runconfig.Result{ExitCode: runconfig.ExitInvalid, Reason: runconfig.ReasonInvalidConfig, Message: err.Error()})
			}
			return finish(log, run.Lookup(c.Context(), config, run.Environment{Now: time.Now, Log: log, Version: version, Open: open}))
		},
	}
	c.Flags().StringVar(&path, "config", runconfig.ConfigPath, "the RunConfig")
	return c
}
