package status

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// Running says whether a pod's trainer runs, so that it can be asked for its progress.
func Running(pod *corev1.Pod) bool {
	c := container(pod)
	return pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning && c != nil && c.State.Running != nil
}

// Newest is the pod of the latest attempt, of several the first, which tells of progress; nil if there is none.
func Newest(pods []corev1.Pod) *corev1.Pod { return newest(pods) }

func newest(pods []corev1.Pod) *corev1.Pod {
	var n *corev1.Pod
	for i := range pods {
		p := &pods[i]
		if index(p) != 0 {
			continue
		}
		if n == nil || byAge(*n, *p) < 0 {
			n = p
		}
	}
	return n
}

// byAge orders pods, the oldest first. Times are whole seconds: of the pods of one second, those that have ended, or
// have been told to, made room for the others.
func byAge(a, b corev1.Pod) int {
	leaving := func(p corev1.Pod) int {
		switch {
		case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
			return 0
		case p.DeletionTimestamp != nil:
			return 1
		}
		return 2
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(leaving(a), leaving(b)), cmp.Compare(a.Name, b.Name))
}

// succeeded is the pod that ended well, of several the first, which has the result; nil if there is none.
func succeeded(pods []corev1.Pod) *corev1.Pod {
	for i := range pods {
		if pods[i].Status.Phase == corev1.PodSucceeded && index(&pods[i]) == 0 {
			return &pods[i]
		}
	}
	return nil
}

// readDisruption is why a pod was ended from outside; empty if it was not.
func readDisruption(pod *corev1.Pod) string {
	if pod == nil {
		return ""
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return cmp.Or(c.Reason, endInterrupted)
		}
	}
	if t := terminated(pod); t != nil && t.ExitCode == runconfig.ExitTerminated {
		return endInterrupted
	}
	return ""
}

func anyUnfinished(pods []corev1.Pod) bool {
	return slices.ContainsFunc(pods, func(p corev1.Pod) bool {
		return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
	})
}

// container is the trainer's status; nil before the kubelet has seen the pod.
func container(pod *corev1.Pod) *corev1.ContainerStatus {
	for i := range pod.Status.ContainerStatuses {
		if c := &pod.Status.ContainerStatuses[i]; c.Name == desired.Container {
			return c
		}
	}
	return nil
}

func terminated(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	if pod == nil {
		return nil
	}
	if c := container(pod); c != nil {
		return c.State.Terminated
	}
	return nil
}

// pendingMessage is the scheduler's or the kubelet's reason why a pod does not run yet.
func pendingMessage(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return fmt.Sprintf("pod %s is ending", pod.Name)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message != "" {
			return cleanText(fmt.Sprintf("pod %s is not scheduled: %s", pod.Name, c.Message))
		}
	}
	if c := container(pod); c != nil && c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "ContainerCreating" {
		return cleanText(fmt.Sprintf("pod %s waits: %s: %s", pod.Name, c.State.Waiting.Reason, c.State.Waiting.Message))
	}
	return startingMessage
}
