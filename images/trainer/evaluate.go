package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/rollout"
	"github.com/alignment-dev/alignment-operator/runtime/run"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

func evaluateCommand() *cobra.Command {
	var dir, reference, reward, prompts, device string
	var batchSize int
	var each bool
	o := rollout.Options{}
	c := &cobra.Command{
		Use:   "evaluate --checkpoint DIR --prompts FILE [--reference DIR] [--reward-model DIR]",
		Short: "Sample a checkpoint's answers and print, as JSON, their mean reward, KL to a reference and length",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if batchSize < 1 {
				return fmt.Errorf("--batch-size: got %d, want 1 or more", batchSize)
			}
			texts, err := readPrompts(prompts)
			if err != nil {
				return err
			}
			tok, err := tokenizer.Load(filepath.Join(dir, "tokenizer.json"))
			if err != nil {
				return err
			}
			for flag, other := range map[string]string{"--reference": reference, "--reward-model": reward} {
				if other == "" {
					continue
				}
				t, err := tokenizer.Load(filepath.Join(other, "tokenizer.json"))
				if err != nil {
					return err
				}
				if !t.SameVocabulary(tok) {
					return fmt.Errorf("%s: %s has another tokenizer than %s", flag, other, dir)
				}
			}
			e := data.Encoder{Tokenizer: tok}
			ids := make([][]int32, len(texts))
			for i, text := range texts {
				ids[i] = e.Prompt(text)
			}
			o.Pad, _ = tok.Pad()
			o.EOS = e.Stops()
			return tensor.Run(func() error {
				p := evaluate.Policy{Rollout: o, MicroBatchSize: batchSize}
				for _, m := range []struct {
					flag, dir string
					score     bool
					into      **model.Model
				}{{"--checkpoint", dir, false, &p.Policy}, {"--reference", reference, false, &p.Reference}, {"--reward-model", reward, true, &p.Reward}} {
					if m.dir == "" {
						continue
					}
					loaded, err := run.LoadModel(m.dir, tensor.Float32, tensor.Device(device))
					if err != nil {
						return err
					}
					if loaded.HasScore() != m.score {
						return fmt.Errorf("%s: %s is a reward model: %t, want %t", m.flag, m.dir, loaded.HasScore(), m.score)
					}
					*m.into = loaded.Freeze()
				}
				started := time.Now()
				var responses []evaluate.Response
				for i := 0; i < len(ids); i += batchSize {
					responses = append(responses, p.Answer(ids[i:min(len(ids), i+batchSize)])...)
				}
				seconds := time.Since(started).Seconds()
				out := json.NewEncoder(os.Stdout)
				out.SetEscapeHTML(false)
				if !each {
					m := evaluate.Mean(responses)
					return out.Encode(struct {
						evaluate.Measures
						TokensPerSecond float64 `json:"tokensPerSecond"` // sampled, and measured
					}{m, m.Length * float64(m.Responses) / seconds})
				}
				for i, r := range responses {
					if err := out.Encode(struct {
						Prompt   string  `json:"prompt"`
						Response string  `json:"response"`
						Reward   float64 `json:"reward"`
						KL       float64 `json:"kl"`
						Length   int     `json:"length"`
						Ended    bool    `json:"ended"`
					}{texts[i], tok.Decode(r.Tokens, true), r.Reward, r.KL, len(r.Tokens), r.Ended}); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "checkpoint", "", "the policy, a Hugging Face folder")
	f.StringVar(&reference, "reference", "", "the policy that the KL is measured to")
	f.StringVar(&reward, "reward-model", "", "a RewardModelJob's checkpoint")
	f.StringVar(&prompts, "prompts", "", "a JSONL file with a prompt column, - is standard input")
	f.BoolVar(&each, "each", false, "print a line for each response instead of the means")
	f.StringVar(&device, "device", "cpu", "cpu or cuda:0")
	f.IntVar(&o.MaxNewTokens, "max-new-tokens", 64, "longest response in tokens")
	f.Float64Var(&o.Temperature, "temperature", 1, "the KL is the policy's own at 1 only")
	f.Uint64Var(&o.Seed, "seed", 0, "of sampling")
	f.IntVar(&batchSize, "batch-size", 64, "prompts answered at once")
	c.MarkFlagRequired("checkpoint")
	c.MarkFlagRequired("prompts")
	return c
}
