package runconfig

// Version is the RunConfig version this package reads and writes.
const Version = 1

// Method names what a run trains; it is the kind of the resource without "Job".
type Method string

// The methods a RunConfig can name.
const (
	SFT         Method = "SFT"
	RewardModel Method = "RewardModel"
	PPO         Method = "PPO"
	DPO         Method = "DPO"
	SimPO       Method = "SimPO"
)

// RunConfig is everything that decides a run's result, and where the run finds its
// inputs and leaves its outputs.
type RunConfig struct {
	// Version is 1. The trainer refuses another one.
	Version int `yaml:"version"`
	// Method is SFT, RewardModel, PPO, DPO or SimPO.
	Method Method `yaml:"method"`
	// Name is for people: logs, the report's title. It does not enter the run hash.
	Name string `yaml:"name,omitempty"`
	// Seed drives initialisation, shuffling, dropout and sampling.
	Seed uint64 `yaml:"seed"`
	// Model is what training starts from.
	Model Model `yaml:"model"`
	// Reference is the frozen reference policy of DPO and PPO; absent means Model as it was at step 0.
	Reference *Source `yaml:"reference,omitempty"`
	// Data is what to train and evaluate on.
	Data Data `yaml:"data"`
	// Objective is the loss of DPO, SimPO and RewardModel; absent for the others.
	Objective *Objective `yaml:"objective,omitempty"`
	// PPO is what PPO needs besides; absent for the others.
	PPO *PPOSettings `yaml:"ppo,omitempty"`
	// Training is the optimisation: batch, learning rate, length of the run.
	Training Training `yaml:"training"`
	// Evaluation says when to evaluate and what to sample.
	Evaluation Evaluation `yaml:"evaluation"`
	// Checkpoint says how often to save resume state.
	Checkpoint Checkpoint `yaml:"checkpoint"`
	// Stop ends the run when a number leaves what is acceptable. It does not enter the run hash.
	Stop Stop `yaml:"stop,omitempty"`
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
	// Base is the checkpoint that an adapter in PEFT's format goes on; absent means what the folder's manifest
	// says it was trained on. Other folders have none.
	Base *Source `yaml:"base,omitempty"`
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
	// Train are read one after another, then shuffled by Seed.
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
	// Packing lays the examples of a micro-batch out in as few rows as its longest one allows, without
	// attention between them (SFT only). It changes memory and speed, not the result.
	Packing bool `yaml:"packing,omitempty"`
	// LossOn is "response" (default) or "all" (prompt tokens count too; SFT only).
	LossOn string `yaml:"lossOn,omitempty"`
	// Demonstrations are what a reward model's mean reward is 0 on afterwards (RewardModel only);
	// absent means the best responses of Train.
	Demonstrations []Dataset `yaml:"demonstrations,omitempty"`
	// Pretraining is what PPO-ptx keeps the policy good at (PPO only).
	Pretraining []Dataset `yaml:"pretraining,omitempty"`
}

// Dataset is a file of examples, or the files of a folder or pattern: JSON lines, JSON arrays (either may be gzipped) or Parquet.
type Dataset struct {
	// URI is file:///x.jsonl or pvc://claim/x.jsonl, a folder, whose data files in it and below are taken, or a
	// pattern, whose last part has *.
	URI string `yaml:"uri"`
	// Digest is the SHA-256 of the file as stored, as "sha256:<64 hex>"; verified when set. Of several files it is
	// that of the text with a line "<64 hex>  <path>" each, sorted by path below the folder, as sha256sum writes them.
	Digest string `yaml:"digest,omitempty"`
	// Format is one of Formats: auto tells it from the columns of the first line.
	Format string `yaml:"format,omitempty"`
	// Weight says how often each example comes in an epoch (default 1): 2 is twice, 0.25 is for a quarter of
	// them, others each epoch. Only of Train and Pretraining.
	Weight *float64 `yaml:"weight,omitempty"`
	// Columns maps this project's column names, one of ColumnNames, to the file's own.
	Columns map[string]string `yaml:"columns,omitempty"`
}

