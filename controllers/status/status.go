package status

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// startingMessage is for a run without a pod to speak of.
const startingMessage = "the pod is starting"

// Next is the status to write. now is for what changes.
func Next(o Observed, now time.Time) v1alpha1.StageStatus {
	n := &next{
		o:           o,
		StageStatus: *o.Stage.StageStatus().DeepCopy(),
		now:         metav1.NewTime(now.Truncate(time.Second)),
	}
	n.ObservedGeneration = o.Stage.GetGeneration()
	switch {
	case o.Stage.GetDeletionTimestamp() != nil:
		n.deleting()
	case o.Outdated():
		n.givingWay()
	case o.Trained():
		n.stale() // a trained stage stays trained, also without its Job
	case o.Kept(now):
	case o.Between():
		n.between()
	case o.Job == nil:
		n.beforeRun()
	default:
		n.run()
		n.stale()
	}
	if c := meta.FindStatusCondition(n.Conditions, v1alpha1.ConditionSuspended); c != nil && n.Phase != v1alpha1.PhaseSuspended {
		n.set(v1alpha1.ConditionSuspended, false, v1alpha1.ReasonResumed, "the run is not suspended")
	}
	slices.SortFunc(n.Conditions, func(a, b metav1.Condition) int { return order(a.Type) - order(b.Type) })
	for i := range n.Conditions {
		n.Conditions[i].ObservedGeneration = n.ObservedGeneration
	}
	return n.StageStatus
}

// order is that of a story: what is it, what goes in, what came out.
func order(condition string) int {
	return slices.Index([]string{
		v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled,
		v1alpha1.ConditionInputsResolved, v1alpha1.ConditionTrained, v1alpha1.ConditionStale, v1alpha1.ConditionSuspended,
	}, condition)
}

type next struct {
	o Observed
	v1alpha1.StageStatus
	now metav1.Time
	// exhausted says that the attempt which has just ended was the last that may fail.
	exhausted bool
}

// deleting has its files removed; without a finalizer it is gone before anyone reads this.
func (n *next) deleting() {
	switch {
	case n.o.Removal != nil && Ended(n.o.Removal, batchv1.JobFailed):
		n.failed(v1alpha1.ReasonRemovalFailed, fmt.Sprintf(
			"the output could not be removed: see the log of Job %s, and delete it to try again; with output.deletionPolicy Retain the resource goes and the files stay", n.o.Removal.Name))
	case n.o.ApplyError != nil:
		n.going(n.Phase, v1alpha1.ReasonDeleting, cleanText(n.o.ApplyError.Error()))
	default:
		n.going(n.Phase, v1alpha1.ReasonDeleting, "the output is being removed")
	}
}

// reset forgets what an earlier run left.
func (n *next) reset() {
	n.StageStatus = v1alpha1.StageStatus{ObservedGeneration: n.ObservedGeneration, Conditions: n.Conditions}
}

// givingWay has a run, trained or not, that is replaced by another.
func (n *next) givingWay() {
	old := n.RunHash
	if n.o.Job != nil {
		old = n.o.Job.Annotations[desired.AnnotationRunHash]
	}
	n.reset()
	meta.RemoveStatusCondition(&n.Conditions, v1alpha1.ConditionStale)
	n.going(v1alpha1.PhasePending, v1alpha1.ReasonRetraining, fmt.Sprintf("run %.12s gives way to what spec and inputs now make", old))
}

// beforeRun has no Job: it waits, or is about to get one, or cannot.
func (n *next) beforeRun() {
	n.reset()
	p := n.o.Inputs.Problem
	if p != nil {
		n.set(v1alpha1.ConditionInputsResolved, false, p.Reason, p.Message)
	} else {
		n.resolved()
	}
	found, _ := n.o.LookedUp()
	if n.o.Run == nil || n.o.Lookup == nil {
		meta.RemoveStatusCondition(&n.Conditions, v1alpha1.ConditionStale)
	} else {
		n.started(n.o.Run.Hash, n.o.Stage.GetGeneration(), n.o.Run.Inputs, n.o.Run.Lineage)
	}
	switch {
	case n.o.Stage.StageSpec().Suspend:
		n.suspended()
	case p != nil && p.Permanent:
		n.failed(p.Reason, p.Message)
	case p != nil:
		n.going(v1alpha1.PhaseWaiting, v1alpha1.ReasonWaitingForInputs, p.Message)
	case n.o.Invalid != nil:
		n.failed(v1alpha1.ReasonInvalidSpec, cleanText(n.o.Invalid.Error()))
	case n.o.ApplyError != nil:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonCreateFailed, cleanText(n.o.ApplyError.Error()))
	case len(n.o.Leftover) > 0:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonPodPending, fmt.Sprintf("waiting for pod %s of an earlier run to end", n.o.Leftover[0]))
	case found != nil:
		n.adopted(*found)
	case n.o.Run == nil || n.o.Lookup == nil:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonPodPending, startingMessage)
	default:
		n.stale()
		n.pending(n.o.Lookup, newest(n.o.LookupPods))
	}
	if n.RunHash == "" { // there is no run to be stale
		meta.RemoveStatusCondition(&n.Conditions, v1alpha1.ConditionStale)
	}
}

