package chart

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestSameAsKustomize compares what both ways to install send, object by object.
func TestSameAsKustomize(t *testing.T) {
	for name, c := range map[string]struct {
		values  []string
		folders []string
	}{
		"default": {nil, []string{"default"}},
		"prometheus": {
			[]string{"--set", "metrics.podMonitor.enabled=true,metrics.rules.enabled=true,metrics.dashboard.enabled=true"},
			[]string{"default", "prometheus"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var rendered [][]byte
			for _, f := range c.folders {
				rendered = append(rendered, kustomize(t, f))
			}
			want, got := objects(t, rendered...), objects(t, template(t, c.values...))
			delete(want, "Namespace /"+namespace) // helm's --create-namespace makes it
			if len(want) < 14 {
				t.Fatalf("kustomize renders %d objects", len(want))
			}
			for _, key := range slices.Sorted(maps.Keys(want)) {
				if got[key] == nil {
					t.Errorf("the chart lacks %s", key)
					continue
				}
				withoutHelms(got[key], want[key])
				if diff := cmp.Diff(want[key].Object, got[key].Object); diff != "" {
					t.Errorf("%s, - kustomize + chart:\n%s", key, diff)
				}
				delete(got, key)
			}
			for key := range got {
				t.Errorf("kustomize lacks %s", key)
			}
		})
	}
}

// withoutHelms removes Helm's own labels and annotations from what the chart rendered. The name is kept where kustomize's
// object has one.
func withoutHelms(o, other *unstructured.Unstructured) {
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	for _, l := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"} {
		delete(labels, l)
	}
	if other.GetLabels()["app.kubernetes.io/name"] == "" {
		delete(labels, "app.kubernetes.io/name")
	}
	delete(annotations, "helm.sh/resource-policy")
	if len(labels) == 0 {
		labels = nil // as in an object that never had one
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
}
