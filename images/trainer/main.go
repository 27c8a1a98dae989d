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
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// version is set by the linker.
var version = "dev"

// exitCode ends the process with a code of runconfig after the message was printed.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	if err := tensor.ReexecTuned(); err != nil {
		fmt.Fprintln(os.Stderr, "trainer: tuning the environment failed, going on slower:", err)
	}
	debug.SetGCPercent(400) // Go's heap is small beside libtorch's, which it does not manage
	// A step in progress ends, the state is saved, then the process exits.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	root := &cobra.Command{
		Use:           "trainer",
		Short:         "Train language models by SFT, reward modelling, PPO, DPO, SimPO and their relatives, and work with their checkpoints",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(trainCommand(), generateCommand(), evaluateCommand(), tokenizerCommand(), dataCommand(), objectiveCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		var code exitCode
		if errors.As(err, &code) {
			os.Exit(int(code))
		}
		fmt.Fprintln(os.Stderr, "trainer:", err)
		os.Exit(runconfig.ExitInvalid)
	}
}
