package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/runtime/run"
)

func removeCommand() *cobra.Command {
	var folder string
	c := &cobra.Command{
		Use:   "remove --folder DIR|URI",
		Short: "Delete a stage's folder: all of its runs, checkpoints and states; refuse any other folder",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			defer endAtSignal(c.Context())()
			return finish(newLog(), run.Remove(c.Context(), folder, open, func(path string) { fmt.Println("removed", path) }))
		},
	}
	c.Flags().StringVar(&folder, "folder", "", "an absolute path, or a URI of an object store")
	c.MarkFlagRequired("folder")
	return c
}
