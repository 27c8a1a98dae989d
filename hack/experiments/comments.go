package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/hack/demo/corpus"
)

// comments makes the demo's data and trains its SFT model.
func (l lab) comments(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	declarations, err := corpus.Collect(os.DirFS(filepath.Join(strings.TrimSpace(string(root)), "src")))
	if err != nil {
		return err
	}
	if err := corpus.Make(declarations, 0.05, 1).Write(l.out, nil); err != nil {
		return err
	}
	_, err = l.train(ctx, "sft", runconfig.RunConfig{
		Method: runconfig.SFT, Seed: 1, Model: small(2048, 128, 4),
		Data: runconfig.Data{Train: l.file(corpus.SFTTrain), Eval: l.file(corpus.SFTEval), MaxLength: 192},
		Training: runconfig.Training{
			MaxSteps: 1000, BatchSize: 64, LearningRate: 3e-3, WarmupRatio: 0.02, MinLearningRateRatio: 0.05,
			MaxGradNorm: 1, WeightDecay: 0.1, Beta2: 0.95,
		},
		Evaluation: runconfig.Evaluation{MaxNewTokens: 48},
	})
	return err
}

// ptx compares PPO with and without the pretraining mix (InstructGPT, section 4.2 and appendix E.6): how
// much reward each gains over the SFT model, and how much worse each becomes at what that was trained on. As in
// the paper, the mix is not of the prompts' kind: these are functions, the mix is of comments on types.
func (l lab) ptx(ctx context.Context) error {
	if err := l.comments(ctx); err != nil {
		return err
	}
	for from, to := range map[string]struct{ name, begins string }{
		corpus.PPOTrain: {"functions-train.jsonl", "func "}, corpus.PPOEval: {"functions-eval.jsonl", "func "}, corpus.SFTTrain: {"types.jsonl", "type "},
	} {
		if err := l.filter(from, to.name, to.begins); err != nil {
			return err
		}
	}
	reward, err := l.train(ctx, "rm", runconfig.RunConfig{
		Method: runconfig.RewardModel, Seed: 1, Model: runconfig.Model{Source: l.checkpoint("sft")},
		Data: runconfig.Data{
			Train: l.file(corpus.RMTrain), Eval: l.file(corpus.RMEval), Demonstrations: l.file(corpus.SFTEval), MaxLength: 192,
		},
		Training: runconfig.Training{MaxSteps: 240, BatchSize: 32, MicroBatchSize: 16, LearningRate: 1e-3, WarmupRatio: 0.05, Beta2: 0.95, MaxGradNorm: 1},
	})
	if err != nil {
		return err
	}
	fmt.Printf("Reward model: held-out accuracy %.3f.\n\n", reward.Metrics["eval_rewards/accuracies"])
	measures := []string{"eval_objective/scores", "eval_ptx_loss", "kl", "eval_completions/mean_length"}
	fmt.Print("| run | reward | pretraining loss | KL | length |\n|---|---|---|---|---|\n")
	seeds := pick(l.seeds, 5)
	before := make([][]float64, len(measures)) // by seed, which also draws the held-out pretraining examples
	after := map[string][][]float64{}
	variants := []struct {
		name        string
		coefficient float64
	}{{"PPO", 0}, {"PPO-ptx", 0.12}}
	for _, v := range variants {
		before, after[v.name] = make([][]float64, len(measures)), make([][]float64, len(measures))
		for seed := range seeds {
			name := fmt.Sprintf("%s-%d", strings.ToLower(v.name), seed+1)
			c := runconfig.RunConfig{
				Method: runconfig.PPO, Seed: uint64(seed + 1), Model: runconfig.Model{Source: l.checkpoint("sft")},
				Data: runconfig.Data{Train: l.file("functions-train.jsonl"), Eval: l.file("functions-eval.jsonl"), Pretraining: l.file("types.jsonl"), MaxLength: 192},
				PPO: &runconfig.PPOSettings{
					RewardModel: l.checkpoint("rm"), MaxNewTokens: 48, MinibatchSize: 32, ValueClipRange: 5, MissingEOSPenalty: ptr(10.), // as the demo's
					KLCoefficient: ptr(0.05), PTXCoefficient: v.coefficient, ValueLearningRate: 2e-3,
				},
				Training: runconfig.Training{MaxSteps: 60, BatchSize: 128, LearningRate: 3e-4, WarmupRatio: 0.2, MaxGradNorm: 1},
			}
			if _, err := l.train(ctx, name, c); err != nil {
				return err
			}
			for i, m := range measures {
				_, values, err := l.history(name, m)
				if err != nil {
					return err
				}
				before[i] = append(before[i], values[0])
				after[v.name][i] = append(after[v.name][i], values[len(values)-1])
			}
		}
	}
	row := func(name string, of func(i int) string) {
		fmt.Printf("| %s |", name)
		for i := range measures {
			fmt.Printf(" %s |", of(i))
		}
		fmt.Println()
	}
	row("SFT", func(i int) string { return spread(before[i]) })
	for _, v := range variants {
		row(v.name, func(i int) string { return spread(after[v.name][i]) })
	}
	plain, mixed := after["PPO"], after["PPO-ptx"]
	var kept, given []float64
	for i := range seeds {
		kept = append(kept, 100*(mixed[0][i]-before[0][i])/(plain[0][i]-before[0][i]))
		given = append(given, 100*(plain[1][i]-mixed[1][i])/(plain[1][i]-before[1][i]))
	}
	fmt.Printf("\nSeed by seed, the mix keeps %s %% of PPO's gain in reward and gives back %s %% of its loss on the pretraining data.\n", spread(kept), spread(given))
	return nil
}

