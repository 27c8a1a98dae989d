package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// TestAdmitted sends what is rendered to an API server, as `helm template | kubectl apply --dry-run=server -f -` does: all is
// admitted, without a warning.
func TestAdmitted(t *testing.T) {
	need(t, "KUBEBUILDER_ASSETS")
	need(t, "HELM")
	kubeconfig := startAPIServer(t)
	for name, stream := range map[string][]byte{
		"chart":                     template(t),
		"chart with every value":    template(t, "--values", "testdata/all.yaml"),
		"config/default":            kustomize(t, "default"),
		"config/prometheus":         kustomize(t, "prometheus"),
		"chart without CRDs, roles": template(t, "--set", "crds.enabled=false,rbac.create=false,rbac.userRoles=false,podDisruptionBudget.enabled=false"),
	} {
		t.Run(name, func(t *testing.T) {
			out, err := kubectl(t, stream, "--kubeconfig", kubeconfig, "apply", "--dry-run=server", "--warnings-as-errors", "--validate=strict", "-f", "-")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if sent, admitted := len(objects(t, stream)), strings.Count(string(out), "(server dry run)"); sent == 0 || sent != admitted {
				t.Errorf("%d objects were sent, %d admitted:\n%s", sent, admitted, out)
			}
		})
	}
	// The same command does refuse.
	bad := strings.Replace(string(template(t)), "maxUnavailable: 1", "maxUnavailable: many", 1)
	if out, err := kubectl(t, []byte(bad), "--kubeconfig", kubeconfig, "apply", "--dry-run=server", "-f", "-"); err == nil {
		t.Errorf("a wrong PodDisruptionBudget is admitted:\n%s", out)
	}
}

// startAPIServer starts one with the namespaces that the objects are for, and returns its kubeconfig.
func startAPIServer(t *testing.T) string {
	t.Helper()
	env := &envtest.Environment{}
	cfg, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	admin, err := client.New(cfg, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{namespace, "research"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := admin.Create(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
	}
	user, err := env.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := kubectl(t, []byte(prometheusKinds()), "--kubeconfig", file, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, kind := range []string{"podmonitors", "servicemonitors", "prometheusrules"} {
		if _, err := kubectl(t, nil, "--kubeconfig", file, "wait", "--for=condition=Established", "--timeout=30s", "crd/"+kind+".monitoring.coreos.com"); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// prometheusKinds stand in for the Prometheus Operator's CRDs, without their schemas.
func prometheusKinds() string {
	var b strings.Builder
	for _, kind := range []string{"PodMonitor", "ServiceMonitor", "PrometheusRule"} {
		plural := strings.ToLower(kind) + "s"
		fmt.Fprintf(&b, `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: %[2]s, plural: %[1]s}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, plural, kind)
	}
	return b.String()
}
