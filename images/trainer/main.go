// Command trainer trains language models as a RunConfig says, and works with what it publishes.
//
//	trainer train --config run.yaml
//	trainer generate --checkpoint out --prompt "func Len() int"
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/storage/remote"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// version is set by the linker.
var version = "dev"

// open opens what is not on this machine, with the credentials of the environment.
var open = remote.Opener{Getenv: os.Getenv}.Open

// exitCode ends the process with a code of runconfig after the message was printed.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	// A step in progress ends, the state is saved, then the process exits. First of all: a signal that Go
	// handles itself ends process 1 of a container with code 2, which is taken for invalid input.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	root := &cobra.Command{
		Use:           "trainer",
		Short:         "Train language models by SFT, reward modelling, PPO, DPO, SimPO and their relatives, and work with their checkpoints",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	for _, c := range []*cobra.Command{trainCommand(), generateCommand(), evaluateCommand(), objectiveCommand(), benchCommand()} {
		c.PreRun = tune
		root.AddCommand(c)
	}
	root.AddCommand(lookupCommand(), removeCommand(), tokenizerCommand(), dataCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		var code exitCode
		if errors.As(err, &code) {
			os.Exit(int(code))
		}
		fmt.Fprintln(os.Stderr, "trainer:", err)
		os.Exit(runconfig.ExitInvalid)
	}
}

// tune restarts the program, once, in the environment that libtorch computes best in.
func tune(c *cobra.Command, _ []string) {
	if c.Context().Err() != nil {
		os.Exit(runconfig.ExitTerminated) // a restart would forget the signal
	}
	if err := tensor.ReexecTuned(); err != nil {
		fmt.Fprintln(os.Stderr, "trainer: tuning the environment failed, going on slower:", err)
	}
	debug.SetGCPercent(400) // Go's heap is small beside libtorch's, which it does not manage
}

// endAtSignal ends a program that has nothing to save, and is done again from its beginning. It no longer
// does once the returned function is called: main ends the context too, on its way out.
func endAtSignal(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { os.Exit(runconfig.ExitTerminated) })
}
