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
	// +optional
	Status StageStatus `json:"status,omitzero"`
}

// DPOJobSpec is what to train.
type DPOJobSpec struct {
	// Model is the policy that training starts from: usually an SFTJob's.
	Model CheckpointSource `json:"model"`
	// Reference is the frozen policy that the trained one is kept near. Default: model, as it was
	// before the first step.
	// +optional
	Reference *CheckpointSource `json:"reference,omitempty"`
	// Objective is the loss.
	// +kubebuilder:default={}
	// +optional
	Objective DPOObjective `json:"objective,omitzero"`
	StageSpec `json:",inline"`
}

// DPOObjective is the loss of a DPOJob.
type DPOObjective struct {
	// +kubebuilder:validation:Enum=DPO
	// +kubebuilder:default=DPO
	// +optional
	Type string `json:"type,omitempty"`
	// Beta is the strength of the implicit KL constraint (equation 7).
	// +kubebuilder:default="0.1"
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0",message="must be greater than 0"
	// +optional
	Beta Decimal `json:"beta,omitempty"`
	// LabelSmoothing is the probability that a preference is the wrong way round.
	// +kubebuilder:validation:XValidation:rule="double(self) < 0.5",message="must be less than 0.5"
	// +optional
	LabelSmoothing Decimal `json:"labelSmoothing,omitempty"`
	// PrecomputeReference computes the reference's log-probabilities once, before the first step:
	// the same values; it saves time from the second epoch on.
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
