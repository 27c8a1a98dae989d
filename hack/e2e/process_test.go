//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// trainerProcess is the process that trains in a pod, as this machine numbers it; 0 if the pod runs on another one.
func trainerProcess(pod *corev1.Pod) (int, error) {
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, err
	}
	// cgroupfs and systemd spell a pod's group differently.
	uid := string(pod.UID)
	names := []string{"pod" + uid, "pod" + strings.ReplaceAll(uid, "-", "_")}
	for _, path := range groups {
		group, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(group, []byte(names[0])) && !bytes.Contains(group, []byte(names[1])) {
			continue // it may just have ended
		}
		arguments, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err == nil && bytes.Contains(arguments, []byte("\x00train\x00")) {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
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
