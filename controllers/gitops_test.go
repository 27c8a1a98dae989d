package controllers_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers"
)

// The pipeline of docs/gitops.md, applied as it stands there, trains to its end; applied again, by client-side
// and by server-side apply, it changes nothing, and the operator has written nothing but statuses.
func TestGitPipeline(t *testing.T) {
	needControlPlane(t)
	t.Parallel()
	folder := pipelineOf(t, filepath.Join("..", "docs", "gitops.md"))
	kubectl := kubectlAs(t)
	const ns = "chat"
	kubectl("apply", "-k", folder)
	unchanged(t, kubectl("apply", "-k", folder))

	s, r, p := sft(ns, "chat"), rm(ns, "chat", ""), ppo(ns, "chat", "", "")
	d, o := dpo(ns, "chat", ""), &v1alpha1.SimPOJob{}
	o.Namespace, o.Name = ns, "chat"
	for i, stage := range []v1alpha1.Stage{s, r, d, o, p} {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(stage), stage); err != nil {
			t.Fatal(err)
		}
		finish(t, stage, fmt.Sprint(i+1))
		becomes(t, stage, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	}
	stages := []v1alpha1.Stage{s, r, p, d, o}

	before, quiet := versions(t, stages), len(writes.in(ns))
	unchanged(t, kubectl("apply", "-k", folder))
	if after := versions(t, stages); !slices.Equal(before, after) {
		t.Errorf("applying the same again makes %v of %v", after, before)
	}
	serverSide := []string{"apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "-k", folder}
	kubectl(serverSide...) // takes the fields over from client-side apply
	before = versions(t, stages)
	kubectl(serverSide...)
	if after := versions(t, stages); !slices.Equal(before, after) {
		t.Errorf("applying the same again, by server-side apply, makes %v of %v", after, before)
	}
	if after := writes.in(ns); len(after) != quiet {
		t.Errorf("the operator wrote %v, although nothing had changed", after[quiet:])
	}
	for _, stage := range stages {
		ownsOnlyStatus(t, stage)
	}
}

// Suspending a pipeline through Git is one patch.
func TestGitSuspend(t *testing.T) {
	needControlPlane(t)
	folder := pipelineOf(t, filepath.Join("..", "docs", "gitops.md"))
	page, err := os.ReadFile(filepath.Join(folder, "suspend.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`patches: .*`).FindString(string(page))
	file := filepath.Join(folder, "kustomization.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(b, line...), 0o644); err != nil {
		t.Fatal(err)
	}
	out := kubectlAs(t)("kustomize", folder)
	if n := strings.Count(out, "\n  suspend: true\n"); line == "" || n != len(v1alpha1.StageKinds) {
		t.Errorf("%d stages are suspended by %q:\n%s", n, line, out)
	}
}

// GitOps tools compare lists as a whole: a default within one would be drift for ever. Kubernetes' own types in
// podTemplate have such defaults, as they have in any pod.
func TestNoDefaultsInLists(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "config", "crd", "bases", "*.yaml"))
	if err != nil || len(files) != len(v1alpha1.StageKinds) {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := sigsyaml.UnmarshalStrict(b, &crd); err != nil {
			t.Fatal(err)
		}
		schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		spec := schema.Properties["spec"]
		delete(spec.Properties, "podTemplate")
		defaultsInLists(t, crd.Spec.Names.Kind+" spec", spec, false)
		if d := schema.Properties["status"].Default; d == nil || string(d.Raw) != `{"observedGeneration":-1}` {
			t.Errorf("%s: status has no default: kstatus takes a stage without a status for ready", crd.Spec.Names.Kind)
		}
	}
}

func defaultsInLists(t *testing.T, path string, s apiextensionsv1.JSONSchemaProps, inList bool) {
	t.Helper()
	if inList && s.Default != nil {
		t.Errorf("%s has the default %s", path, s.Default.Raw)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		defaultsInLists(t, path+"."+name, s.Properties[name], inList)
	}
	if s.Items != nil && s.Items.Schema != nil {
		defaultsInLists(t, path+"[]", *s.Items.Schema, true)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		defaultsInLists(t, path+"{}", *s.AdditionalProperties.Schema, inList)
	}
}

// ownsOnlyStatus reads from a stage's managedFields what the operator has ever written that is still there.
func ownsOnlyStatus(t *testing.T, stage v1alpha1.Stage) {
	t.Helper()
	writes := 0
	for _, m := range stage.GetManagedFields() {
		if m.Manager != string(controllers.FieldOwner) {
			if m.Subresource == "status" {
				t.Errorf("%s: %s writes the status", stage.StageKind(), m.Manager)
			}
			continue
		}
		writes++
		var fields map[string]any
		if err := json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields); err != nil {
			t.Fatal(err)
		}
		if keys := slices.Collect(maps.Keys(fields)); !slices.Equal(keys, []string{"f:status"}) {
			t.Errorf("%s: the operator owns %v", stage.StageKind(), keys)
		}
	}
	if writes == 0 {
		t.Errorf("%s: the operator owns nothing: %v", stage.StageKind(), stage.GetManagedFields())
	}
}

// versions reads the stages anew.
func versions(t *testing.T, stages []v1alpha1.Stage) (list []string) {
	t.Helper()
	for _, s := range stages {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			t.Fatal(err)
		}
		list = append(list, string(s.StageKind())+" "+s.GetResourceVersion())
	}
	return list
}

// unchanged reads what kubectl apply tells of each object.
func unchanged(t *testing.T, out string) {
	t.Helper()
	for line := range strings.Lines(out) {
		if !strings.HasSuffix(strings.TrimSpace(line), " unchanged") {
			t.Errorf("applied again: %s", line)
		}
	}
	if n := strings.Count(out, "alignment.dev/"); n != len(v1alpha1.StageKinds) {
		t.Errorf("%d stages are applied:\n%s", n, out)
	}
}

var fileComment = regexp.MustCompile(`^# pipelines/chat/([a-z]+\.yaml)`)

// pipelineOf writes a page's files, each a code block that begins with its name, into a folder.
func pipelineOf(t *testing.T, page string) (folder string) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	folder = t.TempDir()
	for _, block := range fenced(string(b), "yaml") {
		if m := fileComment.FindStringSubmatch(block); m != nil {
			if err := os.WriteFile(filepath.Join(folder, m[1]), []byte(block), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return folder
}

// kubectlAs runs the cluster's kubectl as its administrator.
func kubectlAs(t *testing.T) func(args ...string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: adminCfg.Host, CertificateAuthorityData: adminCfg.CAData}
	config.AuthInfos["test"] = &clientcmdapi.AuthInfo{ClientCertificateData: adminCfg.CertData, ClientKeyData: adminCfg.KeyData}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	config.CurrentContext = "test"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), append([]string{"--kubeconfig", file}, args...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, stderr.String())
		}
		return string(out)
	}
}
