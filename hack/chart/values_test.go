package chart

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func TestLint(t *testing.T) {
	for _, flags := range [][]string{nil, {"--values", "testdata/all.yaml"}} {
		if out, err := helm(t, append([]string{"lint", "--strict", chartDir}, flags...)...); err != nil {
			t.Errorf("helm lint %v: %v\n%s", flags, err, out)
		}
	}
}

// What a chart renders must not depend on the cluster, or on when it is rendered: Argo CD would see a difference each time.
func TestRenderingIsPure(t *testing.T) {
	if first, second := template(t), template(t); !bytes.Equal(first, second) {
		t.Errorf("two renderings differ:\n%s", cmp.Diff(string(first), string(second)))
	}
	files, err := filepath.Glob(chartDir + "/templates/*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	impure := regexp.MustCompile(`\b(lookup|gen[A-Z]\w*|rand[A-Z]\w*|uuidv4|now|getHostByName|Release\.Is\w+|Release\.Revision|Capabilities)\b`)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range regexp.MustCompile(`(?s)\{\{.*?\}\}`).FindAllString(string(b), -1) {
			if found := impure.FindString(action); found != "" && !strings.Contains(action, "/*") {
				t.Errorf("%s uses %s: %s", f, found, action)
			}
		}
	}
}

// TestBadValuesAreRefused sets a wrong value of each sort; the message names it.
func TestBadValuesAreRefused(t *testing.T) {
	if _, err := helm(t, "template", chartDir); err != nil {
		t.Fatalf("default values: %v", err) // else the refusals below prove nothing
	}
	for set, want := range map[string][]string{
		"replica=3":                                {"replica", "not allowed"},
		"image.name=x":                             {"/image", "'name' not allowed"},
		"replicas=two":                             {"/replicas", "got string, want integer"},
		"replicas=-1":                              {"/replicas", "minimum"},
		"image.repository=operator:v1":             {"/image/repository", "pattern"},
		"image.repository=":                        {"/image/repository", "pattern"},
		"trainerImage.tag=a b":                     {"/trainerImage/tag", "pattern"},
		"trainerImage.digest=sha256:12":            {"/trainerImage/digest", "pattern"},
		"image.pullPolicy=Sometimes":               {"/image/pullPolicy", "'IfNotPresent'"},
		"imagePullSecrets[0]=pull":                 {"/imagePullSecrets/0", "want object"},
		"watchNamespace=Research":                  {"/watchNamespace", "pattern"},
		"extraArgs[0]=v=1":                         {"/extraArgs/0", "pattern"},
		"extraEnv[0].value=x":                      {"/extraEnv/0", "'name'"},
		"extraVolumeMounts[0].name=x":              {"/extraVolumeMounts/0", "'mountPath'"},
		"crds.keep=sometimes":                      {"/crds/keep", "want boolean"},
		"rbac=true":                                {"/rbac", "want object"},
		"serviceAccount.annotations.a=1":           {"/serviceAccount/annotations/a", "want string"},
		"podDisruptionBudget.maxUnavailable=few":   {"/podDisruptionBudget/maxUnavailable"},
		"resources.memory=1Gi":                     {"/resources", "'memory' not allowed"},
		"podLabels.a=not a label":                  {"/podLabels/a", "pattern"},
		"tolerations.key=x":                        {"/tolerations", "want array"},
		"terminationGracePeriodSeconds=10s":        {"/terminationGracePeriodSeconds", "want integer"},
		"metrics.serviceMonitor.interval=a minute": {"/metrics/serviceMonitor/interval", "pattern"},
		"metrics.enabled=true":                     {"/metrics", "'enabled' not allowed"},
	} {
		_, err := helm(t, "template", chartDir, "--set", set)
		if err == nil {
			t.Errorf("%s is accepted", set)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: the message lacks %q: %v", set, w, err)
			}
		}
	}
}

