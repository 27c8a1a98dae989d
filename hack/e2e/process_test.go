//go:build e2e

package e2e

import (
	"bytes"
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

// kill9 kills the trainer of a pod as the kernel would when memory runs out. The test is skipped
// when the pod's node is another machine.
func (s *space) kill9(pod *corev1.Pod) {
	s.Helper()
	pid, err := trainerProcess(pod)
	if err != nil {
		s.Fatal(err)
	}
	if pid == 0 {
		if os.Getenv("E2E_LOCALCLUSTER") == "" {
			s.Skip("the trainer's process is not on this machine")
		}
		s.Fatalf("pod %s: no process of this machine trains in it", pod.Name)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.Fatalf("kill process %d of pod %s: %v", pid, pod.Name, err)
	}
	s.Logf("killed process %d of pod %s", pid, pod.Name)
}