// started notes what a run is made of. The lookup and the run's own Job say the same, so that one
// write does for both.
func (n *next) started(hash string, generation int64, in []v1alpha1.Input, lineage []v1alpha1.Ancestor) {
	n.RunHash, n.RunGeneration, n.Inputs, n.Lineage = hash, generation, in, lineage
}

// pending has a Job without a pod that runs.
func (n *next) pending(job *batchv1.Job, pod *corev1.Pod) {
	switch {
	case Suspended(job):
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonQueued, fmt.Sprintf("Job %s waits to be admitted from queue %s", job.Name, job.Labels[desired.QueueLabel]))
	case pod == nil:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonPodPending, startingMessage)
	default:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonPodPending, pendingMessage(pod))
	}
}

// run has a Job: pending, running or ended.
func (n *next) run() {
	if !started(n.o.Job).Equal(n.StartTime) { // of another run
		n.Progress, n.Metrics, n.History, n.StartTime = nil, nil, nil, nil
		n.Attempts, n.Restarts, n.Disruptions = 0, 0, 0
	}
	a := n.o.Job.Annotations
	generation, _ := strconv.ParseInt(a[desired.AnnotationGeneration], 10, 64)
	in, lineage := n.Inputs, n.Lineage
	if n.RunHash != a[desired.AnnotationRunHash] || len(in) == 0 {
		in, lineage = nil, nil
		// Unreadable only by someone's hand.
		_ = json.Unmarshal([]byte(a[desired.AnnotationInputs]), &in)
		_ = json.Unmarshal([]byte(a[desired.AnnotationLineage]), &lineage)
	}
	n.started(a[desired.AnnotationRunHash], generation, in, lineage)
	n.resolved()
	if n.o.begun() && (n.StartTime != nil || n.allBegan()) || Ended(n.o.Job, batchv1.JobFailed) || Ended(n.o.Job, batchv1.JobComplete) {
		n.StartTime = started(n.o.Job).DeepCopy()
		switch {
		case counted(&n.StageStatus, n.o.Job):
		case several(n.o.Job):
			n.Attempts = max(n.Attempts, n.Restarts+1)
		default:
			// A pod that has ended is for a moment neither active nor failed; attempts are never fewer.
			n.Attempts = max(1, n.Attempts, n.o.Job.Status.Failed+n.o.Job.Status.Active+n.o.Job.Status.Succeeded)
			n.Restarts = max(n.Restarts, min(n.o.Job.Status.Failed, n.Attempts-1))
		}
		n.attempts()
	}
	for _, c := range n.o.Job.Status.Conditions {
		if c.Status != corev1.ConditionTrue || anyUnfinished(n.o.Pods) {
			continue // Jobs and pods are watched apart: the pod's own end, and with it the result, is yet to be seen
		}
		switch c.Type {
		case batchv1.JobComplete:
			n.CompletionTime = c.LastTransitionTime.DeepCopy()
			n.complete()
			return
		case batchv1.JobFailed:
			n.endGang(&c)
			if several(n.o.Job) && !n.exhausted && n.CompletionTime == nil && retried(&c, lastFailed(&n.StageStatus)) {
				n.restarting()
				return
			}
			n.CompletionTime = c.LastTransitionTime.DeepCopy()
			n.jobFailed(c)
			return
		}
	}
	n.CompletionTime, n.Output = nil, nil
	n.inFlight()
}

