// Package bench times training steps of randomly initialised models on random tokens, in the trainer's own loop.
package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/train"
)

// Options say what to time.
type Options struct {
	Method    runconfig.Method // SFT or DPO
	Config    model.Config
	Precision string // float32, float64 or bfloat16
	// SeqLen is the tokens of an example. A pair has half of it as its prompt and the other half as each of its responses.
	SeqLen            int
	Batch, MicroBatch int // examples, or pairs
	// Steps are timed, after WarmUp others.
	Steps, WarmUp           int
	ActivationCheckpointing bool
	Device                  tensor.Device
	// PeakTFLOPS is what the device can do; 0 looks its name up.
	PeakTFLOPS float64
	Now        func() time.Time
}

// Result is what was seen.
type Result struct {
	Method     string `json:"method"`
	Precision  string `json:"precision"`
	Device     string `json:"device"`
	Libtorch   string `json:"libtorch"`
	Parameters int64  `json:"parameters"`
	SeqLen     int    `json:"seqLen"`
	Batch      int    `json:"batch"`
	MicroBatch int    `json:"microBatch"`
	Steps      int    `json:"steps"`
	// SecondsPerStep is the median, Fastest the least.
	SecondsPerStep float64 `json:"secondsPerStep"`
	Fastest        float64 `json:"fastest"`
	// TokensPerSecond counts a pair's prompt once.
	TokensPerSecond float64 `json:"tokensPerSecond"`
	ModelTFLOP      float64 `json:"modelTFLOP"` // of a step, see FLOP
	TFLOPS          float64 `json:"tflops"`
	PeakTFLOPS      float64 `json:"peakTFLOPS,omitempty"`
	MFU             float64 `json:"mfu,omitempty"`
	// PeakMemoryBytes is libtorch's own count on the CPU, and what the device says is taken on a GPU.
	PeakMemoryBytes int64   `json:"peakMemoryBytes"`
	Loss            float64 `json:"loss"` // the last step's
}

// presets are architectures to time.
var presets = map[string]string{
	// Llama 3.2 1B's shapes.
	"1b": `{"model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
		"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072, "rope_theta": 500000,
		"rms_norm_eps": 1e-5, "tie_word_embeddings": true}`,
	"tiny": `{"model_type": "llama", "vocab_size": 2048, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4,
		"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": true}`,
}

// Architecture is a preset, or what a config.json says.
func Architecture(nameOrFile string) (model.Config, error) {
	if text, ok := presets[nameOrFile]; ok {
		return model.ParseConfig(nameOrFile, []byte(text))
	}
	b, err := os.ReadFile(nameOrFile)
	if err != nil {
		return model.Config{}, fmt.Errorf("no preset (1b, tiny), and no config.json: %w", err)
	}
	return model.ParseConfig(nameOrFile, b)
}

func (o *Options) check() error {
	if o.MicroBatch == 0 {
		o.MicroBatch = o.Batch
	}
	switch {
	case o.Method != runconfig.SFT && o.Method != runconfig.DPO:
		return fmt.Errorf("method: got %q, want SFT or DPO", o.Method)
	case !slices.Contains([]string{"float32", "float64", "bfloat16"}, o.Precision):
		return fmt.Errorf("precision: got %q, want float32, float64 or bfloat16", o.Precision)
	case o.SeqLen < 4 || o.SeqLen%2 != 0 || o.SeqLen > o.Config.MaxPositionEmbeddings:
		return fmt.Errorf("seq-len: got %d, want an even number from 4 to the model's %d", o.SeqLen, o.Config.MaxPositionEmbeddings)
	case o.Batch < 1 || o.MicroBatch < 1 || o.Batch%o.MicroBatch != 0:
		return fmt.Errorf("micro-batch: got %d, which does not divide batch %d", o.MicroBatch, o.Batch)
	case o.Steps < 1 || o.WarmUp < 0:
		return fmt.Errorf("steps: got %d after %d to warm up, want 1 or more after 0 or more", o.Steps, o.WarmUp)
	case o.Device != tensor.CPU && !tensor.CUDAAvailable():
		return fmt.Errorf("device: got %s, and this machine or this libtorch has no GPU", o.Device)
	}
	return nil
}

