package v1alpha1

// Training is the optimisation of a stage: AdamW with a schedule.
// +kubebuilder:validation:XValidation:rule="!(has(self.epochs) && has(self.maxSteps))",fieldPath=".maxSteps",message="set at most one of epochs and maxSteps"
// +kubebuilder:validation:XValidation:rule="!(has(self.warmupSteps) && has(self.warmupRatio))",fieldPath=".warmupRatio",message="set at most one of warmupSteps and warmupRatio"
// +kubebuilder:validation:XValidation:rule="!has(self.lora) || !has(self.freezeLayers)",fieldPath=".freezeLayers",message="goes without lora, which freezes all layers"
// +kubebuilder:validation:XValidation:rule="!has(self.microBatchSize) || !has(self.batchSize) || self.batchSize % self.microBatchSize == 0",fieldPath=".microBatchSize",message="must divide batchSize"
type Training struct {
	// Epochs over the training data. Default: 1, unless maxSteps is set.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	Epochs Decimal `json:"epochs,omitempty"`
	// MaxSteps is the number of optimiser steps.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxSteps int32 `json:"maxSteps,omitempty"`
	// BatchSize is the number of examples (pairs for preferences, prompts for rankings) of one optimiser
	// step, over all pods; of responses of an iteration for a PPOJob. Default: 32, or 512 for a PPOJob.
	// +kubebuilder:validation:Minimum=1
	// +optional
	BatchSize int32 `json:"batchSize,omitempty"`
	// MicroBatchSize is the number of examples of one forward pass: memory and speed, not the result.
	// Default: batchSize, or ppo.minibatchSize for a PPOJob.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MicroBatchSize int32 `json:"microBatchSize,omitempty"`
	// LearningRate is the peak. Default: "2e-5" for an SFTJob, "9e-6" for a RewardModelJob, "3e-6" for a
	// PPOJob, "5e-7" for a DPOJob, "1e-6" for a SimPOJob.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	LearningRate Decimal `json:"learningRate,omitempty"`
	// Schedule of the learning rate after the warm-up. Default: cosine, or constant for a PPOJob.
	// +kubebuilder:validation:Enum=cosine;linear;constant
	// +optional
	Schedule string `json:"schedule,omitempty"`
	// WarmupSteps of linear warm-up.
	// +kubebuilder:validation:Minimum=0
	// +optional
	WarmupSteps int32 `json:"warmupSteps,omitempty"`
	// WarmupRatio is the warm-up's part of all steps.
	// +kubebuilder:validation:XValidation:rule="double(self) <= 1.0",message="must be at most 1"
	// +optional
	WarmupRatio Decimal `json:"warmupRatio,omitempty"`
	// MinLearningRateRatio is the end of the schedule, as a fraction of learningRate. Default: "0", or "0.1"
	// for a RewardModelJob.
	// +kubebuilder:validation:XValidation:rule="double(self) <= 1.0",message="must be at most 1"
	// +optional
	MinLearningRateRatio Decimal `json:"minLearningRateRatio,omitempty"`
	// WeightDecay is AdamW's, on matrices only.
	// +optional
	WeightDecay Decimal `json:"weightDecay,omitempty"`
	// Beta1 is AdamW's.
	// +kubebuilder:default="0.9"
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0 && double(self) < 1.0",message="must be greater than 0 and less than 1"
	// +optional
	Beta1 Decimal `json:"beta1,omitempty"`
	// Beta2 is AdamW's. Default: "0.999", or "0.95" for a PPOJob.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0 && double(self) < 1.0",message="must be greater than 0 and less than 1"
	// +optional
	Beta2 Decimal `json:"beta2,omitempty"`
	// Epsilon is AdamW's.
	// +kubebuilder:default="1e-8"
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	Epsilon Decimal `json:"epsilon,omitempty"`
	// MaxGradNorm clips the global gradient norm; "0" does not.
	// +kubebuilder:default="1"
	// +optional
	MaxGradNorm Decimal `json:"maxGradNorm,omitempty"`
	// FreezeLayers keeps the embedding and the first layers as they are. A PPOJob's reference then shares
	// them with the policy, and its value function with the reward model. Default: none.
	// +kubebuilder:validation:Minimum=1
	// +optional
	FreezeLayers int32 `json:"freezeLayers,omitempty"`
	// LoRA trains low-rank adapters (arXiv:2106.09685) in place of the weights. A reference that is not named, and a
	// PPOJob's value function, then have no weights of their own.
	// +optional
	LoRA *LoRA `json:"lora,omitempty"`
	// ActivationCheckpointing recomputes each layer in the backward pass instead of keeping its
	// activations: memory and speed, not the result.
	// +optional
	ActivationCheckpointing bool `json:"activationCheckpointing,omitempty"`
	// Precision of weights, activations and optimiser state. With bfloat16, weights in training, their gradients and optimiser
	// state are float32; activations, frozen models and the published checkpoint are bfloat16.
	// +kubebuilder:validation:Enum=float32;float64;bfloat16
	// +kubebuilder:default=float32
	// +optional
	Precision string `json:"precision,omitempty"`
}

