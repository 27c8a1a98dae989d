package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/run"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

func tokenizerCommand() *cobra.Command {
	c := &cobra.Command{Use: "tokenizer", Short: "Work with tokenizers"}
	var out, format string
	var size int
	train := &cobra.Command{
		Use:   "train --out DIR FILE...",
		Short: "Train a byte-level BPE tokenizer on the texts of JSONL files",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			var bad error
			t, err := tokenizer.Train(func(yield func(string) bool) {
				for _, f := range files {
					for rec, err := range data.Read(f, runconfig.Dataset{Format: format}) {
						if err != nil {
							bad = err
							return
						}
						for text := range rec.Texts() {
							if !yield(text) {
								return
							}
						}
					}
				}
			}, size, run.SpecialTokens())
			if bad != nil {
				return bad
			}
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o755); err != nil {
				return err
			}
			fmt.Printf("%d tokens\n", t.VocabSize())
			return t.Save(out)
		},
	}
	train.Flags().StringVar(&out, "out", "", "the folder to write tokenizer.json to")
	train.Flags().StringVar(&format, "format", "auto", "the files' format")
	train.Flags().IntVar(&size, "vocab-size", 32000, "tokens, bytes and special ones included")
	train.MarkFlagRequired("out")
	c.AddCommand(train)
	return c
}