// inFlight has a pod that runs, or will.
func (n *next) inFlight() {
	pod := newest(n.o.Pods)
	switch {
	case n.o.Stage.StageSpec().Suspend:
		n.suspended()
	case Suspended(n.o.Job):
		n.pending(n.o.Job, pod)
	case several(n.o.Job):
		n.gangInFlight()
	case pod == nil && n.o.Job.Status.Failed > 0:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonRestarting, n.retryMessage(nil))
	case pod == nil:
		n.pending(n.o.Job, nil)
	case Running(pod):
		n.progress()
		n.going(v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, fmt.Sprintf("pod %s is %s%s", pod.Name, n.doing(), n.detail()))
	case final(terminated(pod)):
		n.going(v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, fmt.Sprintf("pod %s has ended, its Job not yet", pod.Name))
	case terminated(pod) != nil:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonRestarting, n.retryMessage(pod))
	default:
		n.pending(n.o.Job, pod)
	}
}

func (n *next) doing() string {
	if n.Progress == nil || n.Progress.Phase == runconfig.PhaseLoading {
		return "loading"
	}
	return "training"
}

// detail is what the trainer says beside its phase.
func (n *next) detail() string {
	if n.Progress == nil || n.Progress.Message == "" {
		return ""
	}
	return ": " + n.Progress.Message
}

// suspended has no pod, or one that is about to end.
func (n *next) suspended() {
	for _, p := range n.o.Pods {
		if anyUnfinished([]corev1.Pod{p}) {
			n.going(n.Phase, v1alpha1.ReasonSuspended, fmt.Sprintf("pod %s saves its state and ends", p.Name))
			return
		}
	}
	message := "suspended before its run began"
	if n.Progress != nil {
		message = fmt.Sprintf("suspended at step %d of %d", n.Progress.Step, n.Progress.TotalSteps)
	}
	n.Phase = v1alpha1.PhaseSuspended
	n.set(v1alpha1.ConditionReady, false, v1alpha1.ReasonSuspended, message)
	n.set(v1alpha1.ConditionReconciling, false, v1alpha1.ReasonSuspended, "waiting for spec.suspend to be false")
	n.set(v1alpha1.ConditionStalled, false, v1alpha1.ReasonNoProblem, "nothing stands in the way")
	n.set(v1alpha1.ConditionTrained, false, v1alpha1.ReasonSuspended, "not trained yet")
	n.set(v1alpha1.ConditionSuspended, true, v1alpha1.ReasonSuspended, message)
}

// stale compares the run that is with the one that would be. While inputs are unresolved
// (an upstream was deleted), nobody can tell, and the condition stays.
func (n *next) stale() {
	switch {
	case n.o.Run == nil:
	case n.o.Run.Hash == n.RunHash:
		n.set(v1alpha1.ConditionStale, false, v1alpha1.ReasonUpToDate, "spec and inputs are those of the run")
	default:
		n.set(v1alpha1.ConditionStale, true, v1alpha1.ReasonInputsChanged, fmt.Sprintf(
			"spec or inputs changed after the run began (it is %.12s, it would be %.12s); the run keeps those it was started with; set retrain: OnChange to train anew", n.RunHash, n.o.Run.Hash))
	}
}

func (n *next) resolved() {
	n.set(v1alpha1.ConditionInputsResolved, true, v1alpha1.ReasonResolved, "every reference leads to a checkpoint")
}

// going is any state that gets on by itself.
func (n *next) going(phase v1alpha1.Phase, reason, message string) {
	n.Phase = phase
	n.set(v1alpha1.ConditionReady, false, reason, message)
	n.set(v1alpha1.ConditionReconciling, true, reason, message)
	n.set(v1alpha1.ConditionStalled, false, v1alpha1.ReasonNoProblem, "nothing stands in the way")
	n.set(v1alpha1.ConditionTrained, false, reason, "not trained yet")
}

// failed is any state that needs someone.
func (n *next) failed(reason, message string) {
	n.Phase = v1alpha1.PhaseFailed
	n.set(v1alpha1.ConditionReady, false, reason, message)
	n.set(v1alpha1.ConditionReconciling, false, reason, "waiting for a change")
	n.set(v1alpha1.ConditionStalled, true, reason, message)
	n.set(v1alpha1.ConditionTrained, false, reason, message)
}

func (n *next) set(condition string, is bool, reason, message string) {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&n.Conditions, metav1.Condition{
		Type: condition, Status: status, Reason: reason, Message: message, LastTransitionTime: n.now,
	})
}

// Equal says whether writing b over a would change nothing.
func Equal(a, b v1alpha1.StageStatus) bool { return equality.Semantic.DeepEqual(a, b) }
