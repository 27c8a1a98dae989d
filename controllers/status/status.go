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
	"github.com/alignment-dev/alignment-operator/controllers/inputs"
)

// Observed is all that a status is made of.
type Observed struct {
	// Stage as it was read, with its previous status.
	Stage  v1alpha1.Stage
	Inputs inputs.Inputs
	// Run is what would be trained now; nil when the inputs have a problem or Invalid is set.
	Run *desired.Run
	// Invalid is why the spec makes no run; CreateError why the run's objects could not be created.
	Invalid, CreateError error
	// Job of the stage; nil before the run and after its Job was deleted.
	Job *batchv1.Job
	// Pods of the Job.
	Pods []corev1.Pod
	// Leftover are running pods of an earlier Job; two trainers must never write one folder.
	Leftover []string
	// Progress was just read from the running pod; nil if it was not.
	Progress *runconfig.Progress
}

// Next is the status to write. now is for what changes.
func Next(o Observed, now time.Time) v1alpha1.StageStatus {
	n := &next{
		o:           o,
		StageStatus: *o.Stage.StageStatus().DeepCopy(),
		now:         metav1.NewTime(now.Truncate(time.Second)),
	}
	n.ObservedGeneration = o.Stage.GetGeneration()
	switch {
	case meta.IsStatusConditionTrue(n.Conditions, v1alpha1.ConditionTrained):
		n.stale() // a trained stage stays trained, also without its Job
	case o.Job == nil:
		n.beforeRun()
	default:
		n.run()
		n.stale()
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
		v1alpha1.ConditionInputsResolved, v1alpha1.ConditionTrained, v1alpha1.ConditionStale,
	}, condition)
}

type next struct {
	o Observed
	v1alpha1.StageStatus
	now metav1.Time
}

// beforeRun has no Job: it waits, or is about to get one, or cannot.
func (n *next) beforeRun() {
	n.StageStatus = v1alpha1.StageStatus{ObservedGeneration: n.ObservedGeneration, Conditions: n.Conditions}
	meta.RemoveStatusCondition(&n.Conditions, v1alpha1.ConditionStale)
	if p := n.o.Inputs.Problem; p != nil {
		n.set(v1alpha1.ConditionInputsResolved, false, p.Reason, p.Message)
		if p.Permanent {
			n.failed(p.Reason, p.Message)
		} else {
			n.going(v1alpha1.PhaseWaiting, v1alpha1.ReasonWaitingForInputs, p.Message)
		}
		return
	}
	n.resolved()
	switch {
	case n.o.Invalid != nil:
		n.failed(v1alpha1.ReasonInvalidSpec, cleanText(n.o.Invalid.Error()))
	case n.o.CreateError != nil:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonCreateFailed, cleanText(n.o.CreateError.Error()))
	case len(n.o.Leftover) > 0:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonPodPending, fmt.Sprintf("waiting for pod %s of an earlier run to end", n.o.Leftover[0]))
	default:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonPodPending, "the Job is being created")
	}
}

// run has a Job: pending, running or ended.
func (n *next) run() {
	if !n.o.Job.CreationTimestamp.Equal(n.StartTime) {
		n.Progress, n.Metrics, n.Attempts = nil, nil, 0 // of another run
	}
	n.RunHash = n.o.Job.Annotations[desired.AnnotationRunHash]
	n.RunGeneration, _ = strconv.ParseInt(n.o.Job.Annotations[desired.AnnotationGeneration], 10, 64)
	if len(n.frozenInputs()) > 0 {
		n.Inputs = n.frozenInputs()
	}
	n.StartTime = n.o.Job.CreationTimestamp.DeepCopy()
	// A pod that has ended is for a moment neither active nor failed; attempts are never fewer.
	n.Attempts = max(1, n.Attempts, n.o.Job.Status.Failed+n.o.Job.Status.Active+n.o.Job.Status.Succeeded)
	n.resolved()
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
			n.CompletionTime = c.LastTransitionTime.DeepCopy()
			n.jobFailed(c)
			return
		}
	}
	n.CompletionTime, n.Output = nil, nil
	n.inFlight()
}

// frozenInputs are the inputs that the Job was started with.
func (n *next) frozenInputs() []v1alpha1.Input {
	var list []v1alpha1.Input
	if err := json.Unmarshal([]byte(n.o.Job.Annotations[desired.AnnotationInputs]), &list); err != nil {
		return nil // only by someone's hand; the status then keeps what it had
	}
	return list
}

