package runconfig

// Version is the RunConfig version this package reads and writes.
const Version = 1

// Method names what a run trains; it is the kind of the resource without "Job".
type Method string

// The methods a RunConfig can name.
const (
	SFT Method = "SFT"
	DPO Method = "DPO"
)

// RunConfig is everything that decides a run's result, and where the run finds its
// inputs and leaves its outputs.
type RunConfig struct {
	// Version is 1. The trainer refuses another one.
	Version int `yaml:"version"`
	// Method is SFT or DPO.
	Method Method `yaml:"method"`
	// Name is for people: logs, the report's title. It does not enter the run hash.
	Name string `yaml:"name,omitempty"`
	// Seed drives initialisation, shuffling, dropout and sampling.
	Seed uint64 `yaml:"seed"`
	// Model is what training starts from.
	Model Model `yaml:"model"`
	// Reference is DPO's frozen reference policy; absent means Model as it was at step 0.
	Reference *Source `yaml:"reference,omitempty"`
	// Data is what to train and evaluate on.
	Data Data `yaml:"data"`
	// Objective is the loss of a preference method; absent for SFT.
	Objective *Objective `yaml:"objective,omitempty"`
	// Training is the optimisation: batch, learning rate, length of the run.
	Training Training `yaml:"training"`
	// Evaluation says when to evaluate and what to sample.
	Evaluation Evaluation `yaml:"evaluation"`
	// Checkpoint says how often to save resume state.
	Checkpoint Checkpoint `yaml:"checkpoint"`
	// Output is where the checkpoint is published.
	Output Output `yaml:"output"`
	// Placement is where the run computes. It does not enter the run hash.
	Placement Placement `yaml:"placement,omitempty"`
}

// Source is a published checkpoint: a Hugging Face folder.
type Source struct {
	// URI is file:///folder or pvc://claim/folder (the claim is mounted below Placement.Mounts).
	URI string `yaml:"uri"`
	// Digest is the SHA-256 of the folder's manifest.json, as "sha256:<64 hex>". When
	// set, the trainer verifies the manifest and every file before it loads one.
	Digest string `yaml:"digest,omitempty"`
}

// Model is a checkpoint, or an architecture to initialise from scratch.
// Exactly one of URI and Init is set.
type Model struct {
	Source `yaml:",inline"`
	// Init is a Hugging Face config.json, in YAML, of a model to initialise at random.
	Init map[string]any `yaml:"init,omitempty"`
	// Tokenizer is a folder with tokenizer.json, or "train" settings; needed with Init,
	// else the checkpoint's own is used.
	Tokenizer *Tokenizer `yaml:"tokenizer,omitempty"`
}

// Tokenizer is a folder with tokenizer.json, or the settings to train one on the run's data.
// Exactly one of URI and Train is set.
type Tokenizer struct {
	Source `yaml:",inline"`
	// Train trains a byte-level BPE tokenizer on the training texts before the first step.
	Train *TokenizerTraining `yaml:"train,omitempty"`
}

// TokenizerTraining are the settings of a byte-level BPE tokenizer.
type TokenizerTraining struct {
	// VocabSize counts bytes, merges and special tokens.
	VocabSize int `yaml:"vocabSize"`
}

// Data is what a run trains and evaluates on.
type Data struct {
	// Train are JSONL or JSONL.gz files, read one after another, then shuffled by Seed.
	Train []Dataset `yaml:"train"`
	// Eval are held-out files. When empty, EvalFraction of Train is held out.
	Eval []Dataset `yaml:"eval,omitempty"`
	// EvalFraction of the training examples, chosen by Seed, is held out when Eval is empty.
	EvalFraction float64 `yaml:"evalFraction,omitempty"`
	// MaxLength is the longest example, prompt and response, in tokens.
	MaxLength int `yaml:"maxLength"`
	// MaxPromptLength is the longest prompt in tokens; longer ones lose their beginning. 0 means MaxLength/2
	// where an example is too long.
	MaxPromptLength int `yaml:"maxPromptLength,omitempty"`
	// LossOn is "response" (default) or "all" (prompt tokens count too; SFT only).
	LossOn string `yaml:"lossOn,omitempty"`
}

// Dataset is one file of examples.
type Dataset struct {
	// URI is file:///x.jsonl, file:///x.jsonl.gz or pvc://claim/x.jsonl.
	URI string `yaml:"uri"`
	// Digest is the SHA-256 of the file as stored, as "sha256:<64 hex>"; verified when set.
	Digest string `yaml:"digest,omitempty"`
	// Format is auto (from the columns of the first line), text, prompt-completion,
	// messages, preference or hh.
	Format string `yaml:"format,omitempty"`
	// Columns maps this project's column names (prompt, completion, chosen, rejected, text,
	// messages) to the file's own.
	Columns map[string]string `yaml:"columns,omitempty"`
}

// Objective is the loss of a preference method.
type Objective struct {
	// Type is DPO.
	Type string `yaml:"type"`
	// Beta is the strength of the implicit KL constraint (DPO, equation 7).
	Beta float64 `yaml:"beta"`
	// LabelSmoothing is the probability that a preference label is flipped (cDPO).
	LabelSmoothing float64 `yaml:"labelSmoothing,omitempty"`
	// PrecomputeReference computes the reference's log-probabilities once, before the first
	// step, instead of at each step. The values are the same; it saves time from the second epoch on.
	PrecomputeReference bool `yaml:"precomputeReference,omitempty"`
}

