package controllers_test

import (
	"bytes"
	"fmt"
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

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
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
	validSimPO = `
apiVersion: alignment.dev/v1alpha1
kind: SimPOJob
metadata: {name: x}
spec:
  model: {from: {kind: SFTJob, name: base}}
  data: {train: [{uri: pvc://data/train.jsonl}]}
  output: {uri: pvc://models}
`
	validRM = `
apiVersion: alignment.dev/v1alpha1
kind: RewardModelJob
metadata: {name: x}
spec:
  model: {from: {kind: SFTJob, name: base}}
  data: {train: [{uri: pvc://data/ranked.jsonl, format: ranked}]}
  output: {uri: pvc://models}
`
	validPPO = `
apiVersion: alignment.dev/v1alpha1
kind: PPOJob
metadata: {name: x}
spec:
  model: {from: {kind: SFTJob, name: base}}
  rewardModel: {from: {kind: RewardModelJob, name: base}}
  data: {train: [{uri: pvc://data/prompts.jsonl, format: prompt}]}
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
		{validSFT, "spec.model.uri", `s3://bucket/x`, nil},
		{validSFT, "spec.model.uri", `hf://org/Model-1.5B@refs%2Fpr%2F1`, nil},
		{validSFT, "spec.model.uri", `hf://model`, []string{"spec.model.uri", "should match"}},
		{validSFT, "spec.model.uri", `https://example.com/x`, []string{"spec.model.uri", "should match"}},
		{validSFT, "spec.model.uri", `s3://key:secret@bucket/x`, []string{"spec.model.uri", "should match"}},
		{validSFT, "spec.data.train", `[{uri: "hf://datasets/org/pairs@v1"}, {uri: "gs://data/*.jsonl"}]`, nil},
		{validSFT, "spec.output.uri", `azblob://models/out`, nil},
		{validSFT, "spec.output.uri", `hf://org/model`, []string{"spec.output.uri", "should match"}},
		{validSFT, "spec.storage", `{secretName: lab-s3, cacheClaim: models, cacheGiB: 200}`, nil},
		{validSFT, "spec.storage.secretName", `../x`, []string{"spec.storage.secretName", "should match"}},
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
		{validDPO, "spec.training.lora", `{}`, nil},
		{validDPO, "spec.training.lora", `{rank: 8, alpha: "16", useRslora: true, dropout: "0.05", targetModules: [q_proj, mlp.up_proj], publish: Adapter}`, nil},
		{validDPO, "spec.training.lora", `{targetModules: [all-linear, q_proj]}`, []string{"spec.training.lora.targetModules", "name it alone"}},
		{validDPO, "spec.training", `{lora: {}, freezeLayers: 2}`, []string{"spec.training.freezeLayers", "goes without lora"}},
		{validPPO, "spec.training.lora", `{dropout: "0.1"}`, []string{"spec.training.lora.dropout", "a PPOJob has none"}},
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
		{validSFT, "spec.training.beta1", `"0"`, []string{"spec.training.beta1", "greater than 0"}},
		{validSFT, "spec.training.microBatchSize", `8`, nil},
		{validSFT, "spec.training", `{batchSize: 40, microBatchSize: 5}`, nil},
		{validSFT, "spec.training", `{batchSize: 8, microBatchSize: 5}`, []string{"spec.training.microBatchSize", "must divide batchSize"}},
		{validSFT, "spec.training.activationCheckpointing", `true`, nil},
		{validSFT, "spec.model", `{from: {kind: RewardModelJob, name: up}}`, []string{"spec.model.from.kind", "no policy"}},
		{validSFT, "spec.data.train", `[{uri: pvc://data/x, format: ranked, columns: {responses: r, ranks: k, label: l}}]`, nil},

		{validDPO, "spec.model", `{from: {kind: PPOJob, name: up}}`, nil},
		{validDPO, "spec.model.from.kind", `RewardModelJob`, []string{"spec.model.from.kind", "no policy"}},
		{validDPO, "spec.reference", `{from: {kind: RewardModelJob, name: up}}`, []string{"spec.reference.from.kind", "no policy"}},
		{validDPO, "spec.objective", `{type: Robust, labelSmoothing: "0"}`, []string{"spec.objective.labelSmoothing", "greater than 0 for Robust"}},
		{validDPO, "spec.objective.ipoReduction", `max`, []string{"spec.objective.ipoReduction", "supported values"}},
		{validDPO, "spec.objective", `{type: IPO, tau: "0"}`, []string{"spec.objective.tau", "greater than 0"}},
		{validDPO, "spec", `{model: {uri: pvc://m/x}, data: {train: [{uri: pvc://data/x}]}, output: {uri: pvc://m}, objective: {type: KTO}, training: {batchSize: 1}}`, []string{"spec.training.batchSize", "at least 2 for KTO"}},

		{validSimPO, "spec.objective", `{gamma: "0", lengthNormalize: false}`, nil},
		{validSimPO, "spec.objective", `{gamma: "1", gammaBetaRatio: "0.5"}`, []string{"spec.objective.gammaBetaRatio", "at most one of gamma and gammaBetaRatio"}},
		{validSimPO, "spec.objective.beta", `"0"`, []string{"spec.objective.beta", "greater than 0"}},
		{validSimPO, "spec.objective.type", `DPO`, []string{"spec.objective.type", "supported values"}},
		{validSimPO, "spec.model.from.kind", `RewardModelJob`, []string{"spec.model.from.kind", "no policy"}},
		{validSimPO, "spec.reference", `{uri: pvc://m/x}`, []string{"unknown field", "reference"}},
		{validSimPO, "spec.training.microBatchSize", `5`, []string{"spec.training.microBatchSize", "must divide batchSize"}},

		{validRM, "spec.objective.type", `ShuffledPairs`, nil},
		{validRM, "spec.objective.type", `Pairs`, []string{"spec.objective.type", "supported values"}},
		{validRM, "spec.demonstrations", `[{uri: pvc://data/sft.jsonl}]`, nil},
		{validRM, "spec.demonstrations", `[]`, []string{"spec.demonstrations", "at least 1"}},
		{validRM, "spec.demonstrations", `[{uri: /x}]`, []string{"spec.demonstrations[0].uri", "should match"}},
		{validRM, "spec.model.from.kind", `RewardModelJob`, []string{"spec.model.from.kind", "language model"}},
		{validRM, "spec.training.minLearningRateRatio", `"0"`, []string{"spec.training.minLearningRateRatio", "greater than 0"}},
		{validRM, "spec.training.microBatchSize", `5`, []string{"spec.training.microBatchSize", "must divide batchSize"}},

		{validPPO, "spec.rewardModel", `{uri: pvc://models/rm}`, nil},
		{validPPO, "spec.value", `{from: {kind: RewardModelJob, name: v}}`, nil},
		{validPPO, "spec.ppo", `{whiten: false, klCoefficient: "0", klTarget: "6", klHorizon: "1000", emaDecay: "0.992", missingEOSPenalty: "0", minibatchSize: 128}`, nil},
		{validPPO, "spec.training", `{batchSize: 32, microBatchSize: 32}`, nil},
		{validPPO, "spec.training", `{microBatchSize: 64}`, nil},
		{validPPO, "spec.rewardModel", `{}`, []string{"spec.rewardModel", "exactly one of from and uri"}},
		{validPPO, "spec.rewardModel.from.kind", `SFTJob`, []string{"spec.rewardModel.from.kind", "must be RewardModelJob"}},
		{validPPO, "spec.value", `{from: {kind: SFTJob, name: v}}`, []string{"spec.value.from.kind", "must be RewardModelJob"}},
		{validPPO, "spec.model.from.kind", `RewardModelJob`, []string{"spec.model.from.kind", "no policy"}},
		{validPPO, "spec.reference", `{from: {kind: RewardModelJob, name: v}}`, []string{"spec.reference.from.kind", "no policy"}},
		{validPPO, "spec.ppo.ptxCoefficient", `"27.8"`, []string{"spec.pretraining", "is needed with ppo.ptxCoefficient"}},
		{validPPO, "spec.ppo.ptxCoefficient", `"0.0"`, nil},
		{validPPO, "spec.ppo.ptxBatchSize", `8`, []string{"spec.ppo.ptxBatchSize", "goes with ptxCoefficient"}},
		{validPPO, "spec.ppo.minibatchSize", `100`, []string{"spec.ppo.minibatchSize", "must divide training.batchSize"}},
		{validPPO, "spec.training.batchSize", `100`, []string{"spec.training.batchSize", "64 if not set"}},
		{validPPO, "spec.training.microBatchSize", `128`, []string{"spec.training.microBatchSize", "must divide ppo.minibatchSize"}},
		{validPPO, "spec.training", `{batchSize: 32, microBatchSize: 64}`, []string{"spec.training.microBatchSize", "must divide ppo.minibatchSize"}},
		{validPPO, "spec.ppo.klHorizon", `"10"`, []string{"spec.ppo.klHorizon", "goes with klTarget"}},
		{validPPO, "spec.ppo.klTarget", `"0"`, []string{"spec.ppo.klTarget", "greater than 0"}},
		{validPPO, "spec.ppo.gamma", `"1.1"`, []string{"spec.ppo.gamma", "at most 1"}},
		{validPPO, "spec.ppo.gaeLambda", `"0"`, []string{"spec.ppo.gaeLambda", "greater than 0"}},
		{validPPO, "spec.ppo.clipRange", `"0"`, []string{"spec.ppo.clipRange", "greater than 0"}},
		{validPPO, "spec.ppo.valueClipRange", `"0"`, []string{"spec.ppo.valueClipRange", "greater than 0"}},
		{validPPO, "spec.ppo.valueLearningRate", `"0"`, []string{"spec.ppo.valueLearningRate", "greater than 0"}},
		{validPPO, "spec.ppo.stopKL", `"0"`, []string{"spec.ppo.stopKL", "greater than 0"}},
		{validPPO, "spec.ppo.emaDecay", `"1"`, []string{"spec.ppo.emaDecay", "less than 1"}},
		{validPPO, "spec.ppo.innerEpochs", `0`, []string{"spec.ppo.innerEpochs", "1"}},
		{validPPO, "spec.ppo.maxNewTokens", `512`, []string{"spec.ppo.maxNewTokens", "must leave room for a prompt"}},
		{validPPO, "spec.data.maxLength", `64`, []string{"spec.ppo.maxNewTokens", "64 if not set"}},
		{validPPO, "spec.ppo.maxNewTokens", `0`, []string{"spec.ppo.maxNewTokens", "1"}},
		{validPPO, "spec.objective", `{}`, []string{"unknown field", "objective"}},

		{validDPO, "spec.model", `{}`, []string{"spec.model", "exactly one of from and uri"}},
		{validDPO, "spec.model.init", `{}`, []string{"unknown field", "init"}},
		{validDPO, "spec.model.from.kind", `KTOJob`, []string{"spec.model.from.kind", "supported values"}},
		{validDPO, "spec.model.from.name", `""`, []string{"spec.model.from.name", "at least 1"}},
		{validDPO, "spec.model.digest", `"sha256:` + strings.Repeat("0", 64) + `"`, []string{"spec.model", "digest goes with uri"}},
		{validDPO, "spec.model.base", `{uri: "pvc://models/base"}`, []string{"spec.model", "base goes with uri"}},
		{validDPO, "spec.model", `{uri: "pvc://models/adapter", base: {uri: "file:///base"}}`, []string{"spec.model.base.uri", "should match"}},
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

// The API server refuses exactly those parameters of an objective that the trainer refuses, and it
// names them.
func TestObjectiveParameters(t *testing.T) {
	ns := namespace(t)
	for _, k := range []struct {
		base   string
		method runconfig.Method
		params map[string]string
	}{
		{validDPO, runconfig.DPO, map[string]string{
			"beta": `"0.2"`, "labelSmoothing": `"0.2"`, "tau": `"0.2"`, "ipoReduction": "mean", "desirableWeight": `"2"`,
			"undesirableWeight": `"2"`, "alpha": `"0.2"`, "precomputeReference": "true",
		}},
		{validSimPO, runconfig.SimPO, map[string]string{
			"beta": `"0.2"`, "gamma": `"0.2"`, "gammaBetaRatio": `"0.2"`, "lengthNormalize": "false", "lambda": `"0.2"`,
			"nllReduction": "mean", "delta": `"0.2"`, "lengthExponent": `"0.2"`,
		}},
	} {
		for _, kind := range runconfig.ObjectiveTypes[k.method] {
			for param, value := range k.params {
				c, err := runconfig.Parse("run.yaml", fmt.Appendf(nil,
					"{version: 1, method: %s, model: {uri: pvc://m/x}, data: {train: [{uri: pvc://d/x}]}, objective: {type: %s, %s: %s}, output: {uri: pvc://m/y}}",
					k.method, kind, param, strings.Trim(value, `"`)))
				want := ""
				if err != nil {
					want = param + " goes with"
					if !strings.Contains(err.Error(), "objective."+param+": goes with") {
						t.Fatalf("%s %s: the trainer says %v", kind, param, err)
					}
				} else if c.Objective.Type != kind {
					t.Fatalf("the type is %s", c.Objective.Type)
				}
				obj := &unstructured.Unstructured{}
				if err := sigsyaml.Unmarshal([]byte(k.base), &obj.Object); err != nil {
					t.Fatal(err)
				}
				var objective map[string]any
				if err := sigsyaml.Unmarshal(fmt.Appendf(nil, "{type: %s, %s: %s}", kind, param, value), &objective); err != nil {
					t.Fatal(err)
				}
				if err := unstructured.SetNestedMap(obj.Object, objective, "spec", "objective"); err != nil {
					t.Fatal(err)
				}
				obj.SetNamespace(ns)
				err = admin.Create(t.Context(), obj, client.DryRunAll, client.FieldValidation("Strict"))
				switch {
				case want == "" && err != nil:
					t.Errorf("%s with %s is refused: %v", kind, param, err)
				case want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "spec.objective."+param)):
					t.Errorf("%s with %s: the refusal does not say %q: %v", kind, param, want, err)
				}
			}
		}
	}
}