// Objective is the loss of a preference method or a reward model. A parameter that Type does not
// have is an error.
type Objective struct {
	// Type is DPO, CDPO, Robust, IPO, KTO or RDPO for DPO; SimPO, CPO, ORPO, RRHF or SLiCHF for SimPO;
	// KWise or ShuffledPairs for RewardModel.
	Type string `yaml:"type"`
	// Beta is the strength of the implicit KL constraint (DPO, equation 7), or the scale of the reward
	// (SimPO, equation 4; CPO).
	Beta float64 `yaml:"beta,omitempty"`
	// LabelSmoothing is the probability that a preference label is flipped (DPO, CDPO, Robust).
	LabelSmoothing float64 `yaml:"labelSmoothing,omitempty"`
	// PrecomputeReference computes the reference's log-probabilities once, before the first
	// step, instead of at each step: later attempts take them over, and with placement.cache other runs of the same
	// reference and pairs. The values are the same; it saves time from the second epoch on.
	PrecomputeReference bool `yaml:"precomputeReference,omitempty"`
	// Tau is IPO's regularisation.
	Tau float64 `yaml:"tau,omitempty"`
	// IPOReduction of token log-probabilities is sum (the paper, default) or mean (TRL).
	IPOReduction string `yaml:"ipoReduction,omitempty"`
	// DesirableWeight and UndesirableWeight are KTO's lambda_D and lambda_U (default 1).
	DesirableWeight   *float64 `yaml:"desirableWeight,omitempty"`
	UndesirableWeight *float64 `yaml:"undesirableWeight,omitempty"`
	// Alpha is R-DPO's weight of the difference in length (default 0.05).
	Alpha *float64 `yaml:"alpha,omitempty"`
	// Gamma is SimPO's target margin, absolute: it is not multiplied by beta (default 1).
	Gamma *float64 `yaml:"gamma,omitempty"`
	// GammaBetaRatio is gamma / beta, as SimPO's authors tabulate it; instead of Gamma.
	GammaBetaRatio *float64 `yaml:"gammaBetaRatio,omitempty"`
	// LengthNormalize divides SimPO's log-probabilities by the response's length (default true).
	LengthNormalize *bool `yaml:"lengthNormalize,omitempty"`
	// Lambda weighs the likelihood of the chosen response (CPO 1, RRHF 1, SLiCHF 0.1) or the odds
	// ratio (ORPO 0.1).
	Lambda *float64 `yaml:"lambda,omitempty"`
	// NLLReduction of CPO's and SLiCHF's likelihood is sum (the papers, default) or mean (TRL).
	NLLReduction string `yaml:"nllReduction,omitempty"`
	// Delta is SLiCHF's margin (default 1).
	Delta *float64 `yaml:"delta,omitempty"`
	// LengthExponent is RRHF's a: scores are log-probability / length^a (default 1).
	LengthExponent *float64 `yaml:"lengthExponent,omitempty"`
}

// PPOSettings are the constants of PPO-ptx (InstructGPT, arXiv:2203.02155, equation 2 and appendix C.4).
// A step of a PPO run is one iteration: Training.BatchSize responses are sampled and scored, and
// learnt from in InnerEpochs passes of BatchSize/MinibatchSize optimiser steps.
type PPOSettings struct {
	// RewardModel scores responses: a checkpoint of a RewardModel run.
	RewardModel Source `yaml:"rewardModel"`
	// Value is the reward model that the value function starts as; absent means RewardModel.
	Value *Source `yaml:"value,omitempty"`
	// MaxNewTokens bounds a response; prompt and response together have Data.MaxLength. Responses are sampled at temperature 1 from the whole distribution:
	// the gradient is of the policy that sampled.
	MaxNewTokens int `yaml:"maxNewTokens"`
	// MinibatchSize is the responses of one optimiser step; it divides BatchSize.
	MinibatchSize int `yaml:"minibatchSize"`
	// InnerEpochs is the number of passes over an iteration's responses.
	InnerEpochs int `yaml:"innerEpochs"`
	// ClipRange and ValueClipRange are the clips of ratio and value.
	ClipRange      float64 `yaml:"clipRange"`
	ValueClipRange float64 `yaml:"valueClipRange"`
	// Gamma is the discount (default 1), GAELambda generalised advantage estimation's lambda.
	Gamma     float64 `yaml:"gamma"`
	GAELambda float64 `yaml:"gaeLambda"`
	// Whiten brings advantages to mean 0 and variance 1 over the batch (default true).
	Whiten *bool `yaml:"whiten,omitempty"`
	// KLCoefficient is the per-token penalty's, beta of equation 2; with KLTarget, its first value.
	KLCoefficient *float64 `yaml:"klCoefficient,omitempty"`
	// KLTarget, in nats a response, makes the coefficient adaptive (arXiv:1909.08593, section 2.2); 0 keeps it fixed.
	KLTarget float64 `yaml:"klTarget,omitempty"`
	// KLHorizon is the responses over which the adaptive coefficient adapts.
	KLHorizon float64 `yaml:"klHorizon,omitempty"`
	// StopKL, in nats a response, ends the run early once an iteration's responses are further than
	// this from the reference; 0 never does.
	StopKL float64 `yaml:"stopKL,omitempty"`
	// MissingEOSPenalty is taken off the score of a response that did not end (default 1).
	MissingEOSPenalty *float64 `yaml:"missingEOSPenalty,omitempty"`
	// PTXCoefficient is the weight of the mean log-likelihood, in nats a token, of pretraining
	// examples in each optimiser step; 0 is PPO without the mix.
	PTXCoefficient float64 `yaml:"ptxCoefficient,omitempty"`
	// PTXBatchSize is the pretraining examples of one optimiser step (default MinibatchSize).
	PTXBatchSize int `yaml:"ptxBatchSize,omitempty"`
	// EMADecay publishes an exponential moving average of the policy's weights; 0 the last weights.
	EMADecay float64 `yaml:"emaDecay,omitempty"`
	// ValueLearningRate is the value function's peak (default Training.LearningRate).
	ValueLearningRate float64 `yaml:"valueLearningRate,omitempty"`
}