// Training is the optimisation of a run.
type Training struct {
	// Epochs over the training data. Ignored when MaxSteps is set.
	Epochs float64 `yaml:"epochs,omitempty"`
	// MaxSteps is the number of optimiser steps.
	MaxSteps int `yaml:"maxSteps,omitempty"`
	// BatchSize is the number of examples (pairs for DPO) of one optimiser step, over all ranks.
	BatchSize int `yaml:"batchSize"`
	// MicroBatchSize is the number of examples of one forward pass; it divides BatchSize.
	// It changes memory and speed, not the result.
	MicroBatchSize int `yaml:"microBatchSize,omitempty"`
	// LearningRate is the peak.
	LearningRate float64 `yaml:"learningRate"`
	// Schedule is cosine (default), linear or constant, after the warm-up.
	Schedule string `yaml:"schedule,omitempty"`
	// WarmupSteps of linear warm-up; or WarmupRatio of all steps.
	WarmupSteps int     `yaml:"warmupSteps,omitempty"`
	WarmupRatio float64 `yaml:"warmupRatio,omitempty"`
	// MinLearningRateRatio is the end of the schedule, as a fraction of LearningRate.
	MinLearningRateRatio float64 `yaml:"minLearningRateRatio,omitempty"`
	// WeightDecay is AdamW's, on matrices only.
	WeightDecay float64 `yaml:"weightDecay,omitempty"`
	// Beta1, Beta2 and Epsilon are AdamW's.
	Beta1   float64 `yaml:"beta1"`
	Beta2   float64 `yaml:"beta2"`
	Epsilon float64 `yaml:"epsilon"`
	// MaxGradNorm clips the global gradient norm; 0 does not.
	MaxGradNorm float64 `yaml:"maxGradNorm,omitempty"`
	// Precision is float32 (default) or float64, of weights, activations and optimiser state.
	Precision string `yaml:"precision,omitempty"`
	// LogSteps is how many steps pass between two lines of metrics (default 10).
	LogSteps int `yaml:"logSteps,omitempty"`
}

// Evaluation says when to evaluate and what to sample.
type Evaluation struct {
	// EverySteps evaluates on the held-out data; it always happens before the first and after the last step.
	EverySteps int `yaml:"everySteps,omitempty"`
	// MaxExamples bounds one evaluation; 0 is all.
	MaxExamples int `yaml:"maxExamples,omitempty"`
	// Samples is how many held-out prompts are answered before and after training, for the report.
	Samples int `yaml:"samples,omitempty"`
	// MaxNewTokens bounds a sample.
	MaxNewTokens int `yaml:"maxNewTokens,omitempty"`
}

// Checkpoint says how often to save resume state.
type Checkpoint struct {
	// EverySteps saves state/step-N; 0 saves only on SIGTERM.
	EverySteps int `yaml:"everySteps,omitempty"`
	// KeepLast is how many states are kept while training (default 2).
	KeepLast int `yaml:"keepLast,omitempty"`
}

// Output is where a checkpoint is published.
type Output struct {
	// URI is the folder: file:///folder or pvc://claim/folder. Resume state lives in its state/.
	URI string `yaml:"uri"`
	// RunHash is Hash of this file, as the operator computed it; recorded in the manifest.
	RunHash string `yaml:"runHash,omitempty"`
}

// Placement is where a run computes. Nothing here changes the result, beyond floating-point order.
type Placement struct {
	// Device is auto (default), cpu or cuda.
	Device string `yaml:"device,omitempty"`
	// Threads of CPU operators; 0 is one per core of the container's quota.
	Threads int `yaml:"threads,omitempty"`
	// Mounts says where each claim of a pvc:// URI is mounted.
	Mounts map[string]string `yaml:"mounts,omitempty"`
	// Address serves /progress, /metrics and /healthz, as ":8080"; empty serves nothing.
	Address string `yaml:"address,omitempty"`
}

// SetDefaults fills what is empty with the documented defaults.
func (c *RunConfig) SetDefaults() {
	set(&c.Data.MaxLength, 512)
	set(&c.Data.LossOn, "response")
	for i := range c.Data.Train {
		set(&c.Data.Train[i].Format, "auto")
	}
	for i := range c.Data.Eval {
		set(&c.Data.Eval[i].Format, "auto")
	}
	t := &c.Training
	if t.Epochs == 0 && t.MaxSteps == 0 {
		t.Epochs = 1
	}
	set(&t.BatchSize, 32)
	if t.MicroBatchSize == 0 {
		t.MicroBatchSize = t.BatchSize
	}
	set(&t.Schedule, "cosine")
	set(&t.Beta1, 0.9)
	set(&t.Beta2, 0.999)
	set(&t.Epsilon, 1e-8)
	set(&t.Precision, "float32")
	set(&t.LogSteps, 10)
	switch c.Method {
	case SFT:
		set(&t.LearningRate, 2e-5)
	case DPO:
		set(&t.LearningRate, 5e-7)
		if c.Objective == nil {
			c.Objective = &Objective{}
		}
		set(&c.Objective.Type, "DPO")
		set(&c.Objective.Beta, 0.1)
	}
	set(&c.Evaluation.MaxNewTokens, 64)
	set(&c.Checkpoint.KeepLast, 2)
	set(&c.Placement.Device, "auto")
}

// set gives *p the value v when *p is the zero value.
func set[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
