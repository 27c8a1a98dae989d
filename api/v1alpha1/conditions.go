package v1alpha1

// Condition types. Ready, Reconciling and Stalled are kstatus's, so that GitOps tools and
// `kubectl wait` understand them.
const (
	// ConditionReady is true when the checkpoint is published.
	ConditionReady = "Ready"
	// ConditionReconciling is true while the stage gets on by itself.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is true when nothing more happens until someone changes something.
	ConditionStalled = "Stalled"
	// ConditionInputsResolved is true when all that goes into the run is known.
	ConditionInputsResolved = "InputsResolved"
	// ConditionTrained is true when the run ended well.
	ConditionTrained = "Trained"
	// ConditionStale is true when a run with today's spec and inputs would be another one.
	ConditionStale = "Stale"
)

// Reasons of conditions. They are stable: programs may compare them. A failed run's reason is the
// trainer's own: InvalidConfig, InvalidData, DigestMismatch, DiskFull, Diverged, Error.
const (
	ReasonResolved         = "Resolved"
	ReasonUpstreamNotFound = "UpstreamNotFound"
	ReasonUpstreamNotReady = "UpstreamNotReady"
	ReasonUpstreamFailed   = "UpstreamFailed"
	ReasonReferenceCycle   = "ReferenceCycle"

	ReasonWaitingForInputs = "WaitingForInputs"
	ReasonPodPending       = "PodPending"
	ReasonTraining         = "Training"
	ReasonRestarting       = "Restarting"
	ReasonSucceeded        = "Succeeded"
	ReasonAdopted          = "Adopted"

	ReasonInvalidSpec      = "InvalidSpec"
	ReasonCreateFailed     = "CreateFailed"
	ReasonJobFailed        = "JobFailed"
	ReasonResultUnreadable = "ResultUnreadable"

	ReasonUpToDate      = "UpToDate"
	ReasonInputsChanged = "InputsChanged"
	ReasonNoProblem     = "NoProblem"
)
