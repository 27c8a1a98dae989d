package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// kwise compares the reward model whose batches have all pairs of a prompt as one element with one that is
// trained on the pairs in shuffled order (InstructGPT, section 3.5: the latter overfits), on solutions of
// grade-school-math: a question's reference and four models' answers, right before wrong.
func (l lab) kwise(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("kwise", flag.ContinueOnError)
	solutions := f.String("solutions", "", "grade-school-math's example_model_solutions.jsonl.gz")
	demonstrations := f.String("sft", "", "grade-school-math's train.jsonl.gz")
	epochs := f.Int("epochs", 4, "of the reward models")
	limit := f.Int("questions", 700, "how many, at most")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *solutions == "" || *demonstrations == "" {
		return errors.New("kwise: -solutions and -sft are needed")
	}
	prompts, err := writeRanked(*solutions, filepath.Join(l.out, "gsm-ranked.jsonl"), *limit)
	if err != nil {
		return err
	}
	sft, err := filepath.Abs(*demonstrations)
	if err != nil {
		return err
	}
	if _, err := l.train(ctx, "gsm-sft", runconfig.RunConfig{
		Method: runconfig.SFT, Seed: 1, Model: small(1024, 64, 2),
		Data:     runconfig.Data{Train: []runconfig.Dataset{{URI: "file://" + sft, Columns: map[string]string{"prompt": "question", "completion": "answer"}}}, EvalFraction: 0.02},
		Training: runconfig.Training{MaxSteps: 300, BatchSize: 32, LearningRate: 3e-3, WarmupRatio: 0.05, MaxGradNorm: 1, WeightDecay: 0.1, Beta2: 0.95},
	}); err != nil {
		return err
	}
	const batch = 16
	held := 0.2
	perEpoch := (prompts - int(float64(prompts)*held+0.5)) / batch
	seeds := pick(l.seeds, 3)
	fmt.Printf("%d questions, %d seeds; held-out accuracy and loss after each epoch, and the last epoch's training loss.\n\n", prompts, seeds)
	fmt.Print("| pairs | measure |")
	for e := range *epochs {
		fmt.Printf(" epoch %d |", e+1)
	}
	fmt.Print(" training loss |\n|---|---|", dashes(*epochs+1), "\n")
	for _, variant := range []string{"KWise", "ShuffledPairs"} {
		accuracy, loss := make([][]float64, *epochs), make([][]float64, *epochs)
		var training []float64
		for seed := range seeds {
			name := fmt.Sprintf("gsm-rm-%s-%d", variant, seed+1)
			c := runconfig.RunConfig{
				Method: runconfig.RewardModel, Seed: uint64(seed + 1), Model: runconfig.Model{Source: l.checkpoint("gsm-sft")},
				Data:      runconfig.Data{Train: l.file("gsm-ranked.jsonl"), EvalFraction: held, MaxLength: 768},
				Objective: &runconfig.Objective{Type: variant},
				Training:  runconfig.Training{Epochs: float64(*epochs), BatchSize: batch, LearningRate: 3e-4, MaxGradNorm: 1, WarmupRatio: 0.05},
			}
			c.Evaluation.EverySteps = perEpoch
			if variant == "ShuffledPairs" { // as many pairs a step as K-wise has on average, so as many steps
				pairs, err := countPairs(filepath.Join(l.out, "gsm-ranked.jsonl"))
				if err != nil {
					return err
				}
				c.Training.BatchSize = int(float64(batch)*pairs + 0.5)
				c.Evaluation.EverySteps = perEpoch
				c.Training.Epochs, c.Training.MaxSteps = 0, perEpoch**epochs
			}
			if _, err := l.train(ctx, name, c); err != nil {
				return err
			}
			for metric, to := range map[string][][]float64{"eval_rewards/accuracies": accuracy, "eval_loss": loss} {
				steps, values, err := l.history(name, metric)
				if err != nil {
					return err
				}
				for e := range *epochs {
					if i := slices.Index(steps, (e+1)*perEpoch); i >= 0 {
						to[e] = append(to[e], values[i])
					}
				}
			}
			_, values, err := l.history(name, "loss")
			if err != nil {
				return err
			}
			training = append(training, mean(values[max(0, len(values)-3):]))
		}
		for _, row := range []struct {
			measure string
			of      [][]float64
		}{{"accuracy", accuracy}, {"loss", loss}} {
			fmt.Printf("| %s | %s |", variant, row.measure)
			for e := range *epochs {
				fmt.Printf(" %s |", spread(row.of[e]))
			}
			fmt.Printf(" %s |\n", spread(training))
		}
	}
	return nil
}

// writeRanked makes ranked examples of the solutions of at most limit questions that have a right and a
// wrong one, and counts them.
func writeRanked(from, to string, limit int) (prompts int, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", from, err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return 0, err
	}
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	for decoder := json.NewDecoder(z); decoder.More() && prompts < limit; {
		var row map[string]json.RawMessage
		if err := decoder.Decode(&row); err != nil {
			return 0, fmt.Errorf("%s: %w", from, err)
		}
		var r struct {
			Prompt    string   `json:"prompt"`
			Responses []string `json:"responses"`
			Ranks     []int    `json:"ranks"`
		}
		var reference string
		if err := errors.Join(json.Unmarshal(row["question"], &r.Prompt), json.Unmarshal(row["ground_truth"], &reference)); err != nil {
			return 0, fmt.Errorf("%s: %w", from, err)
		}
		r.Responses, r.Ranks = []string{reference}, []int{1}
		for _, model := range []string{"6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"} {
			var s struct {
				Right    bool   `json:"is_correct"`
				Solution string `json:"solution"`
			}
			if err := json.Unmarshal(row[model], &s); err != nil {
				return 0, fmt.Errorf("%s: %s: %w", from, model, err)
			}
			rank := 2
			if s.Right {
				rank = 1
			}
			r.Responses, r.Ranks = append(r.Responses, s.Solution), append(r.Ranks, rank)
		}
		if slices.Min(r.Ranks) == slices.Max(r.Ranks) {
			continue
		}
		prompts++
		if err := lines.Encode(r); err != nil {
			return 0, err
		}
	}
	return prompts, os.WriteFile(to, out.Bytes(), 0o644)
}

// countPairs is the mean number of pairs a prompt.
func countPairs(path string) (float64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var pairs, prompts float64
	for decoder := json.NewDecoder(bytes.NewReader(b)); decoder.More(); prompts++ {
		var r struct{ Ranks []int }
		if err := decoder.Decode(&r); err != nil {
			return 0, err
		}
		var right float64
		for _, rank := range r.Ranks {
			if rank == 1 {
				right++
			}
		}
		pairs += right * (float64(len(r.Ranks)) - right)
	}
	return pairs / prompts, nil
}
