package status

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// An attempt of several pods is a Job of its own: its pods end with the first that does, and what follows is a Job
// that takes its name when it is gone. In between, the status alone knows of the run. Its history says which
// attempts have been counted: FailedPod of the newest is noted on the Job that follows it.

// several says whether a Job's attempt has more than one pod.
func several(job *batchv1.Job) bool {
	return job != nil && job.Spec.Completions != nil && *job.Spec.Completions > 1
}

// started is when a run's first Job was created.
func started(job *batchv1.Job) *metav1.Time {
	if t, err := time.Parse(time.RFC3339, job.Annotations[desired.AnnotationStarted]); err == nil {
		return &metav1.Time{Time: t}
	}
	return &job.CreationTimestamp
}

// lastFailed is the newest attempt of several pods that one of them has ended; nil if there was none.
func lastFailed(s *v1alpha1.StageStatus) *v1alpha1.Attempt {
	for i := len(s.History) - 1; i >= 0; i-- {
		if a := &s.History[i]; a.FailedPod != "" && a.EndTime != nil {
			return a
		}
	}
	return nil
}

// counted says whether a status knows of the end of a Job of several pods.
func counted(s *v1alpha1.StageStatus, job *batchv1.Job) bool {
	a := lastFailed(s)
	return a != nil && started(job).Equal(s.StartTime) && a.FailedPod != job.Annotations[desired.AnnotationAfter]
}

// Uncounted says whether the Job, of several pods, has ended in failure, and the status does not know of it.
func (o Observed) Uncounted() bool {
	return several(o.Job) && failedWith(o.Job) != nil && !counted(o.Stage.StageStatus(), o.Job)
}

// goesOn says whether the end of a Job of several pods is not the run's: it is yet to be counted, or another Job follows.
func (o Observed) goesOn() bool {
	end := failedWith(o.Job)
	s := o.Stage.StageStatus()
	return o.Uncounted() || several(o.Job) && end != nil && retried(end, lastFailed(s)) && s.CompletionTime == nil
}

func failedWith(job *batchv1.Job) *batchv1.JobCondition {
	if job == nil {
		return nil
	}
	return ending(job, batchv1.JobFailed)
}

// retried says whether an attempt's end is one that another may follow.
func retried(end *batchv1.JobCondition, a *v1alpha1.Attempt) bool {
	return end.Reason != batchv1.JobReasonDeadlineExceeded &&
		(a.ExitCode == nil || *a.ExitCode != runconfig.ExitInvalid && *a.ExitCode != runconfig.ExitStopped)
}

// same says whether what would be trained now is the run of a hash.
func (o Observed) same(hash string) bool { return o.Run != nil && o.Run.Hash == hash }

// Replaced says whether the Job makes room for the run's next one: an attempt of several pods has ended and is counted,
// or the next has not begun and the spec has changed, such as the pod's resources.
func (o Observed) Replaced() bool {
	switch {
	case o.Job == nil || !o.same(o.Job.Annotations[desired.AnnotationRunHash]) || anyUnfinished(o.Pods) && failedWith(o.Job) != nil:
		return false
	case o.goesOn():
		return counted(o.Stage.StageStatus(), o.Job)
	}
	return o.follows() && !o.begun() && o.otherGeneration()
}

// follows says whether the Job is a later one of its run.
func (o Observed) follows() bool { return o.Job.Annotations[desired.AnnotationAfter] != "" }

// Between says whether the run has had an attempt, and its next Job is to be made.
func (o Observed) Between() bool {
	s := o.Stage.StageStatus()
	if o.Job != nil || s.StartTime == nil || s.CompletionTime != nil || len(s.History) == 0 {
		return false
	}
	last := s.History[len(s.History)-1]
	return last.FailedPod != "" && last.EndTime != nil && (o.Run == nil || o.same(s.RunHash))
}

// Follow is what the next Job of a run is told: of the one before it, and how long the run has had pods.
func (o Observed) Follow() desired.Earlier {
	s := o.Stage.StageStatus()
	e := desired.Earlier{Started: s.StartTime.Time, FailedPod: lastFailed(s).FailedPod}
	for _, a := range s.History {
		if a.StartTime != nil && a.EndTime != nil {
			e.Spent += a.EndTime.Sub(a.StartTime.Time)
		}
	}
	return e
}

