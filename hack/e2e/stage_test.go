//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

const (
	// steps of sftJob. They take long enough to be disturbed, and no longer.
	steps = 150
	// saveEvery is how many steps lie between two states.
	saveEvery = 10
)

// small is a pod among many: it takes one processor where there is one, and is not starved where there is none.
var small = v1alpha1.Pod{
	Threads:   1,
	Resources: v1alpha1.Resources{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m")}},
}

// sftJob is the stage that most tests disturb: a new model of some 40,000 parameters, on dataset.
func sftJob(name string, change ...func(*v1alpha1.SFTJob)) *v1alpha1.SFTJob {
	j := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: name}}
	j.Spec.Model.Init = &v1alpha1.ModelInit{
		Config: runtime.RawExtension{Raw: []byte(`{"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
			"num_key_value_heads": 2, "intermediate_size": 96, "tie_word_embeddings": true}`)},
		Tokenizer: v1alpha1.Tokenizer{TrainVocabSize: 300},
	}
	j.Spec.StageSpec = v1alpha1.StageSpec{
		Data:        v1alpha1.Data{Train: []v1alpha1.Dataset{{URI: "pvc://lab/data/sft.jsonl"}}, EvalFraction: "0.1", MaxLength: 64},
		Training:    v1alpha1.Training{MaxSteps: steps, BatchSize: 64, LearningRate: "5e-3"},
		Evaluation:  v1alpha1.Evaluation{Samples: 8, MaxNewTokens: 16},
		Checkpoint:  v1alpha1.Checkpoint{EverySteps: saveEvery},
		Seed:        7,
		Output:      v1alpha1.Output{URI: "pvc://lab/out"},
		MaxRestarts: 3,
		Pod:         small,
	}
	for _, c := range change {
		c(j)
	}
	return j
}

// dpoJob is a stage on a checkpoint of the test's choice.
func dpoJob(name string, model v1alpha1.CheckpointSource, change ...func(*v1alpha1.DPOJob)) *v1alpha1.DPOJob {
	j := &v1alpha1.DPOJob{ObjectMeta: metav1.ObjectMeta{Name: name}}
	j.Spec.Model = model
	j.Spec.StageSpec = sftJob(name).Spec.StageSpec
	j.Spec.Data.Train[0].URI = "pvc://lab/data/dpo.jsonl"
	j.Spec.Training.LearningRate = "3e-4"
	for _, c := range change {
		c(j)
	}
	return j
}

// workspace is a namespace with the claim work, the data in it and a workbench.
func (s *space) workspace(claims ...string) *space {
	s.Helper()
	s.claim("lab", "", "1Gi")
	s.workbench(append(claims, "lab")...)
	if err := s.put(claimPath("lab")+"/"+dataFolder, dataset()); err != nil {
		s.Fatal(err)
	}
	return s
}

// stage reads a stage again.
func (s *space) stage(kind v1alpha1.StageKind, name string) (v1alpha1.Stage, error) {
	st := v1alpha1.NewStage(kind)
	return st, s.get(name, st)
}

// succeeds waits until a stage has published and returns its status.
func (s *space) succeeds(kind v1alpha1.StageKind, name string) v1alpha1.StageStatus {
	s.Helper()
	return s.ends(kind, name, v1alpha1.PhaseSucceeded)
}

// fails waits until a stage has given up and returns its status.
func (s *space) fails(kind v1alpha1.StageKind, name string) v1alpha1.StageStatus {
	s.Helper()
	return s.ends(kind, name, v1alpha1.PhaseFailed)
}

// leaves waits until a stage is in another phase than it was.
func (s *space) leaves(kind v1alpha1.StageKind, name string, phase v1alpha1.Phase) {
	s.Helper()
	s.eventually(time.Minute, func() error {
		st, err := s.stage(kind, name)
		if err == nil && st.StageStatus().Phase == phase {
			err = fmt.Errorf("%s %s is still %s", kind, name, phase)
		}
		return err
	})
}

func (s *space) ends(kind v1alpha1.StageKind, name string, phase v1alpha1.Phase) (status v1alpha1.StageStatus) {
	s.Helper()
	s.eventually(5*time.Minute, func() error {
		st, err := s.stage(kind, name)
		if err != nil {
			return err
		}
		status = *st.StageStatus()
		if status.Phase == phase {
			return nil
		}
		err = fmt.Errorf("%s %s is %s, not %s: %s", kind, name, status.Phase, phase, message(status, v1alpha1.ConditionReady))
		if status.Phase == v1alpha1.PhaseSucceeded || status.Phase == v1alpha1.PhaseFailed {
			return final{err}
		}
		return err
	})
	if phase == v1alpha1.PhaseSucceeded && (status.Output == nil || !strings.HasPrefix(status.Output.Digest, "sha256:")) {
		s.Fatalf("%s %s has no output digest: %+v", kind, name, status.Output)
	}
	return status
}

func message(status v1alpha1.StageStatus, condition string) string {
	c := meta.FindStatusCondition(status.Conditions, condition)
	if c == nil {
		return "no condition " + condition
	}
	return c.Reason + ": " + c.Message
}

// job is the Job of a stage.
func (s *space) job(kind v1alpha1.StageKind, name string) *batchv1.Job {
	s.Helper()
	var j batchv1.Job
	if err := s.get(jobName(kind, name), &j); err != nil {
		s.Fatal(err)
	}
	return &j
}

func jobName(kind v1alpha1.StageKind, stage string) string {
	if kind == v1alpha1.RewardModelJobKind {
		return stage + "-rm"
	}
	return stage + "-" + strings.ToLower(strings.TrimSuffix(string(kind), "Job"))
}

// attempt waits until the n-th pod of a stage, counted from 1, has begun and is so far as reached says.
func (s *space) attempt(kind v1alpha1.StageKind, stage string, n int, reached func(runconfig.Progress) bool) (pod corev1.Pod, p runconfig.Progress) {
	s.Helper()
	seen := map[string]bool{}
	s.eventually(5*time.Minute, func() error {
		running := 0
		for _, c := range s.pods(kind, stage) {
			if c.Status.Phase == corev1.PodSucceeded {
				return final{fmt.Errorf("%s has ended before it could be disturbed", c.Name)}
			}
			seen[c.Name] = true
			if c.Status.Phase == corev1.PodRunning && c.DeletionTimestamp == nil {
				pod, running = c, running+1
			}
		}
		if len(seen) > n || running > 1 {
			return final{fmt.Errorf("%s has had %d pods, %d of them running, want the only one of attempt %d", stage, len(seen), running, n)}
		}
		if len(seen) < n || running == 0 {
			return fmt.Errorf("%s has had %d pods, none running; waiting for attempt %d", stage, len(seen), n)
		}
		b, err := s.answer(pod.Name+":8080/proxy", "progress")
		if err != nil {
			return err // it has not begun to listen
		}
		if err := json.Unmarshal(b, &p); err != nil {
			return final{fmt.Errorf("progress of %s: %w: %s", pod.Name, err, b)}
		}
		if !reached(p) {
			return fmt.Errorf("%s is not there yet: %s", pod.Name, b)
		}
		return nil
	})
	return pod, p
}

// step is reached when so many steps are done and more are to come.
func step(n int) func(runconfig.Progress) bool {
	return func(p runconfig.Progress) bool { return p.Step >= n }
}
