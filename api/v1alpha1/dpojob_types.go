package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DPOJob aligns a model with preferences, without a reward model (Direct Preference Optimization,
// arXiv:2305.18290).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=dpo,categories=alignment
// +kubebuilder:printcolumn:name="PHASE",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="STEP",type=integer,JSONPath=`.status.progress.step`
// +kubebuilder:printcolumn:name="PCT",type=integer,JSONPath=`.status.progress.percent`
// +kubebuilder:printcolumn:name="ETA",type=string,JSONPath=`.status.progress.eta`
// +kubebuilder:printcolumn:name="LOSS",type=string,JSONPath=`.status.metrics.loss`
// +kubebuilder:printcolumn:name="REWARD-ACC",type=string,JSONPath=`.status.metrics['rewards/accuracies']`
// +kubebuilder:printcolumn:name="KL",type=string,JSONPath=`.status.metrics.kl`
// +kubebuilder:printcolumn:name="TOK/S",type=integer,priority=1,JSONPath=`.status.progress.tokensPerSecond`
// +kubebuilder:printcolumn:name="MESSAGE",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be at most 50 lower-case letters, digits and -, beginning with a letter: pods are named after it"
type DPOJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec DPOJobSpec `json:"spec"`
	// Status begins with a generation that is none: what was just applied is not taken for ready.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status StageStatus `json:"status,omitzero"`
}

// DPOJobSpec is what to train.
// +kubebuilder:validation:XValidation:rule="!has(self.training.microBatchSize) || has(self.training.batchSize) || 32 % self.training.microBatchSize == 0",fieldPath=".training.microBatchSize",message="must divide batchSize, which is 32 if not set"
// +kubebuilder:validation:XValidation:rule="self.objective.type != 'KTO' || !has(self.training.batchSize) || self.training.batchSize > 1",fieldPath=".training.batchSize",message="must be at least 2 for KTO, whose estimate of the KL compares examples"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.stop.minRewardAccuracy) || self.objective.type != 'KTO'",fieldPath=".stop.minRewardAccuracy",message="KTO has no pairs whose order could be right or wrong"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.stop.maxKL) || has(self.data.eval) || has(self.data.evalFraction)",fieldPath=".stop.maxKL",message="is measured on held-out examples: set data.eval or data.evalFraction"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.stop.minRewardAccuracy) || has(self.data.eval) || has(self.data.evalFraction)",fieldPath=".stop.minRewardAccuracy",message="is measured on held-out examples: set data.eval or data.evalFraction"
type DPOJobSpec struct {
	// Model is the policy that training starts from: usually an SFTJob's.
	// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from.kind != 'RewardModelJob'",fieldPath=".from.kind",message="a reward model is no policy"
	Model CheckpointSource `json:"model"`
	// Reference is the frozen policy that the trained one is kept near. Default: model, as it was
	// before the first step.
	// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from.kind != 'RewardModelJob'",fieldPath=".from.kind",message="a reward model is no policy"
	// +optional
	Reference *CheckpointSource `json:"reference,omitempty"`
	// Objective is the loss.
	// +kubebuilder:default={}
	// +optional
	Objective DPOObjective `json:"objective,omitzero"`
	StageSpec `json:",inline"`
}

