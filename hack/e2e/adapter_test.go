//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

const adapterDPO = `
apiVersion: alignment.dev/v1alpha1
kind: DPOJob
metadata: {name: adapter}
spec:
  model: {from: {kind: SFTJob, name: words}}
  data:
    train: [{uri: pvc://lab/data/dpo.jsonl}]
    evalFraction: "0.1"
    maxLength: 64
  training: {maxSteps: 40, batchSize: 16, learningRate: "1e-3", lora: {rank: 8, targetModules: [all-linear], publish: Adapter}}
  output: {uri: pvc://lab/out}
  pod: {threads: 1, resources: {requests: {cpu: 200m}}}
`

const adapterSimPO = `
apiVersion: alignment.dev/v1alpha1
kind: SimPOJob
metadata: {name: after}
spec:
  model: {from: {kind: DPOJob, name: adapter}}
  data:
    train: [{uri: pvc://lab/data/dpo.jsonl}]
    evalFraction: "0.1"
    maxLength: 64
  training: {maxSteps: 10, batchSize: 16, learningRate: "1e-5"}
  output: {uri: pvc://lab/out}
  pod: {threads: 1, resources: {requests: {cpu: 200m}}}
`

// TestAdapter goes on from a stage that publishes an adapter: the next one reads that and the base, and has learnt what the
// adapter has.
func TestAdapter(t *testing.T) {
	t.Parallel()
	s := newSpace(t).workspace()
	s.kubectl(strings.NewReader(adapterSimPO), "apply", "-f", "-")
	s.kubectl(strings.NewReader(adapterDPO), "apply", "-f", "-")
	s.kubectl(strings.NewReader(chainSFT), "apply", "-f", "-")
	base := s.succeeds(v1alpha1.SFTJobKind, "words")
	adapter := s.succeeds(v1alpha1.DPOJobKind, "adapter")
	after := s.succeeds(v1alpha1.SimPOJobKind, "after")
	for role, from := range map[string]v1alpha1.StageStatus{v1alpha1.RoleModel: adapter, "modelBase": base} {
		at := slices.IndexFunc(after.Inputs, func(i v1alpha1.Input) bool { return i.Role == role })
		if at < 0 || after.Inputs[at].Digest != from.Output.Digest || after.Inputs[at].From == nil {
			t.Errorf("the inputs are %+v, want as %s %s", after.Inputs, role, from.Output.Digest)
		}
	}
	s.published(after)
	if got := s.generate(after, "This noon the old cat says"); got != " meow!" {
		t.Errorf("the model answers %q, want what the adapter prefers", got)
	}
}
