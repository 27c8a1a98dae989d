//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// workbench is a pod of the trainer's image that sees the claims, to bring files and look at what
// became of them. The image has no shell: the pod waits for an archive that never comes.
const workbench = "workbench"

func (s *space) workbench(claims ...string) {
	s.Helper()
	p := trainerPod(workbench, "data", "import", "/tmp/nothing")
	c := &p.Spec.Containers[0]
	c.Stdin = true
	for _, name := range claims {
		mount(p, name, corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}, claimPath(name))
	}
	p.Namespace = s.name
	s.eventually(20*time.Second, func() error { return kube.Create(ctx, p.DeepCopy()) }) // the service account comes a moment after the namespace
	s.eventually(time.Minute, func() error {
		var pod corev1.Pod
		if err := s.get(workbench, &pod); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("pod %s is %s", workbench, pod.Status.Phase)
		}
		return nil
	})
}

// trainerPod runs the trainer with arguments of the test's choice, as restricted as a stage's.
func trainerPod(name string, args ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec = corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		AutomountServiceAccountToken:  new(false),
		TerminationGracePeriodSeconds: new(int64(0)),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), FSGroup: new(int64(65532)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name: "trainer", Image: os.Getenv("TRAINER_IMAGE"), ImagePullPolicy: corev1.PullIfNotPresent, Args: args,
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
	mount(p, "tmp", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, "/tmp")
	return p
}

func mount(p *corev1.Pod, name string, source corev1.VolumeSource, path string) {
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	c := &p.Spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
}

func claimPath(name string) string { return runconfig.MountRoot + "/" + name }

// inPod is where a stage's pods and the workbench see a pvc:// URI.
func inPod(uri string) string { return runconfig.MountRoot + "/" + strings.TrimPrefix(uri, "pvc://") }

// trainer runs the trainer in the workbench.
func (s *space) trainer(stdin io.Reader, args ...string) (string, error) {
	return kubectl(ctx, stdin, append([]string{"--namespace", s.name, "exec", "-i", workbench, "--", "/trainer"}, args...)...)
}

// put writes files, by name, below a folder of the workbench.
func (s *space) put(dir string, files map[string][]byte) error {
	s.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			s.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			s.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		s.Fatal(err)
	}
	_, err := s.trainer(&b, "data", "import", dir)
	return err
}

// fetch copies a folder of the workbench here and returns where it is.
func (s *space) fetch(dir string) string {
	s.Helper()
	archive, err := s.trainer(nil, "data", "export", dir)
	if err != nil {
		s.Fatal(err)
	}
	out := s.TempDir()
	r := tar.NewReader(strings.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			s.Fatalf("export %s: %v", dir, err)
		}
		path := filepath.Join(out, h.Name)
		if h.FileInfo().IsDir() {
			if err := os.MkdirAll(path, 0o755); err != nil {
				s.Fatal(err)
			}
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			s.Fatalf("export %s: %s: %v", dir, h.Name, err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			s.Fatal(err)
		}
	}
}
