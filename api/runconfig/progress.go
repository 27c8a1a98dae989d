package runconfig

// Progress is what GET /progress of a trainer answers, as JSON.
type Progress struct {
	// Phase is one of Loading, Evaluating, Training, Publishing, Done, Failed.
	Phase string `json:"phase"`
	// Step is the number of finished optimiser steps, of TotalSteps.
	Step       int `json:"step"`
	TotalSteps int `json:"totalSteps"`
	// Epoch is fractional: 1.5 is the middle of the second pass.
	Epoch float64 `json:"epoch"`
	// Percent is 100*Step/TotalSteps.
	Percent float64 `json:"percent"`
	// ETASeconds is the estimated time left.
	ETASeconds float64 `json:"etaSeconds"`
	// TokensPerSecond counts tokens through the policy, padding excluded.
	TokensPerSecond float64 `json:"tokensPerSecond"`
	// ResumedFrom is the step this attempt continued from; 0 if it began.
	ResumedFrom int `json:"resumedFrom,omitempty"`
	// Metrics are the newest, under TRL's names: loss, rewards/accuracies, eval_loss ...
	Metrics map[string]float64 `json:"metrics,omitempty"`
	// Message says what is going on, or why the run failed.
	Message string `json:"message,omitempty"`
}

// The phases of Progress.
const (
	PhaseLoading    = "Loading"
	PhaseEvaluating = "Evaluating"
	PhaseTraining   = "Training"
	PhasePublishing = "Publishing"
	PhaseDone       = "Done"
	PhaseFailed     = "Failed"
)

// Result is how a run ended. The trainer writes it as result.json beside the checkpoint and,
// shortened to TerminationLimit bytes, to the pod's termination message.
type Result struct {
	// ExitCode is one of the Exit constants.
	ExitCode int `json:"exitCode"`
	// Reason is a CamelCase word for a condition: Succeeded, InvalidConfig, InvalidData,
	// DigestMismatch, DiskFull, Diverged, StopRule, Interrupted, NotPublished, RankLost, Error.
	Reason string `json:"reason"`
	// Message is one sentence for people; it names file, line and field where it can.
	Message string `json:"message,omitempty"`
	// Output is the published checkpoint; absent when the run did not get there.
	Output *Artifact `json:"output,omitempty"`
	// Inputs are all that went in, with the digests that were read.
	Inputs []Artifact `json:"inputs,omitempty"`
	// RunHash is the run's identity.
	RunHash string `json:"runHash,omitempty"`
	// Step, TotalSteps and Epoch as in Progress.
	Step       int     `json:"step"`
	TotalSteps int     `json:"totalSteps"`
	Epoch      float64 `json:"epoch,omitempty"`
	// Metrics are the last ones, evaluation included.
	Metrics map[string]float64 `json:"metrics,omitempty"`
	// Tokens through the policy in training, over all attempts, and the seconds they took.
	Tokens  int64   `json:"tokens,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	// PeakMemoryBytes is the most that tensors took at a time, in this attempt, on the device of the run.
	PeakMemoryBytes int64 `json:"peakMemoryBytes,omitempty"`
	// Adopted says that the checkpoint was already published by a run of the same hash.
	Adopted bool `json:"adopted,omitempty"`
}

// Artifact is a file or folder with its digest.
type Artifact struct {
	// Role is model, reference, rewardModel, value, tokenizer, train, eval, demonstrations, pretraining
	// or checkpoint.
	Role string `json:"role"`
	URI  string `json:"uri"`
	// Digest is "sha256:<64 hex>" of the file, or of a checkpoint's manifest.json; of a fetched folder without one, of
	// what sha256sum prints for its files.
	Digest string `json:"digest"`
	// Commit is that of a hub's repository which the URI's revision led to.
	Commit string `json:"commit,omitempty"`
}

// The reasons of Result.
const (
	ReasonSucceeded      = "Succeeded"
	ReasonInvalidConfig  = "InvalidConfig"
	ReasonInvalidData    = "InvalidData"
	ReasonDigestMismatch = "DigestMismatch"
	ReasonDiskFull       = "DiskFull"
	ReasonDiverged       = "Diverged"
	ReasonStopRule       = "StopRule"
	ReasonInterrupted    = "Interrupted"
	// ReasonNotPublished is what a lookup answers, with ExitDone, where there is nothing to adopt.
	ReasonNotPublished = "NotPublished"
	// ReasonRankLost is a process of a run of several that died, or a node from which nothing is heard.
	ReasonRankLost = "RankLost"
	ReasonError    = "Error"
)

// Exit codes of the trainer. The operator's podFailurePolicy depends on them.
const (
	// ExitDone is a published checkpoint.
	ExitDone = 0
	// ExitError may pass on another try: the run resumes from its newest complete state.
	ExitError = 1
	// ExitInvalid is input that no retry mends: configuration, data, digests.
	ExitInvalid = 2
	// ExitStopped is a run that diverged or met a stop rule; never retried.
	ExitStopped = 3
	// ExitTerminated is SIGTERM, after the state was saved (128+15).
	ExitTerminated = 143
)

// TerminationLimit is how many bytes Kubernetes keeps of a termination message.
const TerminationLimit = 4096

// Paths inside a trainer container.
const (
	// ConfigPath is where the operator mounts the RunConfig.
	ConfigPath = "/etc/alignment/run.yaml"
	// TerminationPath is where the trainer leaves its short Result.
	TerminationPath = "/dev/termination-log"
	// Port is what Placement.Address names in a pod.
	Port = 8080
	// CachePath is where a pod's Placement.Cache is.
	CachePath = "/mnt/cache"
	// MountRoot is the folder below which claims are mounted, one folder a claim.
	MountRoot = "/mnt/claims"
)
