package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RewardModelJob trains a model that scores responses, from people's rankings of them (InstructGPT,
// arXiv:2203.02155, section 3.4, equation 1).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rm,categories=alignment
// +kubebuilder:printcolumn:name="PHASE",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="STEP",type=integer,JSONPath=`.status.progress.step`
// +kubebuilder:printcolumn:name="PCT",type=integer,JSONPath=`.status.progress.percent`
// +kubebuilder:printcolumn:name="ETA",type=string,JSONPath=`.status.progress.eta`
// +kubebuilder:printcolumn:name="LOSS",type=string,JSONPath=`.status.metrics.loss`
// +kubebuilder:printcolumn:name="EVAL-ACC",type=string,JSONPath=`.status.metrics['eval_rewards/accuracies']`
// +kubebuilder:printcolumn:name="TOK/S",type=integer,priority=1,JSONPath=`.status.progress.tokensPerSecond`
// +kubebuilder:printcolumn:name="MESSAGE",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be at most 50 lower-case letters, digits and -, beginning with a letter: pods are named after it"
type RewardModelJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec RewardModelJobSpec `json:"spec"`
	// Status begins with a generation that is none: what was just applied is not taken for ready.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status StageStatus `json:"status,omitzero"`
}

// RewardModelJobSpec is what to train.
// +kubebuilder:validation:XValidation:rule="!has(self.training.microBatchSize) || has(self.training.batchSize) || 32 % self.training.microBatchSize == 0",fieldPath=".training.microBatchSize",message="must divide batchSize, which is 32 if not set"
// +kubebuilder:validation:XValidation:rule="!has(self.training.minLearningRateRatio) || double(self.training.minLearningRateRatio) > 0.0",fieldPath=".training.minLearningRateRatio",message="must be greater than 0 for a RewardModelJob"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.stop.maxKL)",fieldPath=".stop.maxKL",message="there is no reference that a KL could be measured to"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.stop.minRewardAccuracy) || has(self.data.eval) || has(self.data.evalFraction)",fieldPath=".stop.minRewardAccuracy",message="is measured on held-out examples: set data.eval or data.evalFraction"
// +kubebuilder:validation:XValidation:rule="!has(self.demonstrations) || self.demonstrations.all(d, !has(d.weight))",fieldPath=".demonstrations",message="takes no weight: the mean reward is over all of them"
type RewardModelJobSpec struct {
	// Model is what training starts from: usually an SFTJob's. Its vocabulary's head is replaced by
	// one that gives a single score.
	// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from.kind != 'RewardModelJob'",fieldPath=".from.kind",message="a reward model starts from a language model"
	Model CheckpointSource `json:"model"`
	// Objective is the loss.
	// +kubebuilder:default={}
	// +optional
	Objective RewardModelObjective `json:"objective,omitzero"`
	// Demonstrations are responses by people: after training, scores are shifted so that theirs are 0
	// on average. Default: the best responses of data.train.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Demonstrations []Dataset `json:"demonstrations,omitempty"`
	StageSpec      `json:",inline"`
}

// RewardModelObjective is the loss of a RewardModelJob.
type RewardModelObjective struct {
	// Type: KWise has all comparisons of a prompt in one batch element, as the paper does; ShuffledPairs
	// has each comparison by itself, which overfits sooner.
	// +kubebuilder:validation:Enum=KWise;ShuffledPairs
	// +kubebuilder:default=KWise
	// +optional
	Type string `json:"type,omitempty"`
}

// RewardModelJobList is a list of RewardModelJobs.
//
// +kubebuilder:object:root=true
type RewardModelJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RewardModelJob `json:"items"`
}

// StageKind implements Stage.
func (j *RewardModelJob) StageKind() StageKind { return RewardModelJobKind }

// StageSpec implements Stage.
func (j *RewardModelJob) StageSpec() *StageSpec { return &j.Spec.StageSpec }

// StageStatus implements Stage.
func (j *RewardModelJob) StageStatus() *StageStatus { return &j.Status }

// Upstreams implements Stage.
func (j *RewardModelJob) Upstreams() []Upstream {
	return upstream(nil, RoleModel, "spec.model.from", j.Spec.Model.From)
}

// Stages implements StageList.
func (l *RewardModelJobList) Stages() []Stage {
	list := make([]Stage, len(l.Items))
	for i := range l.Items {
		list[i] = &l.Items[i]
	}
	return list
}
