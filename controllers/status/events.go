package status

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// Event tells people of a change.
type Event struct {
	// Type is Normal or Warning.
	Type, Reason, Action, Message string
}

// Events are what matters in the change from one status to the next: each once, since the
// status remembers.
func Events(before, after v1alpha1.StageStatus) []Event {
	var list []Event
	add := func(kind, reason, action, message string) {
		list = append(list, Event{kind, reason, action, message})
	}
	became := func(condition string) (string, string, bool) {
		c := meta.FindStatusCondition(after.Conditions, condition)
		ok := c != nil && c.Status == "True" && !meta.IsStatusConditionTrue(before.Conditions, condition)
		if !ok {
			return "", "", false
		}
		return c.Reason, c.Message, true
	}
	// cameTo says whether a condition has a reason that it did not have before.
	cameTo := func(condition, reason string) (string, bool) {
		c, b := meta.FindStatusCondition(after.Conditions, condition), meta.FindStatusCondition(before.Conditions, condition)
		if c == nil || c.Reason != reason || b != nil && b.Reason == reason {
			return "", false
		}
		return c.Message, true
	}
	if message, ok := cameTo(v1alpha1.ConditionReady, v1alpha1.ReasonWaitingForInputs); ok {
		add(corev1.EventTypeNormal, v1alpha1.ReasonWaitingForInputs, "Wait", message)
	}
	if message, ok := cameTo(v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamFailed); ok {
		add(corev1.EventTypeWarning, v1alpha1.ReasonUpstreamFailed, "Wait", message)
	}
	if message, ok := cameTo(v1alpha1.ConditionReady, v1alpha1.ReasonCreateFailed); ok {
		add(corev1.EventTypeWarning, v1alpha1.ReasonCreateFailed, "CreateJob", message)
	}
	if _, message, ok := became(v1alpha1.ConditionInputsResolved); ok && before.Phase == v1alpha1.PhaseWaiting {
		add(corev1.EventTypeNormal, "InputsResolved", "Resolve", message)
	}
	started := after.StartTime != nil && !after.StartTime.Equal(before.StartTime)
	if started {
		add(corev1.EventTypeNormal, "Started", "Train", fmt.Sprintf("run %.12s started", after.RunHash))
	}
	if !started && after.Attempts > before.Attempts && after.Attempts > 1 {
		add(corev1.EventTypeWarning, "Restarted", "Restart", fmt.Sprintf("attempt %d began", after.Attempts))
	}
	if !started && after.Disruptions > before.Disruptions {
		last := after.History[len(after.History)-1]
		add(corev1.EventTypeNormal, "Disrupted", "Restart", fmt.Sprintf("pod %s on node %s was disrupted: %s", cmp.Or(last.FailedPod, last.Pod), last.Node, last.Reason))
	}
	if !started && after.Restarts > before.Restarts {
		if last := after.History[len(after.History)-1]; last.FailedPod != "" {
			add(corev1.EventTypeWarning, "AttemptFailed", "Restart", meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionReady).Message)
		}
	}
	if message, ok := cameTo(v1alpha1.ConditionReady, v1alpha1.ReasonRetraining); ok {
		add(corev1.EventTypeNormal, v1alpha1.ReasonRetraining, "Retrain", message)
	}
	if reason, message, ok := became(v1alpha1.ConditionSuspended); ok {
		add(corev1.EventTypeNormal, reason, "Suspend", message)
	}
	if message, ok := cameTo(v1alpha1.ConditionSuspended, v1alpha1.ReasonResumed); ok {
		add(corev1.EventTypeNormal, v1alpha1.ReasonResumed, "Resume", message)
	}
	if reason, message, ok := became(v1alpha1.ConditionTrained); ok {
		add(corev1.EventTypeNormal, "Trained", "Train", fmt.Sprintf("%s: %s (%s)", reason, message, after.Output.Digest))
	}
	if reason, message, ok := became(v1alpha1.ConditionStalled); ok {
		add(corev1.EventTypeWarning, reason, "Stall", message)
	}
	if reason, message, ok := became(v1alpha1.ConditionStale); ok {
		add(corev1.EventTypeWarning, reason, "Compare", message)
	}
	return list
}