// endGang counts the end of a Job of several pods, once.
func (n *next) endGang(end *batchv1.JobCondition) {
	if !several(n.o.Job) || counted(&n.StageStatus, n.o.Job) {
		return
	}
	open := len(n.History) > 0 && n.History[len(n.History)-1].EndTime == nil
	if !open { // no one saw it begin
		n.History = append(n.History, v1alpha1.Attempt{Pod: n.o.Job.Name + "-" + string(n.o.Job.UID), StartTime: n.o.Job.CreationTimestamp.DeepCopy()})
	}
	a := &n.History[len(n.History)-1]
	c, blame := cause(n.o.Pods)
	if c == nil {
		a.FailedPod = a.Pod
		n.end(a, metav1.NewTime(end.LastTransitionTime.Time), cmp.Or(a.Reason, endLost), true)
		return
	}
	if !open {
		a.Pod = c.Name
	}
	a.FailedPod, a.Node = c.Name, c.Spec.NodeName
	t, disruption := terminated(c), readDisruption(c)
	if t != nil {
		code := t.ExitCode
		a.ExitCode = &code
	}
	if !blame {
		disruption = endLost
	}
	at := endTime(c)
	if at.IsZero() {
		at = end.LastTransitionTime
	}
	switch {
	case final(t), end.Reason == batchv1.JobReasonDeadlineExceeded:
		n.end(a, at, cmp.Or(readResult(c).Reason, runconfig.ReasonError), false)
	case n.o.Stage.StageSpec().Suspend:
		n.end(a, at, endSuspended, false)
	case disruption != "":
		n.end(a, at, disruption, true)
	default:
		n.end(a, at, cmp.Or(readResult(c).Reason, runconfig.ReasonError), false)
		if n.exhausted = n.Restarts >= n.o.Stage.StageSpec().MaxRestarts; !n.exhausted {
			n.Restarts++
		}
	}
}

// restarting has a Job of several pods that has ended, which another follows.
func (n *next) restarting() {
	c, _ := cause(n.o.Pods)
	message := n.retryMessage(c)
	switch {
	case n.o.Stage.StageSpec().Suspend:
		n.suspended()
	case n.o.Invalid != nil:
		n.failed(v1alpha1.ReasonInvalidSpec, cleanText(n.o.Invalid.Error()))
	case n.o.Run == nil: // its Job cannot be made
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonRestarting, message+"; it waits for the inputs")
	case !n.o.same(n.RunHash):
		n.failed(v1alpha1.ReasonInputsChanged, cleanText(fmt.Sprintf(
			"%s; but spec or inputs now make another run: undo the change to go on, set retrain: OnChange or delete Job %s to train anew", message, n.o.Job.Name)))
	default:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonRestarting, message)
	}
}

// between has no Job: the last one has ended, and the next is about to be made.
func (n *next) between() {
	switch {
	case n.o.Stage.StageSpec().Suspend:
		n.suspended()
	case n.o.ApplyError != nil:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonCreateFailed, cleanText(n.o.ApplyError.Error()))
	case n.o.Invalid != nil:
		n.failed(v1alpha1.ReasonInvalidSpec, cleanText(n.o.Invalid.Error()))
	case n.o.Run == nil:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonRestarting, "the next attempt waits for the inputs: "+n.o.Inputs.Problem.Message)
	case len(n.o.Leftover) > 0:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonRestarting, fmt.Sprintf("the next attempt waits for pod %s to end", n.o.Leftover[0]))
	default:
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonRestarting, "the next attempt begins")
	}
}

// slowStart is how long pods may run before the last of them does, without a word.
const slowStart = 2 * time.Minute

// gangInFlight has several pods that run, or will, or end together.
func (n *next) gangInFlight() {
	if ending(n.o.Job, batchv1.JobFailureTarget) != nil || failedWith(n.o.Job) != nil || n.o.Job.Status.Failed > 0 {
		if c, _ := cause(n.o.Pods); c != nil {
			n.going(v1alpha1.PhasePending, v1alpha1.ReasonRestarting, n.retryMessage(c))
			return
		}
	}
	var waits *corev1.Pod // the first by its index
	run, slow := 0, false
	for i := range n.o.Pods {
		switch p := &n.o.Pods[i]; {
		case Running(p):
			run++
			slow = slow || n.now.Sub(container(p).State.Running.StartedAt.Time) > slowStart
		case anyUnfinished(n.o.Pods[i:i+1]) && (waits == nil || index(p) < index(waits)):
			waits = p
		}
	}
	lead := newest(n.o.Pods)
	switch {
	case waits != nil && slow && pendingMessage(waits) == startingMessage: // what its kubelet waits for, no pod's status says
		n.going(v1alpha1.PhasePending, v1alpha1.ReasonPodPending, fmt.Sprintf(
			"%s is still starting, while others run: its events say why; a ReadWriteOnce claim is mounted on one node at a time", n.who(waits)))
	case waits != nil:
		n.pending(n.o.Job, waits)
	case run > 0 && int32(run) >= *n.o.Job.Spec.Completions:
		n.progress()
		n.going(v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, fmt.Sprintf("%d pods are %s, %s the first%s", run, n.doing(), lead.Name, n.detail()))
	case run == 0 && lead != nil && terminated(lead) != nil:
		n.going(v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, "the pods have ended, their Job not yet")
	case run > 0 && n.StageStatus.Phase == v1alpha1.PhaseRunning: // some have ended well or badly; the Job will say
		n.going(v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, "some pods have ended, others run")
	default:
		n.pending(n.o.Job, nil)
	}
}

