package status

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// final is an end that no retry follows: the Job's own is only moments away.
func final(end *corev1.ContainerStateTerminated) bool {
	return end != nil && slices.Contains([]int32{runconfig.ExitDone, runconfig.ExitInvalid, runconfig.ExitStopped}, end.ExitCode)
}

func (n *next) retryMessage(pod *corev1.Pod) string {
	if end := readDisruption(pod); end != "" {
		return cleanText(fmt.Sprintf("%s was disrupted (%s); %s", n.who(pod), end, n.resumes()))
	}
	message := fmt.Sprintf("attempt %d of %d ended; %s", max(n.o.Job.Status.Failed, 1), *n.o.Job.Spec.BackoffLimit+1, n.resumes())
	if several(n.o.Job) {
		message = fmt.Sprintf("attempt %d of %d ended; %s", n.Attempts, n.o.Stage.StageSpec().MaxRestarts+1, n.resumes())
		if pod != nil {
			message += ": " + n.who(pod)
		}
	}
	if r := readResult(pod); r.Message != "" {
		message += ": " + r.Message
	}
	return cleanText(message)
}

// complete checks what a finished trainer says before it is believed.
func (n *next) complete() {
	r := readResult(succeeded(n.o.Pods))
	again := fmt.Sprintf("; delete Job %s to run again: a published checkpoint is adopted", n.o.Job.Name)
	switch {
	case r.Output == nil || !digestPattern.MatchString(r.Output.Digest):
		n.failed(v1alpha1.ReasonResultUnreadable, "the trainer ended well, but its result names no checkpoint with a digest"+again)
		return
	case r.RunHash != n.RunHash:
		n.failed(v1alpha1.ReasonResultUnreadable, "the trainer's result is of another run"+again)
		return
	}
	n.published(n.o.Job.Annotations[desired.AnnotationOutput], r)
}

// adopted has a checkpoint that was there before.
func (n *next) adopted(r runconfig.Result) {
	n.StartTime = n.o.Lookup.CreationTimestamp.DeepCopy()
	n.CompletionTime = ending(n.o.Lookup, batchv1.JobComplete).LastTransitionTime.DeepCopy()
	r.Adopted = true
	n.published(n.o.Run.Config.Output.URI, r)
	n.stale()
}

// published takes over a checkpoint. Its folder is the one that the trainer was told, whatever it says.
func (n *next) published(uri string, r runconfig.Result) {
	n.Output = &v1alpha1.Artifact{URI: uri, Digest: r.Output.Digest}
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
	pod := newest(n.o.Pods)
	if c, _ := cause(n.o.Pods); several(n.o.Job) && c != nil {
		pod = c
	}
	r := readResult(pod)
	reason, message := r.Reason, r.Message
	if several(n.o.Job) && pod != nil {
		message = n.who(pod) + ": " + message
	}
	if c.Reason == batchv1.JobReasonDeadlineExceeded {
		reason, message = v1alpha1.ReasonDeadlineExceeded, "the run had pods for longer than activeDeadlineSeconds"
	}
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
