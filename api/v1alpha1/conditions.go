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
	// ConditionSuspended is true when spec.suspend has ended the run's pods.
	ConditionSuspended = "Suspended"
)

// Reasons of conditions. They are stable: programs may compare them. A failed run's reason is the
// trainer's own: InvalidConfig, InvalidData, DigestMismatch, DiskFull, Diverged, StopRule, Error.
const (
	ReasonResolved         = "Resolved"
	ReasonUpstreamNotFound = "UpstreamNotFound"
	ReasonUpstreamNotReady = "UpstreamNotReady"
	ReasonUpstreamFailed   = "UpstreamFailed"
	// ReasonUpstreamNotShared is for a stage of another namespace that is not there or not shared.
	ReasonUpstreamNotShared = "UpstreamNotShared"
	// ReasonClaimNotNamed is for a stage of another namespace whose files are on a claim, and no claim of this one's is named.
	ReasonClaimNotNamed = "ClaimNotNamed"
	// ReasonUpstreamIsAdapter is for a stage that publishes an adapter whose base is out of reach.
	ReasonUpstreamIsAdapter = "UpstreamIsAdapter"
	ReasonReferenceCycle    = "ReferenceCycle"

	ReasonWaitingForInputs = "WaitingForInputs"
	ReasonLookingUp        = "LookingUp"
	ReasonQueued           = "Queued"
	ReasonPodPending       = "PodPending"
	ReasonTraining         = "Training"
	ReasonRestarting       = "Restarting"
	ReasonSucceeded        = "Succeeded"
	ReasonAdopted          = "Adopted"
	ReasonSuspended        = "Suspended"
	ReasonResumed          = "Resumed"
	ReasonRetraining       = "Retraining"
	ReasonDeleting         = "Deleting"

	ReasonInvalidSpec      = "InvalidSpec"
	ReasonCreateFailed     = "CreateFailed"
	ReasonJobFailed        = "JobFailed"
	ReasonDeadlineExceeded = "DeadlineExceeded"
	ReasonRemovalFailed    = "RemovalFailed"
	ReasonResultUnreadable = "ResultUnreadable"

	ReasonUpToDate      = "UpToDate"
	ReasonInputsChanged = "InputsChanged"
	ReasonNoProblem     = "NoProblem"
)
