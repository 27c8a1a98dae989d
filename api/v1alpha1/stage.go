package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Stage is a resource that trains a checkpoint: every kind of this package.
// +kubebuilder:object:generate=false
type Stage interface {
	metav1.Object
	runtime.Object

	// StageKind is the kind's name.
	StageKind() StageKind
	// StageSpec is the part of the spec that all kinds have.
	StageSpec() *StageSpec
	// StageStatus is the whole status.
	StageStatus() *StageStatus
	// Upstreams are the stages whose checkpoints go into this one, in a fixed order.
	Upstreams() []Upstream
}

// Upstream is a reference to another stage, and what its checkpoint is for.
// +kubebuilder:object:generate=false
type Upstream struct {
	// Role is RoleModel, RoleReference, RoleRewardModel or RoleValue.
	Role string
	// Field is the reference's path in the resource, as spec.model.from.
	Field string
	// Ref names a stage; its namespace is empty for the stage's own.
	Ref StageReference
}

// StageKind is a kind of this package.
// +kubebuilder:validation:Enum=SFTJob;RewardModelJob;PPOJob;DPOJob;SimPOJob
type StageKind string

// The kinds.
const (
	SFTJobKind         StageKind = "SFTJob"
	RewardModelJobKind StageKind = "RewardModelJob"
	PPOJobKind         StageKind = "PPOJob"
	DPOJobKind         StageKind = "DPOJob"
	SimPOJobKind       StageKind = "SimPOJob"
)

// StageKinds are all kinds, in the order of a pipeline.
var StageKinds = []StageKind{SFTJobKind, RewardModelJobKind, PPOJobKind, DPOJobKind, SimPOJobKind}

// NewStage is an empty resource of a kind; nil if there is no such kind.
func NewStage(kind StageKind) Stage {
	switch kind {
	case SFTJobKind:
		return &SFTJob{}
	case RewardModelJobKind:
		return &RewardModelJob{}
	case PPOJobKind:
		return &PPOJob{}
	case DPOJobKind:
		return &DPOJob{}
	case SimPOJobKind:
		return &SimPOJob{}
	}
	return nil
}

// StageList is a list of one kind.
// +kubebuilder:object:generate=false
type StageList interface {
	metav1.ListInterface
	runtime.Object
	// Stages are pointers into the list.
	Stages() []Stage
}

// NewStageList is an empty list of a kind; nil if there is no such kind.
func NewStageList(kind StageKind) StageList {
	switch kind {
	case SFTJobKind:
		return &SFTJobList{}
	case RewardModelJobKind:
		return &RewardModelJobList{}
	case PPOJobKind:
		return &PPOJobList{}
	case DPOJobKind:
		return &DPOJobList{}
	case SimPOJobKind:
		return &SimPOJobList{}
	}
	return nil
}

// upstream appends the reference of a source, if it has one.
func upstream(list []Upstream, role, field string, from *StageReference) []Upstream {
	if from == nil {
		return list
	}
	return append(list, Upstream{Role: role, Field: field, Ref: *from})
}
