//go:build e2e

package e2e

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// TestRestricted looks at a pod as it was admitted. Every test's namespace enforces the restricted Pod Security
// Standard, so that each of them tests that stages meet it; here it is made sure that it is enforced.
func TestRestricted(t *testing.T) {
	t.Parallel()
	s := newSpace(t).workspace()
	root := trainerPod("root", "train")
	root.Namespace = s.name
	root.Spec.SecurityContext.RunAsNonRoot, root.Spec.SecurityContext.RunAsUser = nil, new(int64(0))
	err := kube.Create(ctx, root, client.DryRunAll)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "restricted") {
		t.Fatalf("a pod that runs as root was answered with %v, want a refusal by the restricted standard", err)
	}

	s.create(sftJob("restricted", func(j *v1alpha1.SFTJob) { j.Spec.Training.MaxSteps = 1 << 20 }))
	pod, _ := s.attempt(v1alpha1.SFTJobKind, "restricted", 1, step(1))
	for _, v := range pod.Spec.Volumes {
		if v.Projected != nil || v.Secret != nil {
			t.Errorf("volume %s holds credentials: %+v", v.Name, v.VolumeSource)
		}
	}
	if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
		t.Error("the pod asks for a service account token")
	}
	// What the process itself sees.
	inside := func(args ...string) (string, error) {
		return kubectl(ctx, nil, append([]string{"--namespace", s.name, "exec", pod.Name, "--", "/trainer", "data", "export"}, args...)...)
	}
	if out, err := inside("/var/run/secrets/kubernetes.io"); err == nil {
		t.Errorf("there are credentials in the pod:\n%q", out)
	}
	if _, err := inside("/etc/alignment"); err != nil {
		t.Errorf("the run's configuration cannot be read: %v", err) // else the line above proves nothing
	}
}
