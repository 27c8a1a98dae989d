package controllers

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/alignment-dev/alignment-operator/controllers/desired"
	"github.com/alignment-dev/alignment-operator/controllers/status"
)

// action is what one pass does besides writing the status: one thing at most.
type action int

const (
	nothing action = iota
	lookUp
	deleteLookup
	startRun
	suspendJob
	resumeJob
	deleteJob
	removeOutput
	release
)

// decide is pure: what is to be done follows from what is seen.
func decide(o status.Observed, now time.Time) action {
	suspend := o.Stage.StageSpec().Suspend
	found, lookedUp := o.LookedUp()
	switch {
	case o.Stage.GetDeletionTimestamp() != nil:
		return decideRemoval(o)
	case o.Job != nil && o.Job.DeletionTimestamp != nil:
		return nothing
	case o.Job != nil && o.Expired(now):
		return deleteJob
	case o.Trained(): // an outdated one first loses its status
		return nothing
	case o.Job != nil && o.Outdated():
		return deleteJob
	case !suspend && o.Replaced():
		return deleteJob
	case o.Job != nil && (status.Ended(o.Job, batchv1.JobComplete) || status.Ended(o.Job, batchv1.JobFailed)):
		return nothing
	case o.Job != nil && desired.Queued(o.Job): // its suspension is Kueue's
		if suspend {
			return deleteJob
		}
		return nothing
	case o.Job != nil && suspend != status.Suspended(o.Job):
		if suspend {
			return suspendJob
		}
		return resumeJob
	case o.Job != nil || suspend || o.Run == nil || len(o.Leftover) > 0 || o.Kept(now):
		return nothing
	case o.Between():
		return startRun
	case o.LookupOutdated():
		return deleteLookup
	case o.Lookup == nil:
		return lookUp
	case !lookedUp || found != nil:
		return nothing
	}
	return startRun
}

// decideRemoval lets a stage go when its pods have ended and its files are gone.
func decideRemoval(o status.Observed) action {
	switch {
	case o.Job != nil && o.Job.DeletionTimestamp == nil:
		return deleteJob
	case o.Lookup != nil && o.Lookup.DeletionTimestamp == nil:
		return deleteLookup
	case o.Job != nil || o.Lookup != nil || len(o.Leftover) > 0:
		return nothing
	case o.Removal == nil:
		return removeOutput
	case status.Ended(o.Removal, batchv1.JobComplete):
		return release
	}
	return nothing
}
