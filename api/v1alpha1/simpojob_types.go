package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// SimPOJob aligns a model with preferences, without a reward model and without a reference (Simple
// Preference Optimization, arXiv:2405.14734), or by one of the other objectives that need none.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=simpo,categories=alignment
// +kubebuilder:printcolumn:name="PHASE",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="STEP",type=integer,JSONPath=`.status.progress.step`
// +kubebuilder:printcolumn:name="PCT",type=integer,JSONPath=`.status.progress.percent`
// +kubebuilder:printcolumn:name="ETA",type=string,JSONPath=`.status.progress.eta`
// +kubebuilder:printcolumn:name="LOSS",type=string,JSONPath=`.status.metrics.loss`
// +kubebuilder:printcolumn:name="REWARD-ACC",type=string,JSONPath=`.status.metrics['rewards/accuracies']`
// +kubebuilder:printcolumn:name="TOK/S",type=integer,priority=1,JSONPath=`.status.progress.tokensPerSecond`
// +kubebuilder:printcolumn:name="MESSAGE",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be at most 50 lower-case letters, digits and -, beginning with a letter: pods are named after it"
type SimPOJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec SimPOJobSpec `json:"spec"`
	// Status begins with a generation that is none: what was just applied is not taken for ready.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status StageStatus `json:"status,omitzero"`
}

// SimPOJobSpec is what to train.
// +kubebuilder:validation:XValidation:rule="!has(self.training.microBatchSize) || has(self.training.batchSize) || 32 % self.training.microBatchSize == 0",fieldPath=".training.microBatchSize",message="must divide batchSize, which is 32 if not set"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.stop.maxKL)",fieldPath=".stop.maxKL",message="there is no reference that a KL could be measured to"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.stop.minRewardAccuracy) || has(self.data.eval) || has(self.data.evalFraction)",fieldPath=".stop.minRewardAccuracy",message="is measured on held-out examples: set data.eval or data.evalFraction"
type SimPOJobSpec struct {
	// Model is the policy that training starts from: usually an SFTJob's.
	// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from.kind != 'RewardModelJob'",fieldPath=".from.kind",message="a reward model is no policy"
	Model CheckpointSource `json:"model"`
	// Objective is the loss.
	// +kubebuilder:default={}
	// +optional
	Objective SimPOObjective `json:"objective,omitzero"`
	StageSpec `json:",inline"`
}

// SimPOObjective is the loss of a SimPOJob. A parameter that the type does not have is refused.
// +kubebuilder:validation:XValidation:rule="!has(self.beta) || self.type in ['SimPO', 'CPO']",fieldPath=".beta",message="beta goes with SimPO and CPO only"
// +kubebuilder:validation:XValidation:rule="!has(self.gamma) || self.type == 'SimPO'",fieldPath=".gamma",message="gamma goes with SimPO only"
// +kubebuilder:validation:XValidation:rule="!has(self.gammaBetaRatio) || self.type == 'SimPO'",fieldPath=".gammaBetaRatio",message="gammaBetaRatio goes with SimPO only"
// +kubebuilder:validation:XValidation:rule="!(has(self.gamma) && has(self.gammaBetaRatio))",fieldPath=".gammaBetaRatio",message="set at most one of gamma and gammaBetaRatio"
// +kubebuilder:validation:XValidation:rule="!has(self.lengthNormalize) || self.type == 'SimPO'",fieldPath=".lengthNormalize",message="lengthNormalize goes with SimPO only"
// +kubebuilder:validation:XValidation:rule="!has(self.lambda) || self.type in ['CPO', 'ORPO', 'RRHF', 'SLiCHF']",fieldPath=".lambda",message="lambda goes with CPO, ORPO, RRHF and SLiCHF only"
// +kubebuilder:validation:XValidation:rule="!has(self.nllReduction) || self.type in ['CPO', 'SLiCHF']",fieldPath=".nllReduction",message="nllReduction goes with CPO and SLiCHF only"
// +kubebuilder:validation:XValidation:rule="!has(self.delta) || self.type == 'SLiCHF'",fieldPath=".delta",message="delta goes with SLiCHF only"
// +kubebuilder:validation:XValidation:rule="!has(self.lengthExponent) || self.type == 'RRHF'",fieldPath=".lengthExponent",message="lengthExponent goes with RRHF only"
type SimPOObjective struct {
	// Type: SimPO (arXiv:2405.14734, equation 6), CPO (arXiv:2401.08417), ORPO (arXiv:2403.07691), RRHF
	// (arXiv:2304.05302), SLiCHF (arXiv:2305.10425).
	// +kubebuilder:validation:Enum=SimPO;CPO;ORPO;RRHF;SLiCHF
	// +kubebuilder:default=SimPO
	// +optional
	Type string `json:"type,omitempty"`
	// Beta is the scale of the reward. Default: "2" for SimPO, "0.1" for CPO.
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	Beta Decimal `json:"beta,omitempty"`
	// Gamma is SimPO's target margin. It is absolute: it is not multiplied by beta. Default: "1".
	// +optional
	Gamma Decimal `json:"gamma,omitempty"`
	// GammaBetaRatio is gamma / beta, as SimPO's authors tabulate it; instead of gamma.
	// +optional
	GammaBetaRatio Decimal `json:"gammaBetaRatio,omitempty"`
	// LengthNormalize divides a response's log-probability by its length, for SimPO. Default: true.
	// +optional
	LengthNormalize *bool `json:"lengthNormalize,omitempty"`
	// Lambda weighs the likelihood of the chosen response (CPO, RRHF, SLiCHF) or the odds ratio (ORPO).
	// Default: "1" for CPO and RRHF, "0.1" for ORPO and SLiCHF.
	// +optional
	Lambda Decimal `json:"lambda,omitempty"`
	// NLLReduction of CPO's and SLiCHF's likelihood: sum (the papers') or mean (TRL's). Default: sum.
	// +kubebuilder:validation:Enum=sum;mean
	// +optional
	NLLReduction string `json:"nllReduction,omitempty"`
	// Delta is SLiCHF's margin. Default: "1".
	// +optional
	Delta Decimal `json:"delta,omitempty"`
	// LengthExponent is RRHF's: a response's score is its log-probability / length^lengthExponent. Default: "1".
	// +optional
	LengthExponent Decimal `json:"lengthExponent,omitempty"`
}

// SimPOJobList is a list of SimPOJobs.
//
// +kubebuilder:object:root=true
type SimPOJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SimPOJob `json:"items"`
}

// StageKind implements Stage.
func (j *SimPOJob) StageKind() StageKind { return SimPOJobKind }

// StageSpec implements Stage.
func (j *SimPOJob) StageSpec() *StageSpec { return &j.Spec.StageSpec }

// StageStatus implements Stage.
func (j *SimPOJob) StageStatus() *StageStatus { return &j.Status }

// Upstreams implements Stage.
func (j *SimPOJob) Upstreams() []Upstream {
	return upstream(nil, RoleModel, "spec.model.from", j.Spec.Model.From)
}

// Stages implements StageList.
func (l *SimPOJobList) Stages() []Stage {
	list := make([]Stage, len(l.Items))
	for i := range l.Items {
		list[i] = &l.Items[i]
	}
	return list
}