// Training is the optimisation of a run.
type Training struct {
	// Epochs over the training data. Ignored when MaxSteps is set.
	Epochs float64 `yaml:"epochs,omitempty"`
	// MaxSteps is the number of optimiser steps.
	MaxSteps int `yaml:"maxSteps,omitempty"`
	// BatchSize is the number of examples (pairs, or prompts with all their responses, for a preference
	// method; sampled responses of an iteration for PPO) of one step, over all ranks.
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
	// FreezeLayers keeps the embedding and the first layers as they are. PPO's reference then shares
	// them with the policy, and its value function with the reward model.
	FreezeLayers int `yaml:"freezeLayers,omitempty"`
	// LoRA trains adapters instead of the weights; absent means the weights.
	LoRA *LoRA `yaml:"lora,omitempty"`
	// ActivationCheckpointing recomputes each layer in the backward pass instead of keeping its
	// activations. It changes memory and speed, not the result.
	ActivationCheckpointing bool `yaml:"activationCheckpointing,omitempty"`
	// Precision is float32 (default) or float64, of weights, activations and optimiser state; or bfloat16, of activations,
	// frozen models and the published checkpoint, while weights in training, their gradients and optimiser state are float32.
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

// Stop are rules that end a run which is not worth its time: its state is saved, nothing is published,
// the exit code is ExitStopped. With a limit raised, the run goes on from there.
type Stop struct {
	// MaxKL, in nats a response, is the furthest that the policy may be from its reference: at evaluations
	// (DPO and PPO), and in each iteration (PPO).
	MaxKL *float64 `yaml:"maxKL,omitempty"`
	// MinRewardAccuracy, 0 to 1, is the least share of held-out pairs that an evaluation may find in the
	// right order.
	MinRewardAccuracy *float64 `yaml:"minRewardAccuracy,omitempty"`
	// MaxLoss is the highest that the mean training loss of the last 10 steps may be.
	MaxLoss *float64 `yaml:"maxLoss,omitempty"`
	// AfterSteps is the first step whose numbers count; before it, a run may look as it likes.
	AfterSteps int `yaml:"afterSteps,omitempty"`
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
	// Cache is the folder that keeps what was fetched of hf://, s3://, gs:// and azblob:// URIs, and in which a run works
	// whose output is one of them. Trainers may share it.
	Cache string `yaml:"cache,omitempty"`
	// CacheLimit bounds what it keeps, in bytes; 0 is what its disk holds.
	CacheLimit int64 `yaml:"cacheLimit,omitempty"`
	// Address serves /progress, /metrics and /healthz, as ":8080"; empty serves nothing. Of several nodes,
	// the first one's first process serves them.
	Address string `yaml:"address,omitempty"`
	// Nodes is the number of machines, each with a trainer that is started with this file. Which one it is, from
	// 0, a trainer reads from the environment variable JOB_COMPLETION_INDEX. 0 means 1.
	Nodes int `yaml:"nodes,omitempty"`
	// ProcessesPerNode is the number of processes, ranks of the run, that a trainer starts: one a GPU. 0 means 1.
	ProcessesPerNode int `yaml:"processesPerNode,omitempty"`
	// Rendezvous is host:port of node 0, where the ranks of several nodes find each other.
	Rendezvous string `yaml:"rendezvous,omitempty"`
	// Sharding is None (default: every rank has all weights and moments) or Full (each has its part of them).
	Sharding string `yaml:"sharding,omitempty"`
}

// Ranks is the number of processes that a run computes in.
func (p Placement) Ranks() int { return max(p.Nodes, 1) * max(p.ProcessesPerNode, 1) }

// The values of Placement.Sharding.
const (
	ShardingNone = "None"
	ShardingFull = "Full"
)

// RendezvousPort is that of Placement.Rendezvous in a pod.
const RendezvousPort = 29500
