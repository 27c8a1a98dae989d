package gitops

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/runtime/cel"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// fluxObjects are the Flux resources of docs/gitops.md: every field is one that Flux has.
func fluxObjects(t *testing.T) (kustomizations []kustomizev1.Kustomization) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "gitops.md"))
	if err != nil {
		t.Fatal(err)
	}
	repositories := map[string]bool{}
	for i, block := range strings.Split(string(page), "```yaml\n") {
		if i == 0 {
			continue
		}
		block, _, _ = strings.Cut(block, "```")
		for _, text := range strings.Split(block, "\n---\n") {
			var head struct{ APIVersion, Kind string }
			if err := yaml.Unmarshal([]byte(text), &head); err != nil {
				continue // a list: a patch
			}
			switch {
			case head.APIVersion == sourcev1.GroupVersion.String():
				var r sourcev1.GitRepository
				if err := yaml.UnmarshalStrict([]byte(text), &r); err != nil {
					t.Errorf("%v in\n%s", err, text)
				}
				repositories[r.Name] = true
			case head.APIVersion == kustomizev1.GroupVersion.String():
				var k kustomizev1.Kustomization
				if err := yaml.UnmarshalStrict([]byte(text), &k); err != nil {
					t.Errorf("%v in\n%s", err, text)
				}
				kustomizations = append(kustomizations, k)
			}
		}
	}
	for _, k := range kustomizations {
		if !repositories[k.Spec.SourceRef.Name] {
			t.Errorf("Kustomization %s reads from %s, which the page does not have", k.Name, k.Spec.SourceRef.Name)
		}
	}
	return kustomizations
}

// The page has a Kustomization with a health check for each kind, and one without any, for which kstatus counts.
func TestFluxHealthChecks(t *testing.T) {
	checked := 0
	for _, k := range fluxObjects(t) {
		byKind := map[string]*cel.StatusEvaluator{}
		for _, e := range k.Spec.HealthCheckExprs {
			if e.APIVersion != v1alpha1.GroupVersion.String() {
				t.Errorf("a health check is of %s", e.APIVersion)
			}
			evaluator, err := cel.NewStatusEvaluator(&e.HealthCheckExpressions)
			if err != nil {
				t.Fatal(err)
			}
			byKind[e.Kind] = evaluator
		}
		if len(byKind) == 0 {
			continue
		}
		checked++
		everyStage(t, func(t *testing.T, s situation, u *unstructured.Unstructured) {
			evaluator := byKind[u.GetKind()]
			if evaluator == nil {
				t.Fatalf("Kustomization %s has no health check for %s", k.Name, u.GetKind())
			}
			got, err := evaluator.Evaluate(t.Context(), u)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Status) != s.moving {
				t.Errorf("Flux says %s, want %s", got.Status, s.moving)
			}
		})
	}
	if checked != 1 {
		t.Errorf("docs/gitops.md has %d Kustomizations with health checks, want 1", checked)
	}
}