// Run times o. It must not be called inside tensor.Run.
func Run(ctx context.Context, o Options) (r Result, err error) {
	if err := o.check(); err != nil {
		return r, err
	}
	gpu, err := readGPU(o.Device)
	if err != nil {
		return r, err
	}
	c := &runconfig.RunConfig{Version: runconfig.Version, Method: o.Method, Seed: 1}
	c.SetDefaults()
	c.Training.BatchSize, c.Training.MicroBatchSize, c.Training.MaxSteps = o.Batch, o.MicroBatch, o.WarmUp+o.Steps
	c.Training.LogSteps, c.Training.MaxGradNorm = c.Training.MaxSteps+1, 1
	r = Result{
		Method: string(o.Method), Precision: o.Precision, Device: gpu.name, Libtorch: tensor.Version(), Parameters: o.Config.NumParameters(),
		SeqLen: o.SeqLen, Batch: o.Batch, MicroBatch: o.MicroBatch, Steps: o.Steps, PeakTFLOPS: o.PeakTFLOPS,
		ModelTFLOP: FLOP(o.Config, o.Method, o.SeqLen, o.Batch) / 1e12,
	}
	if r.PeakTFLOPS == 0 && o.Precision == "bfloat16" {
		r.PeakTFLOPS = gpu.bfloat16TFLOPS()
	}
	var seconds []float64
	var tokens int64
	err = tensor.Run(func() error {
		method, err := o.newMethod(c.Training)
		if err != nil {
			return err
		}
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		tensor.ResetPeak()
		last := o.Now()
		t := train.Trainer{
			Config: c, Method: method, Dir: dir, Now: o.Now,
			Log: func(int, map[string]float64) error { return nil }, Rewind: func(int) error { return nil },
			Progress: func(p runconfig.Progress) {
				if now := o.Now(); p.Phase == runconfig.PhaseTraining {
					if p.Step > o.WarmUp && len(seconds) < p.Step-o.WarmUp {
						seconds = append(seconds, now.Sub(last).Seconds())
					}
					last = now
				}
			},
		}
		totals, metrics, err := t.Run(ctx)
		tokens, r.Loss, r.PeakMemoryBytes = totals.Tokens, metrics["loss"], tensor.PeakBytes()
		if err == nil && gpu.here() {
			after, err := readGPU(o.Device)
			r.PeakMemoryBytes = after.used - gpu.used
			return err
		}
		return err
	})
	if err != nil {
		return r, err
	}
	slices.Sort(seconds)
	r.SecondsPerStep, r.Fastest = seconds[len(seconds)/2], seconds[0]
	r.TokensPerSecond = float64(tokens) / float64(c.Training.MaxSteps) / r.SecondsPerStep
	r.TFLOPS = r.ModelTFLOP / r.SecondsPerStep
	if r.PeakTFLOPS > 0 {
		r.MFU = r.TFLOPS / r.PeakTFLOPS
	}
	return r, nil
}

// newMethod makes the model and as many random examples as a batch has.
func (o *Options) newMethod(t runconfig.Training) (train.Method, error) {
	weights := tensor.Float32
	if o.Precision == "float64" {
		weights = tensor.Float64
	}
	policy, err := model.New(o.Config, weights, o.Device, 1)
	if err != nil {
		return nil, err
	}
	if o.Precision == "bfloat16" {
		policy.ComputeIn(tensor.BFloat16)
	}
	policy.CheckpointActivations(o.ActivationCheckpointing)
	random := rand.New(rand.NewPCG(1, 1))
	tokens := func(n int) []int32 {
		list := make([]int32, n)
		for i := range list {
			list[i] = random.Int32N(int32(o.Config.VocabSize))
		}
		return list
	}
	learner := train.NewLearner("policy", policy, t)
	if o.Method == runconfig.SFT {
		var examples []data.Sequence
		for range o.Batch {
			s := data.Sequence{Tokens: tokens(o.SeqLen), ResponseMask: make([]bool, o.SeqLen)}
			for i := 1; i < o.SeqLen; i++ {
				s.ResponseMask[i] = true
			}
			examples = append(examples, s)
		}
		return &train.Descent{Loss: &train.SFT{Policy: policy, Examples: examples, MicroBatchSize: o.MicroBatch}, Policy: learner, MicroBatchSize: o.MicroBatch}, nil
	}
	loss, err := train.PairLossOf(runconfig.Objective{Type: "DPO", Beta: 0.1})
	if err != nil {
		return nil, err
	}
	var examples []data.Pair
	for range o.Batch {
		examples = append(examples, data.Pair{Prompt: tokens(o.SeqLen / 2), Chosen: tokens(o.SeqLen / 2), Rejected: tokens(o.SeqLen / 2)})
	}
	dpo := &train.Preference{Policy: policy, Reference: policy.Clone().Freeze(), Objective: loss, Examples: examples, MicroBatchSize: o.MicroBatch}
	return &train.Descent{Loss: dpo, Policy: learner, MicroBatchSize: o.MicroBatch}, nil
}