// filter copies the examples whose prompt begins so.
func (l lab) filter(from, to, begins string) error {
	b, err := os.ReadFile(filepath.Join(l.out, from))
	if err != nil {
		return err
	}
	var kept []byte
	for line := range bytes.Lines(b) {
		var row struct{ Prompt string }
		if err := json.Unmarshal(line, &row); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		if strings.HasPrefix(row.Prompt, begins) {
			kept = append(kept, line...)
		}
	}
	return os.WriteFile(filepath.Join(l.out, to), kept, 0o644)
}

// length compares SimPO with and without length normalisation (SimPO, section 4.2): Spearman's correlation
// of a held-out chosen response's mean log-probability with its length.
func (l lab) length(ctx context.Context) error {
	if err := l.comments(ctx); err != nil {
		return err
	}
	measures := []string{"eval_logps/length_correlation", "eval_completions/mean_length", "eval_rewards/accuracies"}
	fmt.Print("| run | length correlation | sampled length | reward accuracy |\n|---|---|---|---|\n")
	seeds := pick(l.seeds, 5)
	var before string
	for _, normalise := range []bool{true, false} {
		after := make([][]float64, len(measures))
		for seed := range seeds {
			name := fmt.Sprintf("simpo-%t-%d", normalise, seed+1)
			c := runconfig.RunConfig{
				Method: runconfig.SimPO, Seed: uint64(seed + 1), Model: runconfig.Model{Source: l.checkpoint("sft")},
				Data:      runconfig.Data{Train: l.file(corpus.DPOTrain), Eval: l.file(corpus.DPOEval), MaxLength: 192},
				Objective: &runconfig.Objective{LengthNormalize: &normalise},
				Training:  runconfig.Training{MaxSteps: 80, BatchSize: 64, LearningRate: 1e-4, WarmupRatio: 0.1, MaxGradNorm: 1},
			}
			if _, err := l.train(ctx, name, c); err != nil {
				return err
			}
			for i, m := range measures {
				_, values, err := l.history(name, m)
				if err != nil {
					return err
				}
				if len(values) == 0 {
					continue
				}
				if i == 0 {
					before = fmt.Sprintf("%.3f", values[0])
				}
				after[i] = append(after[i], values[len(values)-1])
			}
		}
		fmt.Printf("| SimPO, length normalised: %t |", normalise)
		for i := range measures {
			fmt.Printf(" %s |", spread(after[i]))
		}
		fmt.Println()
	}
	fmt.Printf("| SFT | %s | | |\n", before)
	return nil
}