// resumes says what follows an attempt that has ended, and which of several pods that waits for: one on a lost node does not
// end before someone says that it has.
func (n *next) resumes() string {
	for i := range n.o.Pods {
		if p := &n.o.Pods[i]; several(n.o.Job) && p.DeletionTimestamp != nil && anyUnfinished(n.o.Pods[i:i+1]) {
			return fmt.Sprintf("the next one resumes when pod %s on node %s has ended", p.Name, p.Spec.NodeName)
		}
	}
	return "the next one resumes"
}

// cause is the pod whose end ended an attempt of several; nil while none has failed. The others follow it: they are
// deleted, or find that they have lost it. blame is false where no pod of those that are known is to blame.
func cause(pods []corev1.Pod) (c *corev1.Pod, blame bool) {
	for i := range pods {
		if p := &pods[i]; p.Status.Phase == corev1.PodFailed && (c == nil || compareEnds(p, c) < 0) {
			c = p
		}
	}
	if c == nil || consequence(c) < onlyLost {
		return c, c != nil
	}
	// All of them say which one they have lost: it may be one of them, whose process died in its pod.
	lost := lostNode.FindStringSubmatch(readResult(c).Message)
	if lost == nil {
		return c, true
	}
	for i := range pods {
		if p := &pods[i]; p.Status.Phase == corev1.PodFailed && strconv.Itoa(index(p)) == lost[1] {
			return p, true
		}
	}
	return c, false
}

// lostNode is how a trainer names the node of a lost rank: "rank 2 (node 1, process 0) was killed".
var lostNode = regexp.MustCompile(`\bnode ([0-9]{1,4})\b`)

// The orders of ends, by how little they follow from another's.
const (
	decided     = iota // by the trainer: no other attempt would end otherwise
	fromOutside        // with a reason: a drained node, a preemption
	byItself           // an error, a signal
	toldToEnd          // by its deletion, which the end of another brings too
	onlyLost           // for want of another rank
)

func consequence(pod *corev1.Pod) int {
	t := terminated(pod)
	target := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue
	})
	switch {
	case final(t):
		return decided
	case target:
		return fromOutside
	case readResult(pod).Reason == runconfig.ReasonRankLost:
		return onlyLost
	case t != nil && t.ExitCode == runconfig.ExitTerminated, pod.DeletionTimestamp != nil:
		return toldToEnd
	}
	return byItself
}

func compareEnds(a, b *corev1.Pod) int {
	at, bt := endTime(a), endTime(b)
	return cmp.Or(consequence(a)-consequence(b), deleted(a).Compare(deleted(b)), at.Compare(bt.Time), index(a)-index(b), cmp.Compare(a.Name, b.Name))
}

// deleted is when a pod that was told to end was; long after all others, if none deleted it. One that was deleted has
// all save and end, and the Job's controller deletes those that are slow.
func deleted(pod *corev1.Pod) time.Time {
	switch {
	case consequence(pod) != toldToEnd:
		return time.Time{}
	case pod.DeletionTimestamp == nil:
		return time.Unix(math.MaxInt32, 0)
	}
	return pod.DeletionTimestamp.Add(-time.Duration(ptr.Deref(pod.DeletionGracePeriodSeconds, 0)) * time.Second)
}

// endTime is zero for a pod whose trainer's end is not known.
func endTime(pod *corev1.Pod) metav1.Time {
	if t := terminated(pod); t != nil {
		return t.FinishedAt
	}
	return metav1.Time{}
}

// index is a pod's number in its Job; that of a Job without numbers is 0.
func index(pod *corev1.Pod) int {
	i, _ := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	return i
}

// allBegan says whether all pods of a Job have begun: its attempt has only then.
func (n *next) allBegan() bool {
	if !several(n.o.Job) {
		return true
	}
	began := map[int]bool{}
	for i := range n.o.Pods {
		if c := container(&n.o.Pods[i]); c != nil && c.State.Waiting == nil {
			began[index(&n.o.Pods[i])] = true
		}
	}
	return int32(len(began)) >= *n.o.Job.Spec.Completions
}

// who names a pod; of several, also the ranks in it and its node.
func (n *next) who(pod *corev1.Pod) string {
	if !several(n.o.Job) {
		return "pod " + pod.Name
	}
	each := desired.ProcessesPerNode(n.o.Stage.StageSpec().Pod)
	ranks := fmt.Sprintf("rank %d", index(pod)*each)
	if each > 1 {
		ranks = fmt.Sprintf("ranks %d to %d", index(pod)*each, (index(pod)+1)*each-1)
	}
	return fmt.Sprintf("pod %s (%s, on node %s)", pod.Name, ranks, pod.Spec.NodeName)
}
