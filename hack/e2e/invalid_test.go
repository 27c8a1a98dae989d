//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
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

// TestInvalid gives stages what no retry mends: one pod, and a condition that names the cause.
func TestInvalid(t *testing.T) {
	t.Parallel()
	s := newSpace(t).workspace()
	good := dataset()["sft.jsonl"]
	if err := s.put(claimPath("lab")+"/"+dataFolder, map[string][]byte{
		"broken.jsonl":  withLine(good, 17, `{"prompt": "the cat says", "completion": "meo`),
		"missing.jsonl": withLine(good, 9, `{"prompt": "the cat says"}`),
		"number.jsonl":  withLine(good, 23, `{"prompt": "the cat says", "completion": 7}`),
	}); err != nil {
		t.Fatal(err)
	}
	from := func(file string) func(*v1alpha1.SFTJob) {
		return func(j *v1alpha1.SFTJob) { j.Spec.Data.Train[0].URI = v1alpha1.DataURI("pvc://lab/data/" + file) }
	}
	wrong := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.SFTJob)
		reason string
		words  []string // of the message
	}{
		{"bad-line", from("broken.jsonl"), runconfig.ReasonInvalidData, []string{"broken.jsonl:17"}},
		{"missing-column", from("missing.jsonl"), runconfig.ReasonInvalidData, []string{"missing.jsonl:9", "completion"}},
		{"wrong-type", from("number.jsonl"), runconfig.ReasonInvalidData, []string{"number.jsonl:23", "completion"}},
		{"no-file", from("nothing.jsonl"), runconfig.ReasonInvalidData, []string{"data.train[0].uri", "nothing.jsonl"}},
		{"wrong-digest", func(j *v1alpha1.SFTJob) { j.Spec.Data.Train[0].Digest = v1alpha1.Digest(wrong) },
			runconfig.ReasonDigestMismatch, []string{"data.train[0].digest", wrong}},
		{"impossible-model", func(j *v1alpha1.SFTJob) {
			j.Spec.Model.Init.Config = runtime.RawExtension{Raw: []byte(`{"hidden_size": 50, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}`)}
		}, runconfig.ReasonInvalidConfig, []string{"model.init"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := s.as(t)
			s.create(sftJob(c.name, c.change))
			s.refused(v1alpha1.SFTJobKind, c.name, c.reason, c.words...)
		})
	}
}

// refused waits until a stage has failed for a reason, and checks that its one pod was not followed by another.
func (s *space) refused(kind v1alpha1.StageKind, name, reason string, words ...string) {
	s.Helper()
	status := s.fails(kind, name)
	stalled := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionStalled)
	if stalled == nil || stalled.Status != metav1.ConditionTrue || stalled.Reason != reason {
		s.Fatalf("Stalled is %+v, want true with reason %s", stalled, reason)
	}
	s.Logf("%s: %s", stalled.Reason, stalled.Message)
	for _, w := range words {
		if !strings.Contains(stalled.Message, w) {
			s.Errorf("the message does not name %q", w)
		}
	}
	if n := len(s.pods(kind, name)); n != 1 || status.Attempts != 1 {
		s.Errorf("%d pods, %d attempts, want 1: no retry can mend it", n, status.Attempts)
	}
	job := s.job(kind, name)
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobFailed && c.Reason == batchv1.JobReasonPodFailurePolicy {
			return
		}
	}
	s.Errorf("the Job was not ended by its podFailurePolicy: %+v", job.Status.Conditions)
}

// TestUnknownField meets a field that nobody knows, in a resource and in a RunConfig.
func TestUnknownField(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	misspelt := strings.Replace(chainSFT, "maxSteps:", "maxStep:", 1)
	_, err := kubectl(ctx, strings.NewReader(misspelt), "--namespace", s.name, "apply", "-f", "-")
	if err == nil || !strings.Contains(err.Error(), `unknown field "spec.training.maxStep"`) {
		t.Errorf("apply: %v, want a refusal that names spec.training.maxStep", err)
	}

	run := "version: 1\nmethod: SFT\ntraining:\n  maxStep: 3\n"
	s.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "run"}, Data: map[string]string{"run.yaml": run}})
	p := trainerPod("by-hand", "train")
	mount(p, "config", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "run"}}}, "/etc/alignment")
	p.Namespace = s.name
	// Beside stages, a pod that requests nothing gets hardly any of the processor: it took a minute to start.
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	s.eventually(20*time.Second, func() error { return kube.Create(ctx, p.DeepCopy()) })
	var end *corev1.ContainerStateTerminated
	s.eventually(2*time.Minute, func() error {
		var pod corev1.Pod
		if err := s.get("by-hand", &pod); err != nil {
			return err
		}
		if len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Terminated == nil {
			return fmt.Errorf("the pod has not ended: %s", pod.Status.Phase)
		}
		end = pod.Status.ContainerStatuses[0].State.Terminated
		return nil
	})
	var result runconfig.Result
	if err := json.Unmarshal([]byte(end.Message), &result); err != nil {
		t.Fatalf("termination message: %v: %q", err, end.Message)
	}
	t.Logf("exit code %d, %s: %s", end.ExitCode, result.Reason, result.Message)
	if end.ExitCode != runconfig.ExitInvalid || result.Reason != runconfig.ReasonInvalidConfig {
		t.Errorf("exit code %d, reason %s, want %d, %s", end.ExitCode, result.Reason, runconfig.ExitInvalid, runconfig.ReasonInvalidConfig)
	}
	for _, w := range []string{"run.yaml:4", "training.maxStep"} {
		if !strings.Contains(result.Message, w) {
			t.Errorf("the message does not name %q", w)
		}
	}
}
