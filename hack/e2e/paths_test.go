//go:build e2e

package e2e

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

const pathPPO = `
apiVersion: alignment.dev/v1alpha1
kind: PPOJob
metadata: {name: NAME}
spec:
  model: {from: {kind: SFTJob, name: words}}
  rewardModel: {from: {kind: RewardModelJob, name: words}}
  data:
    train: [{uri: pvc://lab/data/prompts.jsonl}]
    evalFraction: "0.1"
    maxLength: 64
  pretraining: [{uri: pvc://lab/data/sft.jsonl}]
  ppo: {maxNewTokens: 8, minibatchSize: 16, innerEpochs: 2, klTarget: "2", ptxCoefficient: "0.5", emaDecay: "0.9", valueLearningRate: "3e-3"}
  training: {maxSteps: 40, batchSize: 32, learningRate: "1e-3"}
  checkpoint: {everySteps: 5}
  output: {uri: pvc://lab/out}
  pod: {threads: 1, resources: {requests: {cpu: 200m}}}
---
`

// The other stages after an SFTJob.
const pathStages = `
apiVersion: alignment.dev/v1alpha1
kind: RewardModelJob
metadata: {name: words}
spec:
  model: {from: {kind: SFTJob, name: words}}
  data:
    train: [{uri: pvc://lab/data/ranked.jsonl}]
    evalFraction: "0.1"
    maxLength: 64
  demonstrations: [{uri: pvc://lab/data/sft.jsonl}]
  training: {maxSteps: 60, batchSize: 16, learningRate: "3e-3"}
  output: {uri: pvc://lab/out}
  pod: {threads: 1, resources: {requests: {cpu: 200m}}}
---
apiVersion: alignment.dev/v1alpha1
kind: SimPOJob
metadata: {name: words}
spec:
  model: {from: {kind: SFTJob, name: words}}
  data:
    train: [{uri: pvc://lab/data/dpo.jsonl}]
    evalFraction: "0.1"
    maxLength: 64
  training: {maxSteps: 40, batchSize: 16, learningRate: "1e-3"}
  output: {uri: pvc://lab/out}
  pod: {threads: 1, resources: {requests: {cpu: 200m}}}
---
`

// TestPaths applies the InstructGPT path and the direct one without a reference, all at once and the last
// stage first. One of two equal PPOJobs loses its pod in mid-run: both end with the same bytes.
func TestPaths(t *testing.T) {
	t.Parallel()
	s := newSpace(t).workspace()
	stages := strings.Replace(pathPPO, "NAME", "killed", 1) + strings.Replace(pathPPO, "NAME", "calm", 1) + pathStages + chainSFT
	s.kubectl(strings.NewReader(stages), "apply", "-f", "-")
	at := 8 + random(t.Name()).IntN(20)
	pod, p := s.attempt(v1alpha1.PPOJobKind, "killed", 1, step(at))
	if !s.signal(&pod, syscall.SIGKILL) {
		t.Fatal("the trainer has ended too early")
	}
	t.Logf("killed at step %d of %d", p.Step, p.TotalSteps)

	sft, reward := s.succeeds(v1alpha1.SFTJobKind, "words"), s.succeeds(v1alpha1.RewardModelJobKind, "words")
	simpo := s.succeeds(v1alpha1.SimPOJobKind, "words")
	calm, killed := s.succeeds(v1alpha1.PPOJobKind, "calm"), s.succeeds(v1alpha1.PPOJobKind, "killed")
	s.sameCheckpoint(killed, calm.Output.Digest)
	if calm.Attempts != 1 || killed.Attempts != 2 {
		t.Errorf("status counts %d and %d attempts, want 1 and 2", calm.Attempts, killed.Attempts)
	}
	s.resumed(s.pods(v1alpha1.PPOJobKind, "killed"), killed, (p.Step-1)/5*5)

	inputs := map[string]string{}
	for _, in := range calm.Inputs {
		inputs[in.Role] = in.Digest
	}
	if inputs[v1alpha1.RoleModel] != sft.Output.Digest || inputs[v1alpha1.RoleRewardModel] != reward.Output.Digest {
		t.Errorf("the PPOJob's inputs are %+v, want the checkpoints %s and %s", calm.Inputs, sft.Output.Digest, reward.Output.Digest)
	}
	for _, status := range []v1alpha1.StageStatus{reward, simpo, calm} {
		s.published(status)
	}
	if acc := number(s, reward, "eval_rewards/accuracies"); acc < 0.9 {
		t.Errorf("the reward model's held-out accuracy is %g", acc)
	}
	s.columns("rewardmodeljobs", "PHASE", "STEP", "PCT", "LOSS", "EVAL-ACC", "AGE")
	s.columns("simpojobs", "PHASE", "STEP", "PCT", "LOSS", "REWARD-ACC", "AGE")
	if score := number(s, calm, "eval_objective/scores"); score <= 0 {
		t.Errorf("the PPOJob's mean reward is %g, the demonstrations' is 0", score)
	}
	for name, status := range map[string]v1alpha1.StageStatus{"SimPOJob": simpo, "PPOJob": calm} {
		if got := s.generate(status, "This noon the old cat says"); got != " meow!" {
			t.Errorf("the %s's model answers %q, want what is preferred", name, got)
		}
	}
}

// number is a metric of a stage.
func number(s *space, status v1alpha1.StageStatus, name string) float64 {
	s.Helper()
	v, err := strconv.ParseFloat(status.Metrics[name], 64)
	if err != nil {
		s.Errorf("metric %s: %v in %v", name, err, status.Metrics)
	}
	return v
}
