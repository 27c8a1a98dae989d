package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// StageStatus is what is known about a stage: the same for every kind.
type StageStatus struct {
	// ObservedGeneration is the spec that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase sums up the conditions for people. Programs read the conditions.
	// +optional
	Phase Phase `json:"phase,omitempty"`
	// Conditions: Ready, Reconciling, Stalled, InputsResolved, Trained, Stale, Suspended.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Progress of the training, a few seconds old at most while it runs.
	// +optional
	Progress *Progress `json:"progress,omitempty"`
	// Metrics are the newest, under TRL's names: loss, eval_loss, rewards/accuracies, rewards/margins, kl.
	// +optional
	Metrics map[string]string `json:"metrics,omitempty"`
	// Inputs are all that goes into the run, frozen when it starts.
	// +listType=atomic
	// +optional
	Inputs []Input `json:"inputs,omitempty"`
	// Output is the published checkpoint.
	// +optional
	Output *Artifact `json:"output,omitempty"`
	// RunHash is the run's identity: everything that decides its result.
	// +optional
	RunHash string `json:"runHash,omitempty"`
	// RunGeneration is the generation of the spec that the run was started with.
	// +optional
	RunGeneration int64 `json:"runGeneration,omitempty"`
	// Attempts is how often pods have begun this run, disrupted ones excluded.
	// +optional
	Attempts int32 `json:"attempts,omitempty"`
	// Restarts is how many attempts failed, of spec.maxRestarts that may.
	// +optional
	Restarts int32 `json:"restarts,omitempty"`
	// Disruptions is how many attempts ended by no fault of the run: a preemption, a drained or lost
	// node, a deleted pod.
	// +optional
	Disruptions int32 `json:"disruptions,omitempty"`
	// History is the newest attempts, the oldest first.
	// +listType=map
	// +listMapKey=pod
	// +optional
	History []Attempt `json:"history,omitempty"`
	// Lineage is every checkpoint that went into this run, directly or not, the oldest first.
	// +listType=atomic
	// +optional
	Lineage []Ancestor `json:"lineage,omitempty"`
	// StartTime is when the run's Job was created.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime is when the run ended, well or not.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// Phase is a one-word summary.
// +kubebuilder:validation:Enum=Pending;Waiting;Running;Suspended;Succeeded;Failed
type Phase string

// The phases.
const (
	// PhaseWaiting is for inputs that are not there yet.
	PhaseWaiting Phase = "Waiting"
	// PhasePending has a Job, and no running pod.
	PhasePending Phase = "Pending"
	PhaseRunning Phase = "Running"
	// PhaseSuspended has a saved state at most, and no pod, because spec.suspend says so.
	PhaseSuspended Phase = "Suspended"
	PhaseSucceeded Phase = "Succeeded"
	// PhaseFailed needs someone to change something.
	PhaseFailed Phase = "Failed"
)

// Progress of a run.
type Progress struct {
	// Phase of the trainer: Loading, Evaluating, Training, Publishing, Done, Failed.
	// +optional
	Phase string `json:"phase,omitempty"`
	// Message is what the trainer is at, where the phase does not say it: how much of a model it has fetched, say.
	// +optional
	Message string `json:"message,omitempty"`
	// Step is the number of finished optimiser steps, of totalSteps.
	Step int64 `json:"step"`
	// +optional
	TotalSteps int64 `json:"totalSteps,omitempty"`
	// Epoch is fractional: "1.50" is the middle of the second pass.
	// +optional
	Epoch string `json:"epoch,omitempty"`
	// Percent of the steps.
	Percent int32 `json:"percent"`
	// ETASeconds is the estimated time left.
	// +optional
	ETASeconds int64 `json:"etaSeconds,omitempty"`
	// ETA is etaSeconds for people: 1h5m.
	// +optional
	ETA string `json:"eta,omitempty"`
	// TokensPerSecond through the policy, padding excluded.
	// +optional
	TokensPerSecond int64 `json:"tokensPerSecond,omitempty"`
	// ResumedFrom is the step this attempt went on from; absent if it began.
	// +optional
	ResumedFrom int64 `json:"resumedFrom,omitempty"`
	// UpdatedAt is when the trainer was last seen to have got on.
	// +optional
	UpdatedAt metav1.Time `json:"updatedAt,omitzero"`
}

// Artifact is a file or folder with its digest.
type Artifact struct {
	URI string `json:"uri"`
	// Digest of a file, or of a checkpoint's manifest.json.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// Input is an artifact that goes into a run.
type Input struct {
	// Role is model, reference, rewardModel, value, tokenizer, train, eval, demonstrations or pretraining; of what an adapter
	// goes on, the adapter's and Base.
	Role     string `json:"role"`
	Artifact `json:",inline"`
	// From is the stage that published it.
	// +optional
	From *InputStage `json:"from,omitempty"`
}

// The roles of inputs.
const (
	RoleModel          = "model"
	RoleReference      = "reference"
	RoleRewardModel    = "rewardModel"
	RoleValue          = "value"
	RoleTokenizer      = "tokenizer"
	RoleTrain          = "train"
	RoleEval           = "eval"
	RoleDemonstrations = "demonstrations"
	RolePretraining    = "pretraining"
)

// BaseOf is the role of the checkpoint that an adapter goes on.
func BaseOf(role string) string { return role + "Base" }

// Attempt is one pod of a run, or several that train together.
type Attempt struct {
	// Pod of the attempt; of several the first, which has rank 0.
	Pod string `json:"pod"`
	// FailedPod is which of several pods ended first, and with it the attempt.
	// +optional
	FailedPod string `json:"failedPod,omitempty"`
	// Node of that pod.
	// +optional
	Node string `json:"node,omitempty"`
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// +optional
	EndTime *metav1.Time `json:"endTime,omitempty"`
	// Step is the last that was seen of it.
	// +optional
	Step int64 `json:"step,omitempty"`
	// ExitCode of the trainer; absent while it runs, and if its end was not seen.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty"`
	// Reason of its end: Succeeded, Suspended, a disruption's (PreemptionByScheduler,
	// DeletionByTaintManager ...; Interrupted, Lost), or a failure's (Error, OOMKilled, Diverged ...).
	// +optional
	Reason string `json:"reason,omitempty"`
}

// Ancestor is a checkpoint that went into a run, perhaps through others.
type Ancestor struct {
	Kind      StageKind `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	// Artifact is the checkpoint.
	Artifact `json:",inline"`
	// RunHash of the run that published it.
	// +optional
	RunHash string `json:"runHash,omitempty"`
	// Inputs of that run: role=digest, or role=uri for what has no digest.
	// +listType=atomic
	// +optional
	Inputs []string `json:"inputs,omitempty"`
}

// InputStage is a stage as it was when its checkpoint was taken.
type InputStage struct {
	Kind StageKind `json:"kind"`
	Name string    `json:"name"`
	// Namespace, if it is not the resource's own.
	// +optional
	Namespace  string    `json:"namespace,omitempty"`
	UID        types.UID `json:"uid"`
	Generation int64     `json:"generation"`
}

// Phases are all phases.
var Phases = []Phase{PhasePending, PhaseWaiting, PhaseRunning, PhaseSuspended, PhaseSucceeded, PhaseFailed}