// The smallest resource of each kind, as the API server stores it, makes a run with the trainer's defaults.
func TestSmallest(t *testing.T) {
	ns := namespace(t)
	for text, want := range map[string]string{
		validSFT:   "32 cosine 0.999 0 2e-05",
		validRM:    "32 cosine 0.999 0.1 9e-06",
		validPPO:   "512 constant 0.95 0 3e-06",
		validDPO:   "32 cosine 0.999 0 5e-07",
		validSimPO: "32 cosine 0.999 0 1e-06",
	} {
		var head struct{ Kind v1alpha1.StageKind }
		if err := sigsyaml.Unmarshal([]byte(text), &head); err != nil {
			t.Fatal(err)
		}
		stage := v1alpha1.NewStage(head.Kind)
		if err := sigsyaml.UnmarshalStrict([]byte(text), stage); err != nil {
			t.Fatal(err)
		}
		stage.SetNamespace(ns)
		if err := admin.Create(t.Context(), stage, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
			t.Fatal(err)
		}
		var resolved []v1alpha1.Input
		for _, u := range stage.Upstreams() {
			resolved = append(resolved, v1alpha1.Input{Role: u.Role, Artifact: v1alpha1.Artifact{URI: "pvc://models/" + u.Role, Digest: digest("a")}})
		}
		run, err := desired.NewRun(stage, resolved, nil, desired.Settings{})
		if err != nil {
			t.Errorf("%s: %v", head.Kind, err)
			continue
		}
		c := run.Config.Training
		if got := fmt.Sprint(c.BatchSize, " ", c.Schedule, " ", c.Beta2, " ", c.MinLearningRateRatio, " ", c.LearningRate); got != want {
			t.Errorf("%s trains with %s, want %s", head.Kind, got, want)
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
		"spec.objective.beta":          nil, // as every default that depends on kind or type: the trainer's
		"spec.training.batchSize":      nil,
		"spec.data.maxLength":          int64(512),
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

// Each sample, and each example of a page or of the README, is admitted as it is, with no field that the
// API does not know.
func TestSamples(t *testing.T) {
	ns := namespace(t)
	admitted := map[string]int{}
	for _, pattern := range []string{"config/samples/*job.yaml", "docs/*.md", "README.md"} {
		files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			blocks := []string{string(b)}
			if strings.HasSuffix(f, ".md") {
				blocks = fenced(string(b), "yaml")
			}
			for _, text := range strings.Split(strings.Join(blocks, "\n---\n"), "\n---\n") {
				var head struct{ APIVersion, Kind string }
				if err := sigsyaml.Unmarshal([]byte(text), &head); err != nil || head.APIVersion != v1alpha1.GroupVersion.String() {
					continue // of another kind, or a part of one
				}
				obj := &unstructured.Unstructured{}
				if err := sigsyaml.UnmarshalStrict([]byte(text), &obj.Object); err != nil {
					t.Fatalf("%s: %v\n%s", f, err, text)
				}
				obj.SetNamespace(ns)
				if err := admin.Create(t.Context(), obj, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
					t.Errorf("%s: %v\n%s", f, err, text)
				}
				admitted[pattern+" "+head.Kind]++
			}
		}
	}
	for _, k := range v1alpha1.StageKinds {
		if admitted["config/samples/*job.yaml "+string(k)] == 0 || admitted["docs/*.md "+string(k)] == 0 {
			t.Errorf("a sample or an example of %s is missing: %v", k, admitted)
		}
	}
}

// fenced are the code blocks of a language in a page, also those indented below a list's item.
func fenced(page, language string) []string {
	var blocks []string
	var block strings.Builder
	in, indent := false, ""
	for line := range strings.Lines(page) {
		text := strings.TrimLeft(line, " ")
		switch {
		case !in && strings.TrimSpace(text) == "```"+language:
			in, indent = true, line[:len(line)-len(text)]
			block.Reset()
		case in && strings.TrimSpace(text) == "```":
			in = false
			blocks = append(blocks, block.String())
		case in:
			block.WriteString(strings.TrimPrefix(line, indent))
		}
	}
	return blocks
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
	if kinds["CustomResourceDefinition"] != len(v1alpha1.StageKinds) || kinds["Deployment"] != 1 || kinds["ClusterRole"] != 3 {
		t.Errorf("config/default has %v", kinds)
	}
}
