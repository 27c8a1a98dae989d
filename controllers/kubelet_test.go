package controllers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// The kubelet's part, played by hand: pods are real, their containers are what a test says.

// pod waits for the pod of a stage's attempt that has not ended.
func pod(t *testing.T, stage v1alpha1.Stage) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	eventually(t, func() error {
		var list corev1.PodList
		if err := admin.List(t.Context(), &list, client.InNamespace(stage.GetNamespace()), client.MatchingLabels(desired.Labels(stage))); err != nil {
			return err
		}
		for i := range list.Items {
			if p := list.Items[i]; !lookup(&p) && (p.Status.Phase == corev1.PodPending || p.Status.Phase == corev1.PodRunning) {
				found = &p
				return nil
			}
		}
		return fmt.Errorf("%s has no live pod, of %d", stage.GetName(), len(list.Items))
	})
	return found
}

// lookup says whether a pod looks for a published checkpoint.
func lookup(p *corev1.Pod) bool { return strings.HasSuffix(p.Labels[batchv1.JobNameLabel], "-lookup") }

// published is what lookups find, by namespace/stage; a message of a trainer. Others find nothing.
var published sync.Map

// answerLookups ends the pods of lookups as a trainer would.
func answerLookups(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		var list corev1.PodList
		if err := admin.List(ctx, &list, client.MatchingLabels{"app.kubernetes.io/managed-by": desired.OperatorName}); err != nil {
			continue
		}
		for i := range list.Items {
			p := &list.Items[i]
			if !lookup(p) || p.Status.Phase != corev1.PodPending {
				continue
			}
			message, found := published.Load(p.Namespace + "/" + p.Labels[desired.LabelName])
			if !found {
				message = `{"exitCode":0,"reason":"NotPublished","message":"nothing is published"}`
			}
			p.Status.Phase = corev1.PodSucceeded
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: desired.Container, Image: "x", ImageID: "x",
				State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", Message: message.(string), StartedAt: metav1.Now(), FinishedAt: metav1.Now()}},
			}}
			_ = admin.Status().Update(ctx, p) // the next round tries again
		}
	}
}

// start binds a pod to a node and runs it.
func start(t *testing.T, p *corev1.Pod) { startAt(t, p, "127.0.0.1") }

func startAt(t *testing.T, p *corev1.Pod, ip string) {
	t.Helper()
	// Only a pod with a node ends when its kubelet says so.
	binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node"}}
	if err := admin.SubResource("binding").Create(t.Context(), p, binding); err != nil {
		t.Fatal(err)
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIP, p.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: desired.Container, Image: "x", ImageID: "x",
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	update(t, p)
}

// end ends a container with an exit code and a termination message.
func end(t *testing.T, p *corev1.Pod, code int, message string) {
	t.Helper()
	p.Status.Phase = corev1.PodSucceeded
	reason := "Completed"
	if code != 0 {
		p.Status.Phase, reason = corev1.PodFailed, "Error"
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: desired.Container, Image: "x", ImageID: "x",
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: int32(code), Reason: reason, Message: message, StartedAt: metav1.Now(), FinishedAt: metav1.Now(),
		}},
	}}
	update(t, p)
}

func update(t *testing.T, p *corev1.Pod) {
	t.Helper()
	want := p.Status
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		p.Status = want
		return admin.Status().Update(t.Context(), p)
	})
}

// finish is a run that ends well, with a digest made of one hex digit.
func finish(t *testing.T, stage v1alpha1.Stage, digit string) {
	t.Helper()
	p := pod(t, stage)
	start(t, p)
	end(t, p, runconfig.ExitDone, result(t, stage, digit))
}

func result(t *testing.T, stage v1alpha1.Stage, digit string) string {
	t.Helper()
	job := job(t, stage)
	b, err := json.Marshal(runconfig.Result{
		Reason: runconfig.ReasonSucceeded, RunHash: job.Annotations[desired.AnnotationRunHash],
		Output: &runconfig.Artifact{Role: "checkpoint", URI: "pvc://anywhere", Digest: digest(digit)},
		Inputs: []runconfig.Artifact{{Role: "train", URI: "pvc://data/train.jsonl", Digest: digest("d")}},
		Step:   10, TotalSteps: 10, Tokens: 1000, Seconds: 2,
		Metrics: map[string]float64{"eval_loss": 1.5},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func digest(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

func job(t *testing.T, stage v1alpha1.Stage) *batchv1.Job {
	t.Helper()
	job := &batchv1.Job{}
	eventually(t, func() error {
		return admin.Get(t.Context(), client.ObjectKey{Namespace: stage.GetNamespace(), Name: desired.Name(stage)}, job)
	})
	return job
}

func noJob(t *testing.T, stage v1alpha1.Stage) {
	t.Helper()
	err := admin.Get(t.Context(), client.ObjectKey{Namespace: stage.GetNamespace(), Name: desired.Name(stage)}, &batchv1.Job{})
	if !apierrors.IsNotFound(err) {
		t.Fatalf("want no Job for %s, got %v", stage.GetName(), err)
	}
}

// becomes waits for a phase, and for the reason of a condition.
func becomes(t *testing.T, stage v1alpha1.Stage, phase v1alpha1.Phase, condition, reason string) v1alpha1.StageStatus {
	t.Helper()
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(stage), stage); err != nil {
			return err
		}
		s := stage.StageStatus()
		c := meta.FindStatusCondition(s.Conditions, condition)
		if c == nil || s.Phase != phase || c.Reason != reason {
			return fmt.Errorf("%s %s: want phase %s and reason %s of %s, got %s and %+v", stage.StageKind(), stage.GetName(), phase, reason, condition, s.Phase, c)
		}
		return nil
	})
	return *stage.StageStatus()
}

func condition(t *testing.T, s v1alpha1.StageStatus, name string) metav1.Condition {
	t.Helper()
	c := meta.FindStatusCondition(s.Conditions, name)
	if c == nil {
		t.Fatal(errors.New("no condition " + name))
	}
	return *c
}

// sft, rm, ppo and dpo are the smallest valid resources.
func sft(namespace, name string) *v1alpha1.SFTJob {
	return &v1alpha1.SFTJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.SFTJobSpec{Model: v1alpha1.InitialModel{URI: "pvc://models/base"}, StageSpec: stageSpec()},
	}
}

func rm(namespace, name, from string) *v1alpha1.RewardModelJob {
	return &v1alpha1.RewardModelJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.RewardModelJobSpec{Model: stageSource(v1alpha1.SFTJobKind, from), StageSpec: stageSpec()},
	}
}

func ppo(namespace, name, from, rewardModel string) *v1alpha1.PPOJob {
	return &v1alpha1.PPOJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.PPOJobSpec{
			Model:       stageSource(v1alpha1.SFTJobKind, from),
			RewardModel: stageSource(v1alpha1.RewardModelJobKind, rewardModel),
			StageSpec:   stageSpec(),
		},
	}
}

func dpo(namespace, name, from string) *v1alpha1.DPOJob {
	return &v1alpha1.DPOJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.DPOJobSpec{Model: stageSource(v1alpha1.SFTJobKind, from), StageSpec: stageSpec()},
	}
}

func stageSource(kind v1alpha1.StageKind, name string) v1alpha1.CheckpointSource {
	return v1alpha1.CheckpointSource{From: &v1alpha1.StageReference{Kind: kind, Name: name}}
}

func stageSpec() v1alpha1.StageSpec {
	return v1alpha1.StageSpec{
		Data:   v1alpha1.Data{Train: []v1alpha1.Dataset{{URI: "pvc://data/train.jsonl"}}},
		Output: v1alpha1.Output{URI: "pvc://models"},
		Seed:   42, MaxRestarts: 1,
	}
}

func create(t *testing.T, objs ...client.Object) {
	t.Helper()
	for _, o := range objs {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}
