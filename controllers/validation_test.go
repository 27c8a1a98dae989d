package controllers_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsyaml "sigs.k8s.io/yaml"
)

// A valid resource of each kind, to be made invalid one field at a time.
const (
	validSFT = `
apiVersion: alignment.dev/v1alpha1
kind: SFTJob
metadata: {name: x}
spec:
  model: {uri: pvc://models/base}
  data: {train: [{uri: pvc://data/train.jsonl}]}
  output: {uri: pvc://models}
`
	validDPO = `
apiVersion: alignment.dev/v1alpha1
kind: DPOJob
metadata: {name: x}
spec:
  model: {from: {kind: SFTJob, name: base}}
  data: {train: [{uri: pvc://data/train.jsonl}]}
  output: {uri: pvc://models}
`
)

func TestValidation(t *testing.T) {
	ns := namespace(t)
	for _, c := range []struct {
		base, set, value string
		// want are parts of the refusal: the field, and the rule. None is an accepted value.
		want []string
	}{
		{validSFT, "spec.seed", `0`, nil},
		{validSFT, "spec.model", `{from: {kind: DPOJob, name: up}}`, nil},
		{validSFT, "spec.output.uri", `pvc://models/a/b`, nil},
		{validSFT, "spec.training", `{maxSteps: 10, warmupSteps: 2, learningRate: "1E-5"}`, nil},
		{validDPO, "spec.reference", `{uri: "pvc://models/base", digest: "sha256:` + strings.Repeat("0", 64) + `"}`, nil},

		{validSFT, "metadata.name", `has.dot`, []string{"metadata.name must be"}},
		{validSFT, "metadata.name", strings.Repeat("x", 51), []string{"metadata.name must be"}},
		{validSFT, "spec.model", `{}`, []string{"spec.model", "exactly one of from, uri and init"}},
		{validSFT, "spec.model.from", `{kind: SFTJob, name: up}`, []string{"spec.model", "exactly one of from, uri and init"}},
		{validSFT, "spec.model.uri", `s3://bucket/x`, []string{"spec.model.uri", "should match"}},
		{validSFT, "spec.model.uri", `pvc://models/../etc`, []string{"spec.model.uri", ".. in its path"}},
		{validSFT, "spec.model.uri", `pvc://models`, []string{"spec.model.uri", "should match"}},
		{validSFT, "spec.model.digest", `sha256:abc`, []string{"spec.model.digest", "should match"}},
		{validSFT, "spec.model", `{init: {config: {model_type: llama}, tokenizer: {}}}`, []string{"spec.model.init.tokenizer", "exactly one of uri and trainVocabSize"}},
		{validSFT, "spec.model", `{init: {config: {model_type: llama}, tokenizer: {trainVocabSize: 12}}}`, []string{"spec.model.init.tokenizer.trainVocabSize", "260"}},
		{validSFT, "spec.model", `{init: {config: 7, tokenizer: {trainVocabSize: 512}}}`, []string{"spec.model.init.config", "object"}},
		{validSFT, "spec.lossOn", `prompt`, []string{"spec.lossOn", "supported values"}},
		{validSFT, "spec.data.train", `[]`, []string{"spec.data.train", "at least 1"}},
		{validSFT, "spec.data.eval", `[]`, []string{"spec.data.eval", "at least 1"}},
		{validSFT, "spec.data.evalFraction", `"0.6"`, []string{"spec.data.evalFraction", "at most 0.5"}},
		{validSFT, "spec.data.evalFraction", `0.1`, []string{"spec.data.evalFraction", "string"}},
		{validSFT, "spec.data", `{train: [{uri: pvc://data/x}], eval: [{uri: pvc://data/y}], evalFraction: "0.1"}`, []string{"spec.data.evalFraction", "goes without eval"}},
		{validSFT, "spec.data.maxLength", `1`, []string{"spec.data.maxLength", "2"}},
		{validSFT, "spec.data.maxPromptLength", `512`, []string{"spec.data.maxPromptLength", "less than maxLength"}},
		{validSFT, "spec.data.train", `[{uri: pvc://data/x, format: csv}]`, []string{"spec.data.train[0].format", "supported values"}},
		{validSFT, "spec.data.train", `[{uri: pvc://data/x, columns: {question: q}}]`, []string{"spec.data.train[0].columns", "keys must be among"}},
		{validSFT, "spec.data.train", `[{uri: pvc://data/x, columns: {prompt: ""}}]`, []string{"spec.data.train[0].columns.prompt", "at least 1"}},
		{validSFT, "spec.training.epochs", `"0"`, []string{"spec.training.epochs", "greater than 0"}},
		{validSFT, "spec.training.epochs", `"-1"`, []string{"spec.training.epochs", "should match"}},
		{validSFT, "spec.training.epochs", `"NaN"`, []string{"spec.training.epochs", "should match"}},
		{validSFT, "spec.training", `{epochs: "1", maxSteps: 5}`, []string{"spec.training.maxSteps", "at most one of epochs and maxSteps"}},
		{validSFT, "spec.training", `{warmupSteps: 1, warmupRatio: "0.1"}`, []string{"spec.training.warmupRatio", "at most one of"}},
		{validSFT, "spec.training.maxSteps", `0`, []string{"spec.training.maxSteps", "1"}},
		{validSFT, "spec.training.batchSize", `0`, []string{"spec.training.batchSize", "1"}},
		{validSFT, "spec.training.microBatchSize", `5`, []string{"spec.training.microBatchSize", "must divide batchSize"}},
		{validSFT, "spec.training.learningRate", `"0"`, []string{"spec.training.learningRate", "greater than 0"}},
		{validSFT, "spec.training.learningRate", `"1e999"`, []string{"spec.training.learningRate", "should match"}},
		{validSFT, "spec.training.schedule", `step`, []string{"spec.training.schedule", "supported values"}},
		{validSFT, "spec.training.warmupRatio", `"1.1"`, []string{"spec.training.warmupRatio", "at most 1"}},
		{validSFT, "spec.training.minLearningRateRatio", `"2"`, []string{"spec.training.minLearningRateRatio", "at most 1"}},
		{validSFT, "spec.training.beta1", `"1"`, []string{"spec.training.beta1", "less than 1"}},
		{validSFT, "spec.training.beta2", `"1.0"`, []string{"spec.training.beta2", "less than 1"}},
		{validSFT, "spec.training.epsilon", `"0.0"`, []string{"spec.training.epsilon", "greater than 0"}},
		{validSFT, "spec.training.precision", `int4`, []string{"spec.training.precision", "supported values"}},
		{validSFT, "spec.training.learningrate", `"1"`, []string{"unknown field", "learningrate"}},
		{validSFT, "spec.evaluation.everySteps", `0`, []string{"spec.evaluation.everySteps", "1"}},
		{validSFT, "spec.evaluation.samples", `-1`, []string{"spec.evaluation.samples", "0"}},
		{validSFT, "spec.checkpoint.keepLast", `0`, []string{"spec.checkpoint.keepLast", "1"}},
		{validSFT, "spec.seed", `-1`, []string{"spec.seed", "0"}},
		{validSFT, "spec.maxRestarts", `-1`, []string{"spec.maxRestarts", "0"}},
		{validSFT, "spec.output.uri", `file:///x`, []string{"spec.output.uri", "should match"}},
		{validSFT, "spec.output.uri", `pvc://models/a/..`, []string{"spec.output.uri", ".. in its path"}},
		{validSFT, "spec.pod.device", `tpu`, []string{"spec.pod.device", "supported values"}},
		{validSFT, "spec.pod.threads", `0`, []string{"spec.pod.threads", "1"}},
		{validSFT, "spec.pod.imagePullPolicy", `Sometimes`, []string{"spec.pod.imagePullPolicy", "supported values"}},

		{validDPO, "spec.model", `{}`, []string{"spec.model", "exactly one of from and uri"}},
		{validDPO, "spec.model.init", `{}`, []string{"unknown field", "init"}},
		{validDPO, "spec.model.from.kind", `PPOJob`, []string{"spec.model.from.kind", "supported values"}},
		{validDPO, "spec.model.from.name", `""`, []string{"spec.model.from.name", "at least 1"}},
		{validDPO, "spec.model.digest", `"sha256:` + strings.Repeat("0", 64) + `"`, []string{"spec.model", "digest goes with uri"}},
		{validDPO, "spec.reference", `{}`, []string{"spec.reference", "exactly one of from and uri"}},
		{validDPO, "spec.objective.type", `PPO`, []string{"spec.objective.type", "supported values"}},
		{validDPO, "spec.objective.beta", `"0"`, []string{"spec.objective.beta", "greater than 0"}},
		{validDPO, "spec.objective.labelSmoothing", `"0.5"`, []string{"spec.objective.labelSmoothing", "less than 0.5"}},
	} {
		obj := &unstructured.Unstructured{}
		if err := sigsyaml.Unmarshal([]byte(c.base), &obj.Object); err != nil {
			t.Fatal(err)
		}
		var value any
		if err := sigsyaml.Unmarshal([]byte(c.value), &value); err != nil {
			t.Fatal(err)
		}
		if err := unstructured.SetNestedField(obj.Object, value, strings.Split(c.set, ".")...); err != nil {
			t.Fatalf("%s: %v", c.set, err)
		}
		obj.SetNamespace(ns)
		err := admin.Create(t.Context(), obj, client.DryRunAll, client.FieldValidation("Strict"))
		if c.want == nil {
			if err != nil {
				t.Errorf("%s = %s: %v", c.set, c.value, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s = %s was admitted", c.set, c.value)
			continue
		}
		if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
			t.Errorf("%s = %s: not a refusal: %v", c.set, c.value, err)
		}
		for _, w := range c.want {
			if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(w)) {
				t.Errorf("%s = %s: the refusal does not say %q: %v", c.set, c.value, w, err)
			}
		}
	}
}