// LoRA are the adapters, under PEFT's names.
type LoRA struct {
	// Rank of the adapters.
	// +kubebuilder:default=16
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65536
	// +optional
	Rank int32 `json:"rank,omitempty"`
	// Alpha scales what the adapters add, by alpha / rank. Default: twice the rank.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	Alpha Decimal `json:"alpha,omitempty"`
	// UseRSLoRA scales by alpha / sqrt(rank) instead (arXiv:2312.03732).
	// +optional
	UseRSLoRA bool `json:"useRslora,omitempty"`
	// Dropout is the share of an adapter's inputs that a training step leaves out. Default: "0". A PPOJob has none.
	// +kubebuilder:validation:XValidation:rule="double(self) < 1.0",message="must be less than 1"
	// +optional
	Dropout Decimal `json:"dropout,omitempty"`
	// TargetModules are the linear modules to adapt, by the last parts of their names: q_proj. all-linear alone is
	// every one of the blocks. Default: PEFT's for the model's family.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:XValidation:rule="!('all-linear' in self) || size(self) == 1",message="all-linear is all that there are: name it alone"
	// +listType=set
	// +optional
	TargetModules []ModuleName `json:"targetModules,omitempty"`
	// Publish says what becomes of the adapters: Merged adds them to the weights, as a checkpoint like any other; Adapter
	// publishes them alone, in PEFT's format; another stage that starts from it reads the base too.
	// +kubebuilder:validation:Enum=Merged;Adapter
	// +kubebuilder:default=Merged
	// +optional
	Publish string `json:"publish,omitempty"`
}

// ModuleName is the name of a model's module, or its last parts.
// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_.-]+$`
// +kubebuilder:validation:MaxLength=256
type ModuleName string

// PublishesAdapter says that the stage publishes an adapter, and no checkpoint.
func (t Training) PublishesAdapter() bool { return t.LoRA != nil && t.LoRA.Publish == "Adapter" }

// Evaluation says when to evaluate and what to sample. It always happens before the first and after
// the last step, if there is held-out data.
type Evaluation struct {
	// EverySteps evaluates while training too.
	// +kubebuilder:validation:Minimum=1
	// +optional
	EverySteps int32 `json:"everySteps,omitempty"`
	// MaxExamples bounds one evaluation. Default: all.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxExamples int32 `json:"maxExamples,omitempty"`
	// Samples is how many held-out prompts are answered before and after training, for the report.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Samples int32 `json:"samples,omitempty"`
	// MaxNewTokens bounds a sample.
	// +kubebuilder:default=64
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxNewTokens int32 `json:"maxNewTokens,omitempty"`
}

// Checkpoint says how often to save state to resume from. SIGTERM always saves.
type Checkpoint struct {
	// EverySteps saves state. Default: only on SIGTERM.
	// +kubebuilder:validation:Minimum=1
	// +optional
	EverySteps int32 `json:"everySteps,omitempty"`
	// KeepLast is how many saved states are kept while training.
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	KeepLast int32 `json:"keepLast,omitempty"`
}

// Stop are rules that end a run: its state is saved, nothing is published, and it is not tried again
// until the spec changes. They decide nothing about a run that ends well, so they may change freely.
// +kubebuilder:validation:XValidation:rule="!has(self.afterSteps) || has(self.maxKL) || has(self.minRewardAccuracy) || has(self.maxLoss)",fieldPath=".afterSteps",message="goes with a rule: maxKL, minRewardAccuracy or maxLoss"
type Stop struct {
	// MaxKL between policy and reference, in nats per response.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	MaxKL Decimal `json:"maxKL,omitempty"`
	// MinRewardAccuracy on held-out preferences, from 0 to 1.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0 && double(self) < 1.0",message="must be greater than 0 and less than 1"
	// +optional
	MinRewardAccuracy Decimal `json:"minRewardAccuracy,omitempty"`
	// MaxLoss of training, as it is reported.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	MaxLoss Decimal `json:"maxLoss,omitempty"`
	// AfterSteps is when the rules begin to hold. Default: from the first step.
	// +kubebuilder:validation:Minimum=1
	// +optional
	AfterSteps int32 `json:"afterSteps,omitempty"`
}