// inFlight has a pod that runs, or will.
func (n *next) inFlight() {
	pod := newest(n.o.Pods)
	switch {
	case pod == nil && n.o.Job.Status.Failed > 0:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonRestarting, n.retryMessage(nil))
	case pod == nil:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonPodPending, "the pod is starting")
	case Running(pod):
		n.progress()
		doing := "training"
		if n.Progress == nil || n.Progress.Phase == runconfig.PhaseLoading {
			doing = "loading"
		}
		n.going(v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, fmt.Sprintf("pod %s is %s", pod.Name, doing))
	case final(terminated(pod)):
		n.going(v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, fmt.Sprintf("pod %s has ended, its Job not yet", pod.Name))
	case terminated(pod) != nil:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonRestarting, n.retryMessage(pod))
	default:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonPodPending, pendingMessage(pod))
	}
}

// final is an end that no retry follows: the Job's own is only moments away.
func final(end *corev1.ContainerStateTerminated) bool {
	return end != nil && slices.Contains([]int32{runconfig.ExitDone, runconfig.ExitInvalid, runconfig.ExitStopped}, end.ExitCode)
}

func (n *next) retryMessage(pod *corev1.Pod) string {
	message := fmt.Sprintf("attempt %d of %d ended; the next one resumes", max(n.o.Job.Status.Failed, 1), *n.o.Job.Spec.BackoffLimit+1)
	if r := readResult(pod); r.Message != "" {
		message += ": " + r.Message
	}
	return cleanText(message)
}

// complete checks what a finished trainer says before it is believed.
func (n *next) complete() {
	var pod *corev1.Pod
	for i := range n.o.Pods {
		if n.o.Pods[i].Status.Phase == corev1.PodSucceeded {
			pod = &n.o.Pods[i]
		}
	}
	r := readResult(pod)
	again := fmt.Sprintf("; delete Job %s to run again: a published checkpoint is adopted", n.o.Job.Name)
	switch {
	case r.Output == nil || !digestPattern.MatchString(r.Output.Digest):
		n.failed(v1alpha1.ReasonResultUnreadable, "the trainer ended well, but its result names no checkpoint with a digest"+again)
		return
	case r.RunHash != n.RunHash:
		n.failed(v1alpha1.ReasonResultUnreadable, "the trainer's result is of another run"+again)
		return
	}
	// The folder is the one that the trainer was told, whatever it says.
	n.Output = &v1alpha1.Artifact{URI: n.o.Job.Annotations[desired.AnnotationOutput], Digest: r.Output.Digest}
	n.takeDigests(r.Inputs)
	n.result(r)
	reason, message := v1alpha1.ReasonSucceeded, "the checkpoint is published"
	if r.Adopted {
		reason, message = v1alpha1.ReasonAdopted, "a checkpoint of the same run was already published, and is adopted"
	}
	if r.Message != "" { // a run that stopped early, in good order
		message += "; " + r.Message
	}
	n.Phase = v1alpha1.PhaseSucceeded
	n.set(v1alpha1.ConditionTrained, true, reason, message)
	n.set(v1alpha1.ConditionReady, true, reason, message)
	n.set(v1alpha1.ConditionReconciling, false, reason, "nothing is left to do")
	n.set(v1alpha1.ConditionStalled, false, v1alpha1.ReasonNoProblem, "nothing stands in the way")
}

// jobFailed names the cause: the trainer's own words if there are any.
func (n *next) jobFailed(c batchv1.JobCondition) {
	r := readResult(newest(n.o.Pods))
	reason, message := r.Reason, r.Message
	if reason == "" {
		reason = v1alpha1.ReasonJobFailed
	}
	if message == "" {
		message = c.Message
	}
	n.result(r)
	n.failed(reason, cleanText(fmt.Sprintf("%s (edit the spec, or delete Job %s, to try again)", message, n.o.Job.Name)))
}

// takeDigests adds what the trainer read to what the operator told it to read.
func (n *next) takeDigests(read []runconfig.Artifact) {
	for i, in := range n.Inputs {
		for _, a := range read {
			if a.Role == in.Role && a.URI == in.URI && in.Digest == "" && digestPattern.MatchString(a.Digest) {
				n.Inputs[i].Digest = a.Digest
			}
		}
	}
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
			"spec or inputs changed after the run began (it is %.12s, it would be %.12s); the run keeps those it was started with; delete the resource and apply it again to train anew", n.RunHash, n.o.Run.Hash))
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