// DPOObjective is the loss of a DPOJob. A parameter that the type does not have is refused.
// +kubebuilder:validation:XValidation:rule="!has(self.beta) || self.type in ['DPO', 'CDPO', 'Robust', 'KTO', 'RDPO']",fieldPath=".beta",message="beta goes with DPO, CDPO, Robust, KTO and RDPO only"
// +kubebuilder:validation:XValidation:rule="!has(self.labelSmoothing) || self.type in ['DPO', 'CDPO', 'Robust']",fieldPath=".labelSmoothing",message="labelSmoothing goes with DPO, CDPO and Robust only"
// +kubebuilder:validation:XValidation:rule="!has(self.labelSmoothing) || self.type != 'Robust' || double(self.labelSmoothing) > 0.0",fieldPath=".labelSmoothing",message="must be greater than 0 for Robust: without noise it is DPO"
// +kubebuilder:validation:XValidation:rule="!has(self.tau) || self.type == 'IPO'",fieldPath=".tau",message="tau goes with IPO only"
// +kubebuilder:validation:XValidation:rule="!has(self.ipoReduction) || self.type == 'IPO'",fieldPath=".ipoReduction",message="ipoReduction goes with IPO only"
// +kubebuilder:validation:XValidation:rule="!has(self.desirableWeight) || self.type == 'KTO'",fieldPath=".desirableWeight",message="desirableWeight goes with KTO only"
// +kubebuilder:validation:XValidation:rule="!has(self.undesirableWeight) || self.type == 'KTO'",fieldPath=".undesirableWeight",message="undesirableWeight goes with KTO only"
// +kubebuilder:validation:XValidation:rule="!has(self.alpha) || self.type == 'RDPO'",fieldPath=".alpha",message="alpha goes with RDPO only"
// +kubebuilder:validation:XValidation:rule="!has(self.precomputeReference) || !self.precomputeReference || self.type != 'KTO'",fieldPath=".precomputeReference",message="precomputeReference goes with DPO, CDPO, Robust, IPO and RDPO only"
type DPOObjective struct {
	// Type: DPO (arXiv:2305.18290, equation 7), CDPO (with label smoothing, its appendix), Robust
	// (arXiv:2403.00409), IPO (arXiv:2310.12036), KTO (arXiv:2402.01306), RDPO (arXiv:2403.19159).
	// +kubebuilder:validation:Enum=DPO;CDPO;Robust;IPO;KTO;RDPO
	// +kubebuilder:default=DPO
	// +optional
	Type string `json:"type,omitempty"`
	// Beta is the strength of the implicit KL constraint. Default: "0.1".
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	Beta Decimal `json:"beta,omitempty"`
	// LabelSmoothing is the probability that a preference is the wrong way round. Default: "0.1" for
	// Robust, else "0".
	// +kubebuilder:validation:XValidation:rule="double(self) < 0.5",message="must be less than 0.5"
	// +optional
	LabelSmoothing Decimal `json:"labelSmoothing,omitempty"`
	// Tau is IPO's regularisation. Default: "0.1".
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	Tau Decimal `json:"tau,omitempty"`
	// IPOReduction of token log-probabilities: sum (the paper's) or mean (TRL's). Default: sum.
	// +kubebuilder:validation:Enum=sum;mean
	// +optional
	IPOReduction string `json:"ipoReduction,omitempty"`
	// DesirableWeight is KTO's weight of good responses. Default: "1".
	// +optional
	DesirableWeight Decimal `json:"desirableWeight,omitempty"`
	// UndesirableWeight is KTO's weight of bad responses. Default: "1".
	// +optional
	UndesirableWeight Decimal `json:"undesirableWeight,omitempty"`
	// Alpha is RDPO's weight of the difference in length, in tokens. Default: "0.05".
	// +optional
	Alpha Decimal `json:"alpha,omitempty"`
	// PrecomputeReference computes the reference's log-probabilities once, before the first step:
	// later attempts take them over, and with spec.storage.cacheClaim other jobs of the same reference
	// and pairs. The values are the same; it saves time from the second epoch on.
	// +optional
	PrecomputeReference bool `json:"precomputeReference,omitempty"`
}

// DPOJobList is a list of DPOJobs.
//
// +kubebuilder:object:root=true
type DPOJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DPOJob `json:"items"`
}

// StageKind implements Stage.
func (j *DPOJob) StageKind() StageKind { return DPOJobKind }

// StageSpec implements Stage.
func (j *DPOJob) StageSpec() *StageSpec { return &j.Spec.StageSpec }

// StageStatus implements Stage.
func (j *DPOJob) StageStatus() *StageStatus { return &j.Status }

// Upstreams implements Stage.
func (j *DPOJob) Upstreams() []Upstream {
	list := upstream(nil, RoleModel, "spec.model.from", j.Spec.Model.From)
	if j.Spec.Reference != nil {
		list = upstream(list, RoleReference, "spec.reference.from", j.Spec.Reference.From)
	}
	return list
}

// Stages implements StageList.
func (l *DPOJobList) Stages() []Stage {
	list := make([]Stage, len(l.Items))
	for i := range l.Items {
		list[i] = &l.Items[i]
	}
	return list
}
