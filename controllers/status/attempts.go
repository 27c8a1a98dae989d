package status

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// maxHistory is how many attempts a status remembers.
const maxHistory = 10

// Reasons of an attempt's end that are no trainer's.
const (
	endSuspended   = "Suspended"
	endInterrupted = "Interrupted"
	endLost        = "Lost"
)

// attempts brings the history up to what the pods say. Each end is counted when it is first seen: the
// history remembers which were.
func (n *next) attempts() {
	pods := slices.Clone(n.o.Pods)
	slices.SortFunc(pods, byAge)
	for i := range pods {
		if index(&pods[i]) == 0 { // one stands for all
			n.attempt(&pods[i])
		}
	}
	for i := range n.History {
		a := &n.History[i]
		there := slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Name == a.Pod })
		if a.EndTime == nil && !there && (!n.together() || i < len(n.History)-1) {
			reason := cmp.Or(a.Reason, endLost)
			n.end(a, n.now, reason, reason != endSuspended)
		}
	}
	if extra := len(n.History) - maxHistory; extra > 0 {
		n.History = slices.Delete(n.History, 0, extra)
	}
}

// together says whether pods end only together: several, of a Job that nobody suspends. Which one was first, the
// Job's end tells.
func (n *next) together() bool {
	return several(n.o.Job) && !n.o.Stage.StageSpec().Suspend && !Suspended(n.o.Job)
}

func (n *next) attempt(p *corev1.Pod) {
	c := container(p)
	began := c != nil && (c.State.Running != nil || c.State.Terminated != nil)
	over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	i := slices.IndexFunc(n.History, func(a v1alpha1.Attempt) bool { return a.Pod == p.Name })
	if i < 0 {
		full := len(n.History) >= maxHistory && n.History[0].StartTime != nil && p.CreationTimestamp.Before(n.History[0].StartTime)
		if !began && !over || full || !n.allBegan() { // forgotten on purpose
			return
		}
		start := p.CreationTimestamp
		switch {
		case c != nil && c.State.Running != nil && !c.State.Running.StartedAt.IsZero():
			start = c.State.Running.StartedAt
		case c != nil && c.State.Terminated != nil && !c.State.Terminated.StartedAt.IsZero():
			start = c.State.Terminated.StartedAt
		}
		n.History = append(n.History, v1alpha1.Attempt{Pod: p.Name, Node: p.Spec.NodeName, StartTime: &start})
		i = len(n.History) - 1
	}
	a := &n.History[i]
	if a.EndTime != nil || n.together() && a.Reason == "" && p.Status.Phase != corev1.PodSucceeded {
		return
	}
	if !over {
		if p.DeletionTimestamp != nil && a.Reason == "" { // it may be gone, or the run resumed, before its end is seen
			a.Reason = cmp.Or(readDisruption(p), endInterrupted)
			if n.o.Stage.StageSpec().Suspend {
				a.Reason = endSuspended
			}
		}
		return
	}
	at, disruption := n.now, readDisruption(p)
	t := terminated(p)
	if t != nil {
		code := t.ExitCode
		a.ExitCode = &code
		if !t.FinishedAt.IsZero() {
			at = t.FinishedAt
		}
	}
	switch {
	case p.Status.Phase == corev1.PodSucceeded:
		n.end(a, at, runconfig.ReasonSucceeded, false)
	case final(t):
		n.end(a, at, cmp.Or(readResult(p).Reason, runconfig.ReasonError), false)
	case n.o.Stage.StageSpec().Suspend, a.Reason == endSuspended:
		n.end(a, at, endSuspended, false)
	case disruption != "":
		n.end(a, at, disruption, true)
	default:
		n.end(a, at, cmp.Or(readResult(p).Reason, runconfig.ReasonError), false)
	}
}

func (n *next) end(a *v1alpha1.Attempt, at metav1.Time, reason string, disrupted bool) {
	a.EndTime, a.Reason = &at, reason
	if n.Progress != nil {
		a.Step = n.Progress.Step
	}
	if disrupted {
		n.Disruptions++
	}
}
