package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/runtime/rollout"
	"github.com/alignment-dev/alignment-operator/runtime/run"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

func generateCommand() *cobra.Command {
	var dir, prompt, prompts, device string
	var batchSize int
	var o rollout.Options
	c := &cobra.Command{
		Use:   "generate --checkpoint DIR (--prompt TEXT | --prompts FILE)",
		Short: "Answer prompts with a checkpoint; --prompts reads {\"prompt\": ...} lines and prints {\"prompt\", \"response\"} lines",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			texts := []string{prompt}
			if prompts != "" {
				var err error
				if texts, err = readPrompts(prompts); err != nil {
					return err
				}
			}
			tok, err := tokenizer.Load(filepath.Join(dir, "tokenizer.json"))
			if err != nil {
				return err
			}
			var ids [][]int32
			for _, text := range texts {
				tokens := tok.Encode(text)
				if bos, ok := tok.BOS(); ok {
					tokens = slices.Insert(tokens, 0, bos)
				}
				ids = append(ids, tokens)
			}
			o.Pad, _ = tok.Pad()
			if eos, ok := tok.EOS(); ok {
				o.EOS = []int32{eos}
			}
			answer := func(text string, response []int32) error {
				if prompts == "" {
					_, err := fmt.Println(tok.Decode(response, true))
					return err
				}
				e := json.NewEncoder(os.Stdout)
				e.SetEscapeHTML(false)
				return e.Encode(struct {
					Prompt   string `json:"prompt"`
					Response string `json:"response"`
				}{text, tok.Decode(response, true)})
			}
			return tensor.Run(func() error {
				m, err := run.LoadModel(dir, tensor.Float32, tensor.Device(device))
				if err != nil {
					return err
				}
				for i := 0; i < len(ids); i += batchSize {
					j := min(len(ids), i+batchSize)
					for k, response := range rollout.Generate(m, ids[i:j], o) {
						if err := answer(texts[i+k], response); err != nil {
							return err
						}
					}
				}
				return nil
			})
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "checkpoint", "", "a Hugging Face folder")
	f.StringVar(&prompt, "prompt", "", "a text to continue")
	f.StringVar(&prompts, "prompts", "", "a JSONL file with a prompt column, - is standard input")
	f.StringVar(&device, "device", "cpu", "cpu or cuda:0")
	f.IntVar(&o.MaxNewTokens, "max-new-tokens", 64, "longest response in tokens")
	f.Float64Var(&o.Temperature, "temperature", 0, "0 takes the most likely token each time")
	f.Float64Var(&o.TopP, "top-p", 1, "sample from the fewest most likely tokens with at least this probability")
	f.Uint64Var(&o.Seed, "seed", 0, "of sampling")
	f.IntVar(&batchSize, "batch-size", 64, "prompts answered at once")
	c.MarkFlagRequired("checkpoint")
	c.MarkFlagsOneRequired("prompt", "prompts")
	c.MarkFlagsMutuallyExclusive("prompt", "prompts")
	return c
}

func readPrompts(path string) (out []string, err error) {
	in := os.Stdin
	if path != "-" {
		if in, err = os.Open(path); err != nil {
			return nil, err
		}
		defer in.Close()
	}
	r := bufio.NewReader(in)
	for line := 1; ; line++ {
		b, err := r.ReadBytes('\n')
		if len(b) > 1 || err == nil {
			var v struct {
				Prompt *string `json:"prompt"`
			}
			if err := json.Unmarshal(b, &v); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, line, err)
			}
			if v.Prompt == nil {
				return nil, fmt.Errorf("%s:%d: prompt: is missing", path, line)
			}
			out = append(out, *v.Prompt)
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
}