// TestEveryValueIsUsed sets them all and looks for each in what is rendered.
func TestEveryValueIsUsed(t *testing.T) {
	var values, all map[string]any
	for file, into := range map[string]*map[string]any{chartDir + "/values.yaml": &values, "testdata/all.yaml": &all} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(b, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	for key := range values {
		if _, ok := all[key]; !ok {
			t.Errorf("testdata/all.yaml lacks %s", key)
		}
	}
	got := objects(t, template(t, "--values", "testdata/all.yaml"))
	var d appsv1.Deployment
	as(t, got["Deployment alignment-system/alignment-operator"], &d)
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	for what, check := range map[string]bool{
		"image":                         c.Image == "registry.example:5000/team/operator@sha256:"+strings.Repeat("a", 64),
		"image.pullPolicy":              c.ImagePullPolicy == corev1.PullAlways,
		"trainerImage":                  c.Env[0].Value == "registry.example:5000/team/trainer:v9",
		"imagePullSecrets":              pod.ImagePullSecrets[0].Name == "pull",
		"replicas":                      *d.Spec.Replicas == 3,
		"watchNamespace, extraArgs":     strings.HasSuffix(strings.Join(c.Args, " "), "--leader-elect --watch-namespace=research --v=1 --progress-interval=10s"),
		"extraEnv":                      c.Env[len(c.Env)-1].Name == "HTTPS_PROXY" && len(c.Env) == 3,
		"extraVolumes":                  pod.Volumes[0].ConfigMap.Name == "ca",
		"extraVolumeMounts":             c.VolumeMounts[0].MountPath == "/etc/ssl/certs",
		"serviceAccount.name":           pod.ServiceAccountName == "other",
		"resources":                     c.Resources.Requests.Cpu().String() == "100m" && c.Resources.Limits.Memory().String() == "1Gi",
		"commonLabels":                  d.Labels["team"] == "ml" && d.Spec.Template.Labels["team"] == "ml",
		"deploymentAnnotations":         d.Annotations["example.com/owner"] == "ml",
		"podLabels":                     d.Spec.Template.Labels["example.com/cost-center"] == "42",
		"the name is not to be changed": d.Spec.Template.Labels["app.kubernetes.io/name"] == "alignment-operator",
		"podAnnotations":                d.Spec.Template.Annotations["example.com/scrape"] == "true",
		"podSecurityContext":            pod.SecurityContext.RunAsUser == nil && *pod.SecurityContext.RunAsNonRoot,
		"securityContext":               *c.SecurityContext.RunAsUser == 1000 && *c.SecurityContext.ReadOnlyRootFilesystem,
		"terminationGracePeriodSeconds": *pod.TerminationGracePeriodSeconds == 30,
		"priorityClassName":             pod.PriorityClassName == "system-cluster-critical",
		"nodeSelector":                  pod.NodeSelector["kubernetes.io/arch"] == "amd64",
		"tolerations":                   pod.Tolerations[0].Key == "control-plane",
		"affinity":                      pod.Affinity.NodeAffinity != nil,
		"topologySpreadConstraints":     pod.TopologySpreadConstraints == nil,
		"watchNamespace: no cluster-wide role": got["ClusterRole /alignment-operator"] == nil && got["ClusterRoleBinding /alignment-operator"] == nil &&
			got["Role research/alignment-operator"] != nil && got["RoleBinding research/alignment-operator"] != nil,
		"rbac.userRoles":                       got["ClusterRole /alignment-edit"] == nil && got["ClusterRole /alignment-view"] == nil,
		"serviceAccount.annotations":           got["ServiceAccount alignment-system/other"].GetAnnotations()["example.com/role"] == "reader",
		"crds.keep":                            got["CustomResourceDefinition /sftjobs.alignment.dev"].GetAnnotations()["helm.sh/resource-policy"] == "",
		"metrics.podMonitor.labels":            got["PodMonitor alignment-system/alignment-operator"].GetLabels()["release"] == "prometheus",
		"metrics.serviceMonitor.labels":        got["ServiceMonitor alignment-system/alignment-operator"].GetLabels()["release"] == "prometheus",
		"metrics.rules.labels":                 got["PrometheusRule alignment-system/alignment-operator"].GetLabels()["release"] == "prometheus",
		"metrics.dashboard.labels":             got["ConfigMap alignment-system/alignment-dashboard"].GetLabels()["grafana"] == "main",
		"metrics.dashboard.annotations":        got["ConfigMap alignment-system/alignment-dashboard"].GetAnnotations()["grafana_folder"] == "ML",
		"metrics.serviceMonitor, commonLabels": got["Service alignment-system/alignment-operator-metrics"].GetLabels()["team"] == "ml",
	} {
		if !check {
			t.Errorf("%s: not as testdata/all.yaml sets it", what)
		}
	}
	for _, binding := range []string{"RoleBinding research/alignment-operator", "RoleBinding alignment-system/alignment-operator-leader-election"} {
		subjects, _, err := unstructured.NestedSlice(got[binding].Object, "subjects")
		if want := []any{map[string]any{"kind": "ServiceAccount", "name": "other", "namespace": namespace}}; err != nil || !cmp.Equal(subjects, want) {
			t.Errorf("%s binds %v, %v", binding, subjects, err)
		}
	}
	budget, _, _ := unstructured.NestedMap(got["PodDisruptionBudget alignment-system/alignment-operator"].Object, "spec")
	if budget["minAvailable"] != "50%" || budget["maxUnavailable"] != nil {
		t.Errorf("podDisruptionBudget: %v", budget)
	}
}

func TestCRDsAreKept(t *testing.T) {
	kept := 0
	for key, o := range objects(t, template(t)) {
		policy := o.GetAnnotations()["helm.sh/resource-policy"]
		if o.GetKind() == "CustomResourceDefinition" && policy == "keep" {
			kept++
		} else if policy != "" {
			t.Errorf("%s is kept", key)
		}
	}
	if kept != 5 {
		t.Errorf("%d CRDs are kept, want all 5", kept)
	}
	for key := range objects(t, template(t, "--set", "crds.enabled=false")) {
		if strings.HasPrefix(key, "CustomResourceDefinition") {
			t.Errorf("crds.enabled=false renders %s", key)
		}
	}
}

func as(t *testing.T, from *unstructured.Unstructured, into any) {
	t.Helper()
	if from == nil {
		t.Fatalf("there is no %T", into)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(from.Object, into, true); err != nil {
		t.Fatal(err)
	}
}
