//go:build e2e

package e2e

import (
	"fmt"
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
	for dir, want := range map[string]string{"/x": "read-only file system", "/usr/x": "read-only file system", "/etc/alignment/x": "read-only file system", "/tmp/x": ""} {
		// An empty archive: only the folder is made.
		_, err := kubectl(ctx, strings.NewReader(""), "--namespace", s.name, "exec", "-i", pod.Name, "--", "/trainer", "data", "import", dir)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("writing to %s: %v, want %q", dir, err, want)
		}
	}
}

// TestOperatorIsRestricted looks at the operator as it was installed: what its namespace enforces, and what its
// account may do.
func TestOperatorIsRestricted(t *testing.T) {
	t.Parallel()
	root := trainerPod("root", "train")
	root.Namespace = operatorNamespace
	root.Spec.SecurityContext.RunAsNonRoot, root.Spec.SecurityContext.RunAsUser = nil, new(int64(0))
	if err := kube.Create(ctx, root, client.DryRunAll); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "restricted") {
		t.Errorf("a pod that runs as root beside the operator was answered with %v, want a refusal by the restricted standard", err)
	}
	account := "--as=system:serviceaccount:" + operatorNamespace + ":alignment-operator"
	for _, c := range []struct{ verb, resource, want string }{
		{"list", "secrets", "no"}, {"get", "secrets", "no"}, {"list", "configmaps", "no"}, {"watch", "configmaps", "no"},
		{"create", "pods", "no"}, {"create", "pods/exec", "no"}, {"create", "serviceaccounts/token", "no"}, {"update", "sftjobs", "no"}, {"delete", "sftjobs", "no"},
		{"create", "jobs", "yes"}, {"list", "sftjobs", "yes"}, // else the account is none, and the lines above prove nothing
	} {
		out, _ := kubectl(ctx, nil, "auth", "can-i", c.verb, c.resource, "--all-namespaces", account) // "no" is exit code 1
		if got := strings.TrimSpace(out); got != c.want {
			t.Errorf("can the operator %s %s: %q, want %s", c.verb, c.resource, got, c.want)
		}
	}
}

// refusedNothing looks, after all tests, through what the operator has logged since it last started: it was never
// refused anything.
func refusedNothing(code int) (int, error) {
	log, err := kubectl(ctx, nil, "--namespace", operatorNamespace, "logs", "deployment/"+operatorDeployment, "--tail=-1")
	if err != nil {
		return code, err
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "cannot ") && strings.Contains(line, " resource ") {
			return 1, fmt.Errorf("the operator was refused something: %s", line)
		}
	}
	return code, nil
}
