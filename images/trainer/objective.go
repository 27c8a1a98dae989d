package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/runtime/objective/cases"
)

func objectiveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "objective < CASES",
		Short: "Compute losses, gradients and metrics, in float64, of cases given as JSON lines",
		Long: `Compute losses, gradients and metrics, in float64, of cases given as JSON lines on standard input, and
print a JSON line for each: to check an objective against your own numbers. Each case names its objective
and parameters, and has the log-probabilities of response tokens, or scores. docs/objectives.md has the format.`,
		Example: `  echo '{"objective":"DPO","params":{"beta":0.1},"policy":{"chosen":[[-12.5]],"rejected":[[-14]]},
    "reference":{"chosen":[[-13]],"rejected":[[-13.2]]}}' | tr -d '\n' | trainer objective`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return cases.Run(os.Stdin, os.Stdout) },
	}
}
