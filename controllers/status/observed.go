package status

import (
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
	"github.com/alignment-dev/alignment-operator/controllers/inputs"
)

// Observed is all that a status, and what is to be done, are made of.
type Observed struct {
	// Stage as it was read, with its previous status.
	Stage  v1alpha1.Stage
	Inputs inputs.Inputs
	// Run is what would be trained now; nil when the inputs have a problem or Invalid is set.
	Run *desired.Run
	// Invalid is why the spec makes no run; ApplyError why what is to be done could not be.
	Invalid, ApplyError error
	// Job of the stage; nil before the run and after its Job was deleted.
	Job *batchv1.Job
	// Pods of the Job.
	Pods []corev1.Pod
	// Lookup is the Job that looks for a checkpoint of the run before it starts, with its pods.
	Lookup     *batchv1.Job
	LookupPods []corev1.Pod
	// Removal is the Job that removes the files of a stage that is being deleted.
	Removal *batchv1.Job
	// Leftover are running pods of an earlier Job; two trainers must never write one folder.
	Leftover []string
	// Progress was just read from the running pod; nil if it was not.
	Progress *runconfig.Progress
}

// Trained says whether the stage has its checkpoint.
func (o Observed) Trained() bool {
	return meta.IsStatusConditionTrue(o.Stage.StageStatus().Conditions, v1alpha1.ConditionTrained)
}

// Outdated says whether the run that is, or was, gives way to the one that spec and inputs now make.
func (o Observed) Outdated() bool {
	retrain := o.Stage.StageSpec().Retrain == v1alpha1.RetrainOnChange && o.Run != nil
	switch {
	case o.Trained():
		return retrain && o.Run.Hash != o.Stage.StageStatus().RunHash
	case o.Job == nil:
		return false
	case retrain && o.Run.Hash != o.Job.Annotations[desired.AnnotationRunHash]:
		return true
	}
	// A run that failed, or that has not begun, costs nothing: any change of the spec, such as of the pod's
	// resources, makes a new Job. A failed one stays until then, where it can be read.
	over := Ended(o.Job, batchv1.JobFailed) && !o.goesOn() || !o.begun() && !o.follows() && !Ended(o.Job, batchv1.JobComplete)
	return over && o.otherGeneration()
}

// otherGeneration says whether the Job was made for another spec than today's.
func (o Observed) otherGeneration() bool {
	return o.Job.Annotations[desired.AnnotationGeneration] != strconv.FormatInt(o.Stage.GetGeneration(), 10)
}

// begun says whether a pod of the Job has run, or may have.
func (o Observed) begun() bool {
	s, j := o.Stage.StageStatus(), o.Job.Status
	if j.Failed > 0 || j.Succeeded > 0 {
		return true
	}
	// Of a Job that follows another, the history first has that one's end.
	if n := len(s.History); n > 0 && started(o.Job).Equal(s.StartTime) && (!o.follows() || s.History[n-1].FailedPod != o.Job.Annotations[desired.AnnotationAfter]) {
		return true
	}
	for i := range o.Pods {
		p := &o.Pods[i]
		if c := container(p); c != nil && (c.State.Running != nil || c.State.Terminated != nil) || p.Status.Phase == corev1.PodFailed {
			return true
		}
	}
	return false
}

// Expires is when the Job of a run that has ended is to go; zero if it is to stay.
func (o Observed) Expires() time.Time {
	s, ttl := o.Stage.StageStatus(), o.Stage.StageSpec().TTLSecondsAfterFinished
	switch {
	case ttl == nil || s.CompletionTime == nil || s.Phase != v1alpha1.PhaseSucceeded && s.Phase != v1alpha1.PhaseFailed:
		return time.Time{}
	case o.Job != nil && !started(o.Job).Equal(s.StartTime):
		return time.Time{} // the status is of another run
	}
	return s.CompletionTime.Add(time.Duration(*ttl) * time.Second)
}

// Expired says whether that time has come.
func (o Observed) Expired(now time.Time) bool {
	at := o.Expires()
	return !at.IsZero() && !now.Before(at)
}

// Kept says whether a failed run, whose Job is gone because its time was over, stays failed: no one has
// asked for another try.
func (o Observed) Kept(now time.Time) bool {
	s := o.Stage.StageStatus()
	return o.Job == nil && s.Phase == v1alpha1.PhaseFailed && o.Expired(now) && s.RunGeneration == o.Stage.GetGeneration()
}

// LookupOutdated says whether the lookup is for another run than the one to start now.
func (o Observed) LookupOutdated() bool {
	return o.Lookup != nil && o.Run != nil && (o.Lookup.Annotations[desired.AnnotationRunHash] != o.Run.Hash ||
		o.Lookup.Annotations[desired.AnnotationGeneration] != strconv.FormatInt(o.Stage.GetGeneration(), 10))
}

// LookedUp says whether the lookup has ended, and what it found: nil for nothing. One that failed has
// found nothing: the trainer looks again before it trains.
func (o Observed) LookedUp() (found *runconfig.Result, done bool) {
	if o.Lookup == nil || o.Run == nil || o.LookupOutdated() || anyUnfinished(o.LookupPods) {
		return nil, false
	}
	switch {
	case Ended(o.Lookup, batchv1.JobFailed):
		return nil, true
	case !Ended(o.Lookup, batchv1.JobComplete):
		return nil, false
	}
	r := readResult(succeeded(o.LookupPods))
	if r.Output == nil || !digestPattern.MatchString(r.Output.Digest) || r.RunHash != o.Run.Hash {
		return nil, true
	}
	return &r, true
}

// Ended says whether a Job has come to an end of a type: JobComplete or JobFailed.
func Ended(job *batchv1.Job, end batchv1.JobConditionType) bool {
	return ending(job, end) != nil
}

func ending(job *batchv1.Job, end batchv1.JobConditionType) *batchv1.JobCondition {
	for i, c := range job.Status.Conditions {
		if c.Type == end && c.Status == corev1.ConditionTrue {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

// Suspended says whether a Job's spec does.
func Suspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }
