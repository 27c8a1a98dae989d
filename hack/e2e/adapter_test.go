//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// chainDPO as adapters, and what goes on from there.
var (
	adapterDPO = strings.NewReplacer("metadata: {name: words}", "metadata: {name: adapter}",
		`training: {maxSteps: 40, batchSize: 16, learningRate: "3e-4"}`,
		`training: {maxSteps: 40, batchSize: 16, learningRate: "1e-3", lora: {rank: 8, targetModules: [all-linear], publish: Adapter}}`).Replace(chainDPO)
	adapterSimPO = strings.NewReplacer("kind: DPOJob", "kind: SimPOJob", "metadata: {name: words}", "metadata: {name: after}",
		"{kind: SFTJob, name: words}", "{kind: DPOJob, name: adapter}",
		`maxSteps: 40, batchSize: 16, learningRate: "3e-4"`, `maxSteps: 10, batchSize: 16, learningRate: "1e-5"`).Replace(chainDPO)
)

// TestAdapter goes on from a stage that publishes an adapter: the next one reads that and the base, and has learnt what the
// adapter has. One that names both by their URIs makes the same of them.
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

	s.kubectl(strings.NewReader(strings.NewReplacer("metadata: {name: after}", "metadata: {name: named}",
		"from: {kind: DPOJob, name: adapter}", fmt.Sprintf("uri: %q, digest: %q, base: {uri: %q, digest: %q}",
			adapter.Output.URI, adapter.Output.Digest, base.Output.URI, base.Output.Digest)).Replace(adapterSimPO)), "apply", "-f", "-")
	s.sameCheckpoint(s.succeeds(v1alpha1.SimPOJobKind, "named"), after.Output.Digest)
}
