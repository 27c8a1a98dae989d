// Command bench times training steps of the demo's model in the trainer's own loop, on the batches
// that step_torch.py times in PyTorch. run.sh runs both and compares.
//
// It prints one JSON line: the median seconds of a step over a number of rounds, each over all
// batches, and tokens per second without padding.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/train"
)

const (
	batchSize = 64
	vocabSize = 2048
	config    = `{"model_type": "llama", "vocab_size": 2048, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4,
		"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": true}`
)

func main() {
	if err := tensor.ReexecTuned(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: tuning the environment failed, going on slower:", err)
	}
	method := flag.String("method", "SFT", "SFT or DPO")
	path := flag.String("lengths", "hack/bench/lengths.txt", "the examples' lengths")
	rounds := flag.Int("rounds", 5, "rounds over all batches; one more warms up")
	micro := flag.Int("micro-batch-size", batchSize, "examples of one forward pass")
	threads := flag.Int("threads", 0, "of operators; 0 is all")
	environment := flag.Bool("environment", false, "print the tuned variables instead, to give PyTorch the same")
	flag.Parse()
	if *environment {
		printEnvironment(os.Environ())
		return
	}
	if err := run(runconfig.Method(strings.ToUpper(*method)), *path, *rounds, *micro, *threads); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// printEnvironment prints what the restart of main has set.
func printEnvironment(environ []string) {
	for _, entry := range environ {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OPENBLAS_") || strings.HasPrefix(name, "OMP_") || strings.HasPrefix(name, "MALLOC_") {
			fmt.Println(entry)
		}
	}
}

func run(name runconfig.Method, path string, rounds, micro, threads int) error {
	lengths, err := readLengths(path)
	if err != nil {
		return err
	}
	c := &runconfig.RunConfig{Version: runconfig.Version, Method: name, Seed: 1}
	c.SetDefaults()
	steps := len(lengths) / batchSize // of a round
	c.Training.MaxSteps, c.Training.BatchSize, c.Training.MicroBatchSize = steps*(rounds+1), batchSize, micro
	c.Training.LearningRate, c.Training.WeightDecay, c.Training.MaxGradNorm = 1e-4, 0.1, 1
	c.Training.LogSteps = 10
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tensor.SetThreads(threads)
	var seconds, cpu []float64
	var totals train.Totals
	var last map[string]float64
	err = tensor.Run(func() error {
		parsed, err := model.ParseConfig("config", []byte(config))
		if err != nil {
			return err
		}
		policy, err := model.New(parsed, tensor.Float32, tensor.CPU, c.Seed)
		if err != nil {
			return err
		}
		loss, err := newLoss(name, policy, lengths, micro)
		if err != nil {
			return err
		}
		method := &train.Descent{Loss: loss, Policy: train.NewLearner("policy", policy, c.Training), MicroBatchSize: micro}
		started, cpuStarted, step := time.Time{}, 0., 0
		t := train.Trainer{
			Config: c, Method: method, Dir: dir, Now: time.Now,
			Log:    func(int, map[string]float64) error { return nil },
			Rewind: func(int) error { return nil },
			Progress: func(p runconfig.Progress) {
				if p.Phase != runconfig.PhaseTraining || p.Step == step && step > 0 {
					return
				}
				if step = p.Step; step%steps == 0 {
					now, cpuNow := time.Now(), cpuSeconds()
					if step > steps { // the first round warms up
						seconds = append(seconds, now.Sub(started).Seconds()/float64(steps))
						cpu = append(cpu, (cpuNow-cpuStarted)/float64(steps))
					}
					started, cpuStarted = now, cpuNow
				}
			},
		}
		totals, last, err = t.Run(context.Background())
		return err
	})
	if err != nil {
		return err
	}
	median := medianOf(seconds)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"engine": "trainer, libtorch " + tensor.Version(), "method": strings.ToLower(string(name)), "threads": threads,
		"secondsPerStep": median, "fastest": slices.Min(seconds), "cpuSecondsPerStep": medianOf(cpu),
		"tokensPerSecond": float64(totals.Tokens) / float64(totals.Step) / median, "loss": last["loss"],
	})
}

// cpuSeconds is the processor time of this process: on a busy machine, and with one thread, it says more
// than the clock.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no other argument that could be wrong
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func medianOf(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// lengths of an example in tokens, the end token included.
type exampleLengths struct{ prompt, chosen, rejected int }

func readLengths(path string) (list []exampleLengths, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		var l exampleLengths
		if _, err := fmt.Sscan(lines.Text(), &l.prompt, &l.chosen, &l.rejected); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, lines.Text(), err)
		}
		list = append(list, l)
	}
	if len(list) < batchSize || len(list)%batchSize != 0 {
		return nil, fmt.Errorf("%s: has %d examples, want batches of %d", path, len(list), batchSize)
	}
	return list, nil
}

func newLoss(name runconfig.Method, policy *model.Model, lengths []exampleLengths, micro int) (train.Loss, error) {
	random := rand.New(rand.NewPCG(1, 1))
	tokens := func(n int) []int32 {
		list := make([]int32, n)
		for i := range list {
			list[i] = 2 + random.Int32N(vocabSize-2)
		}
		return list
	}
	switch name {
	case runconfig.SFT:
		m := &train.SFT{Policy: policy, MicroBatchSize: micro}
		for _, l := range lengths {
			s := data.Sequence{Tokens: tokens(l.prompt + l.chosen), ResponseMask: make([]bool, l.prompt+l.chosen)}
			for i := l.prompt; i < len(s.Tokens); i++ {
				s.ResponseMask[i] = true
			}
			m.Examples = append(m.Examples, s)
		}
		return m, nil
	case runconfig.DPO:
		dpo, err := train.PairLossOf(runconfig.Objective{Type: "DPO", Beta: 0.1})
		if err != nil {
			return nil, err
		}
		m := &train.Preference{Policy: policy, Reference: policy.Clone().Freeze(), Objective: dpo, MicroBatchSize: micro}
		for _, l := range lengths {
			m.Examples = append(m.Examples, data.Pair{Prompt: tokens(l.prompt), Chosen: tokens(l.chosen), Rejected: tokens(l.rejected)})
		}
		return m, nil
	}
	return nil, fmt.Errorf("method %s: want SFT or DPO", cmp.Or(string(name), "none"))
}
