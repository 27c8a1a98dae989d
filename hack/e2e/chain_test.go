//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
)

const chainSFT = `
apiVersion: alignment.dev/v1alpha1
kind: SFTJob
metadata: {name: words}
spec:
  model:
    init:
      config: {hidden_size: 48, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 96, tie_word_embeddings: true}
      tokenizer: {trainVocabSize: 300}
  data:
    train: [{uri: pvc://lab/data/sft.jsonl}]
    evalFraction: "0.1"
    maxLength: 64
  training: {maxSteps: 150, batchSize: 32, learningRate: "5e-3"}
  evaluation: {samples: 2}
  output: {uri: pvc://lab/out}
  pod: {threads: 1, resources: {requests: {cpu: 200m}}}
`

const chainDPO = `
apiVersion: alignment.dev/v1alpha1
kind: DPOJob
metadata: {name: words}
spec:
  model: {from: {kind: SFTJob, name: words}}
  data:
    train: [{uri: pvc://lab/data/dpo.jsonl}]
    evalFraction: "0.1"
    maxLength: 64
  training: {maxSteps: 40, batchSize: 16, learningRate: "3e-4"}
  output: {uri: pvc://lab/out}
  pod: {threads: 1, resources: {requests: {cpu: 200m}}}
`

// TestChain applies the second stage first: it waits, then trains what the first one published.
func TestChain(t *testing.T) {
	t.Parallel()
	s := newSpace(t).workspace()
	s.kubectl(strings.NewReader(chainDPO), "apply", "-f", "-")
	s.eventually(20*time.Second, func() error {
		st, err := s.stage(v1alpha1.DPOJobKind, "words")
		if err != nil {
			return err
		}
		got := message(*st.StageStatus(), v1alpha1.ConditionInputsResolved)
		if st.StageStatus().Phase != v1alpha1.PhaseWaiting || !strings.HasPrefix(got, v1alpha1.ReasonUpstreamNotFound) {
			return fmt.Errorf("the DPOJob is %q, InputsResolved is %q", st.StageStatus().Phase, got)
		}
		return nil
	})
	if pods := s.pods(v1alpha1.DPOJobKind, "words"); len(pods) != 0 {
		t.Fatalf("a waiting stage has %d pods", len(pods))
	}
	s.kubectl(strings.NewReader(chainSFT), "apply", "-f", "-")
	sft := s.succeeds(v1alpha1.SFTJobKind, "words")
	dpo := s.succeeds(v1alpha1.DPOJobKind, "words")

	model := slices.IndexFunc(dpo.Inputs, func(i v1alpha1.Input) bool { return i.Role == v1alpha1.RoleModel })
	if model < 0 || dpo.Inputs[model].Digest != sft.Output.Digest || dpo.Inputs[model].From == nil || dpo.Inputs[model].From.Name != "words" {
		t.Errorf("the DPOJob's inputs are %+v, want the SFTJob's checkpoint %s", dpo.Inputs, sft.Output.Digest)
	}
	if acc := dpo.Metrics["eval_rewards/accuracies"]; acc == "" {
		t.Errorf("the DPOJob has no held-out reward accuracy: %v", dpo.Metrics)
	}
	s.columns("sftjobs", "PHASE", "STEP", "PCT", "LOSS", "EVAL-LOSS", "AGE")
	s.columns("dpojobs", "PHASE", "STEP", "PCT", "LOSS", "REWARD-ACC", "KL", "AGE")
	s.published(sft)
	s.published(dpo)
	if got := s.generate(sft, "This noon the old cat says"); got != " meow." {
		t.Errorf("the SFTJob's model answers %q, want what most demonstrations say", got)
	}
	if got := s.generate(dpo, "This noon the old cat says"); got != " meow!" {
		t.Errorf("the DPOJob's model answers %q, want what is preferred", got)
	}
	t.Run("digests", func(t *testing.T) { s.as(t).refusesOtherInputs(sft.Output) })
}

var ended = regexp.MustCompile(`^words +Succeeded +(\d+) +100 `)

// columns checks that kubectl get shows columns, with something in each.
func (s *space) columns(resource string, names ...string) {
	s.Helper()
	table := s.kubectl(nil, "get", resource)
	s.Logf("$ kubectl get %s\n%s", resource, table)
	lines := strings.Split(strings.TrimSpace(table), "\n")
	header := strings.Fields(lines[0])
	for _, n := range names {
		if !slices.Contains(header, n) {
			s.Errorf("kubectl get %s has no column %s", resource, n)
		}
	}
	// A finished stage has no ETA, so its row has an empty field there and nowhere else.
	if row := lines[1]; !ended.MatchString(row) || len(strings.Fields(row)) != len(header)-1 {
		s.Errorf("kubectl get %s: the row is not that of a finished stage", resource)
	}
}

// published checks what lies in a stage's output folder.
func (s *space) published(status v1alpha1.StageStatus) {
	s.Helper()
	dir := s.fetch(inPod(status.Output.URI))
	m, err := checkpoint.Verify(dir, status.Output.Digest)
	if err != nil {
		s.Fatalf("%s: %v", status.Output.URI, err)
	}
	if m.RunHash != status.RunHash {
		s.Errorf("%s: the manifest's run hash is %s, the status says %s", status.Output.URI, m.RunHash, status.RunHash)
	}
	for _, in := range status.Inputs {
		if !slices.ContainsFunc(m.Inputs, func(a runconfig.Artifact) bool { return a.Role == in.Role && a.Digest == in.Digest }) {
			s.Errorf("%s: the manifest does not name the input %+v", status.Output.URI, in)
		}
	}
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", "README.md"} {
		if !m.Has(name) {
			s.Errorf("%s: the manifest does not name %s", status.Output.URI, name)
		}
	}
	for _, name := range []string{"report.html", "result.json", "metrics.jsonl"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			s.Errorf("%s: %s is missing or empty (%v)", status.Output.URI, name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, checkpoint.StateFolder)); err == nil {
		s.Errorf("%s: resume state was left behind", status.Output.URI)
	}
}

// generate is a checkpoint's most likely answer.
func (s *space) generate(status v1alpha1.StageStatus, prompt string) string {
	s.Helper()
	answer, err := s.trainer(nil, "generate", "--checkpoint", inPod(status.Output.URI), "--prompt", prompt, "--max-new-tokens", "12")
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSuffix(answer, "\n")
}

// refusesOtherInputs gives a DPOJob a checkpoint that is not the one it asks for.
func (s *space) refusesOtherInputs(sft *v1alpha1.Artifact) {
	wrong := "sha256:" + strings.Repeat("0", 64)
	s.create(dpoJob("wrong-digest", v1alpha1.CheckpointSource{URI: v1alpha1.URI(sft.URI), Digest: v1alpha1.Digest(wrong)}))
	s.refused(v1alpha1.DPOJobKind, "wrong-digest", "DigestMismatch", wrong, sft.Digest)

	weights := s.fetch(inPod(sft.URI))
	b, err := os.ReadFile(filepath.Join(weights, "model.safetensors"))
	if err != nil {
		s.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := s.put(inPod(sft.URI), map[string][]byte{"model.safetensors": b}); err != nil {
		s.Fatal(err)
	}
	s.create(dpoJob("changed-weights", v1alpha1.CheckpointSource{URI: v1alpha1.URI(sft.URI), Digest: v1alpha1.Digest(sft.Digest)}))
	s.refused(v1alpha1.DPOJobKind, "changed-weights", "DigestMismatch", "model.safetensors")
}
