package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PPOJob aligns a model with a reward model, by reinforcement learning on its own responses (PPO and
// PPO-ptx of InstructGPT, arXiv:2203.02155, section 3.5, equation 2).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ppo,categories=alignment
// +kubebuilder:printcolumn:name="PHASE",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="STEP",type=integer,JSONPath=`.status.progress.step`
// +kubebuilder:printcolumn:name="PCT",type=integer,JSONPath=`.status.progress.percent`
// +kubebuilder:printcolumn:name="ETA",type=string,JSONPath=`.status.progress.eta`
// +kubebuilder:printcolumn:name="REWARD",type=string,JSONPath=`.status.metrics['objective/scores']`
// +kubebuilder:printcolumn:name="KL",type=string,JSONPath=`.status.metrics['objective/kl']`
// +kubebuilder:printcolumn:name="TOK/S",type=integer,priority=1,JSONPath=`.status.progress.tokensPerSecond`
// +kubebuilder:printcolumn:name="MESSAGE",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be at most 50 lower-case letters, digits and -, beginning with a letter: pods are named after it"
type PPOJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec PPOJobSpec `json:"spec"`
	// Status begins with a generation that is none: what was just applied is not taken for ready.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status StageStatus `json:"status,omitzero"`
}

// PPOJobSpec is what to train. A step is one iteration: batchSize responses are sampled, scored and
// learnt from.
// +kubebuilder:validation:XValidation:rule="!has(self.ppo.ptxCoefficient) || double(self.ppo.ptxCoefficient) == 0.0 || has(self.pretraining)",fieldPath=".pretraining",message="is needed with ppo.ptxCoefficient"
// +kubebuilder:validation:XValidation:rule="!has(self.ppo.minibatchSize) || (has(self.training.batchSize) ? self.training.batchSize : 512) % self.ppo.minibatchSize == 0",fieldPath=".ppo.minibatchSize",message="must divide training.batchSize, which is 512 if not set"
// +kubebuilder:validation:XValidation:rule="has(self.ppo.minibatchSize) || !has(self.training.batchSize) || self.training.batchSize <= 64 || self.training.batchSize % 64 == 0",fieldPath=".training.batchSize",message="ppo.minibatchSize, which is 64 if not set, must divide it"
// +kubebuilder:validation:XValidation:rule="!has(self.training.microBatchSize) || (has(self.ppo.minibatchSize) ? self.ppo.minibatchSize : has(self.training.batchSize) && self.training.batchSize < 64 ? self.training.batchSize : 64) % self.training.microBatchSize == 0",fieldPath=".training.microBatchSize",message="must divide ppo.minibatchSize, which is 64 if not set"
// +kubebuilder:validation:XValidation:rule="(has(self.ppo.maxNewTokens) ? self.ppo.maxNewTokens : 64) < self.data.maxLength",fieldPath=".ppo.maxNewTokens",message="must leave room for a prompt in data.maxLength; it is 64 if not set"
// +kubebuilder:validation:XValidation:rule="!has(self.training.lora) || !has(self.training.lora.dropout) || double(self.training.lora.dropout) == 0.0",fieldPath=".training.lora.dropout",message="a PPOJob has none: its ratio is of the same policy before and after an update"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.stop.minRewardAccuracy)",fieldPath=".stop.minRewardAccuracy",message="there are no pairs whose order could be right or wrong"
type PPOJobSpec struct {
	// Model is the policy that training starts from: usually an SFTJob's.
	// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from.kind != 'RewardModelJob'",fieldPath=".from.kind",message="a reward model is no policy"
	Model CheckpointSource `json:"model"`
	// RewardModel scores the responses: a RewardModelJob's checkpoint.
	// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from.kind == 'RewardModelJob'",fieldPath=".from.kind",message="must be RewardModelJob"
	RewardModel CheckpointSource `json:"rewardModel"`
	// Reference is the frozen policy that the trained one is kept near. Default: model, as it was
	// before the first step.
	// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from.kind != 'RewardModelJob'",fieldPath=".from.kind",message="a reward model is no policy"
	// +optional
	Reference *CheckpointSource `json:"reference,omitempty"`
	// Value is the reward model that the value function starts as. Default: rewardModel.
	// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from.kind == 'RewardModelJob'",fieldPath=".from.kind",message="must be RewardModelJob"
	// +optional
	Value *CheckpointSource `json:"value,omitempty"`
	// PPO are the constants of the algorithm.
	// +kubebuilder:default={}
	// +optional
	PPO PPO `json:"ppo,omitzero"`
	// Pretraining are examples that PPO-ptx keeps the policy good at.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Pretraining []Dataset `json:"pretraining,omitempty"`
	// Data has prompts in train; responses to them are sampled.
	StageSpec `json:",inline"`
}