// Defaults are those of the docs, also when a whole section is left out.
func TestDefaults(t *testing.T) {
	ns := namespace(t)
	obj := &unstructured.Unstructured{}
	if err := sigsyaml.Unmarshal([]byte(validDPO), &obj.Object); err != nil {
		t.Fatal(err)
	}
	obj.SetNamespace(ns)
	if err := admin.Create(t.Context(), obj, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{
		"spec.seed":                    int64(42),
		"spec.maxRestarts":             int64(3),
		"spec.objective.type":          "DPO",
		"spec.objective.beta":          "0.1",
		"spec.data.maxLength":          int64(512),
		"spec.training.batchSize":      int64(32),
		"spec.training.schedule":       "cosine",
		"spec.training.maxGradNorm":    "1",
		"spec.training.precision":      "float32",
		"spec.evaluation.maxNewTokens": int64(64),
		"spec.checkpoint.keepLast":     int64(2),
		"spec.pod.device":              "auto",
	} {
		got, _, err := unstructured.NestedFieldNoCopy(obj.Object, strings.Split(field, ".")...)
		if err != nil || got != want {
			t.Errorf("%s is %v, want %v (%v)", field, got, want, err)
		}
	}
}

// Each sample is admitted as it is, with no field that the API does not know.
func TestSamples(t *testing.T) {
	ns := namespace(t)
	files, err := filepath.Glob(filepath.Join("..", "config", "samples", "*job.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("samples: %v, %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		obj := &unstructured.Unstructured{}
		if err := sigsyaml.UnmarshalStrict(b, &obj.Object); err != nil {
			t.Fatal(err)
		}
		obj.SetNamespace(ns)
		if err := admin.Create(t.Context(), obj, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// config/default is what `kubectl apply -k` sends: every object of it is admitted.
func TestDefaultConfig(t *testing.T) {
	needControlPlane(t)
	out, err := exec.Command(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "kustomize", filepath.Join("..", "config", "default")).Output()
	if err != nil {
		t.Fatal(err)
	}
	docs := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096)
	kinds := map[string]int{}
	for {
		obj := &unstructured.Unstructured{}
		if err := docs.Decode(&obj.Object); err != nil {
			break
		}
		kinds[obj.GetKind()]++
		if obj.GetKind() == "Namespace" {
			if err := admin.Create(t.Context(), obj); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
			continue
		}
		err := admin.Create(t.Context(), obj, client.DryRunAll, client.FieldValidation("Strict"))
		if err != nil && !apierrors.IsAlreadyExists(err) { // CRDs and roles are there already
			t.Errorf("%s %s: %v", obj.GetKind(), obj.GetName(), err)
		}
	}
	if kinds["CustomResourceDefinition"] != 2 || kinds["Deployment"] != 1 || kinds["ClusterRole"] != 3 {
		t.Errorf("config/default has %v", kinds)
	}
}
