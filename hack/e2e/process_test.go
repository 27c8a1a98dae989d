//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// trainerProcess is the process that trains in a pod, as this machine numbers it; 0 if the pod runs on another one.
func trainerProcess(pod *corev1.Pod) (int, error) {
	return podProcess(pod, func(args []string) bool { return slices.Contains(args, "train") })
}

// podProcess is a pod's process with such arguments.
func podProcess(pod *corev1.Pod, is func(args []string) bool) (int, error) {
	// cgroupfs and systemd spell a pod's group differently.
	uid := string(pod.UID)
	names := []string{"pod" + uid, "pod" + strings.ReplaceAll(uid, "-", "_")}
	return process(func(dir string, args []string) bool {
		if !is(args) {
			return false
		}
		group, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		return err == nil && (bytes.Contains(group, []byte(names[0])) || bytes.Contains(group, []byte(names[1])))
	})
}

// process is one of this machine's, given its folder in /proc and its arguments; 0 if there is none.
func process(is func(dir string, args []string) bool) (int, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		if dir := filepath.Dir(path); is(dir, strings.Split(string(line), "\x00")) {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, nil
}

// signal sends a signal to the trainer of a pod, from outside, and says whether it still ran. The test is
// skipped when the pod's node is another machine.
func (s *space) signal(pod *corev1.Pod, signal syscall.Signal) bool {
	s.Helper()
	pid, err := trainerProcess(pod)
	if err != nil {
		s.Fatal(err)
	}
	if pid == 0 && !ownCluster {
		s.Skip("the trainer's process is not on this machine")
	}
	if pid == 0 {
		return false
	}
	err = syscall.Kill(pid, signal)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		s.Fatalf("send %s to process %d of pod %s: %v", signal, pid, pod.Name, err)
	}
	return err == nil
}