// PPO are the constants of PPO-ptx.
// +kubebuilder:validation:XValidation:rule="!has(self.klHorizon) || has(self.klTarget)",fieldPath=".klHorizon",message="goes with klTarget"
// +kubebuilder:validation:XValidation:rule="!has(self.ptxBatchSize) || has(self.ptxCoefficient)",fieldPath=".ptxBatchSize",message="goes with ptxCoefficient"
type PPO struct {
	// MaxNewTokens bounds a sampled response. Default: 64.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxNewTokens int32 `json:"maxNewTokens,omitempty"`
	// MinibatchSize is the number of responses of one optimiser step. Default: 64, or batchSize if that
	// is less.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MinibatchSize int32 `json:"minibatchSize,omitempty"`
	// InnerEpochs is the number of passes over the responses of one iteration. Default: 1.
	// +kubebuilder:validation:Minimum=1
	// +optional
	InnerEpochs int32 `json:"innerEpochs,omitempty"`
	// ClipRange of the ratio of new to old probabilities. Default: "0.2".
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	ClipRange Decimal `json:"clipRange,omitempty"`
	// ValueClipRange of the change of a value. Default: "0.2".
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	ValueClipRange Decimal `json:"valueClipRange,omitempty"`
	// Gamma is the discount of later rewards. Default: "1", none.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0 && double(self) <= 1.0",message="must be greater than 0 and at most 1"
	// +optional
	Gamma Decimal `json:"gamma,omitempty"`
	// GAELambda is generalised advantage estimation's. Default: "0.95".
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0 && double(self) <= 1.0",message="must be greater than 0 and at most 1"
	// +optional
	GAELambda Decimal `json:"gaeLambda,omitempty"`
	// Whiten brings advantages to mean 0 and variance 1 over a batch. Default: true.
	// +optional
	Whiten *bool `json:"whiten,omitempty"`
	// KLCoefficient is the per-token penalty's, beta of equation 2. With klTarget, its first value.
	// Default: "0.02".
	// +optional
	KLCoefficient Decimal `json:"klCoefficient,omitempty"`
	// KLTarget, in nats a response, makes klCoefficient adapt (arXiv:1909.08593, section 2.2). Default: it
	// does not.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	KLTarget Decimal `json:"klTarget,omitempty"`
	// KLHorizon is the number of responses over which klCoefficient adapts. Default: "10000".
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	KLHorizon Decimal `json:"klHorizon,omitempty"`
	// StopKL, in nats a response, ends the run once an iteration's responses are further than this from the
	// reference. Default: it never does.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	StopKL Decimal `json:"stopKL,omitempty"`
	// MissingEOSPenalty is taken off the score of a response that did not end within maxNewTokens.
	// Default: "1".
	// +optional
	MissingEOSPenalty Decimal `json:"missingEOSPenalty,omitempty"`
	// PTXCoefficient weighs the mean log-likelihood, in nats a token, of pretraining examples in each
	// optimiser step; the paper's is "27.8". Default: "0", none.
	// +optional
	PTXCoefficient Decimal `json:"ptxCoefficient,omitempty"`
	// PTXBatchSize is the number of pretraining examples of one optimiser step. Default: minibatchSize.
	// +kubebuilder:validation:Minimum=1
	// +optional
	PTXBatchSize int32 `json:"ptxBatchSize,omitempty"`
	// EMADecay publishes an exponential moving average of the weights; the paper's is "0.992". Default: "0",
	// the last weights.
	// +kubebuilder:validation:XValidation:rule="double(self) < 1.0",message="must be less than 1"
	// +optional
	EMADecay Decimal `json:"emaDecay,omitempty"`
	// ValueLearningRate is the value function's peak. Default: training.learningRate.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	ValueLearningRate Decimal `json:"valueLearningRate,omitempty"`
}

// PPOJobList is a list of PPOJobs.
//
// +kubebuilder:object:root=true
type PPOJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PPOJob `json:"items"`
}

// StageKind implements Stage.
func (j *PPOJob) StageKind() StageKind { return PPOJobKind }

// StageSpec implements Stage.
func (j *PPOJob) StageSpec() *StageSpec { return &j.Spec.StageSpec }

// StageStatus implements Stage.
func (j *PPOJob) StageStatus() *StageStatus { return &j.Status }

// Upstreams implements Stage.
func (j *PPOJob) Upstreams() []Upstream {
	list := upstream(nil, RoleModel, "spec.model.from", j.Spec.Model.From)
	list = upstream(list, RoleRewardModel, "spec.rewardModel.from", j.Spec.RewardModel.From)
	if j.Spec.Reference != nil {
		list = upstream(list, RoleReference, "spec.reference.from", j.Spec.Reference.From)
	}
	if j.Spec.Value != nil {
		list = upstream(list, RoleValue, "spec.value.from", j.Spec.Value.From)
	}
	return list
}

// Stages implements StageList.
func (l *PPOJobList) Stages() []Stage {
	list := make([]Stage, len(l.Items))
	for i := range l.Items {
		list[i] = &l.Items[i]
	}
	return list
}
