package status

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
	"github.com/alignment-dev/alignment-operator/controllers/inputs"
)

var (
	t0     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	hash   = strings.Repeat("ab", 32)
	good   = "sha256:" + strings.Repeat("c", 64)
	goodOK = `{"reason":"Succeeded","runHash":"` + hash + `","output":{"uri":"pvc://evil/x","digest":"` + good + `"},"step":9,"totalSteps":9}`
)

func TestNext(t *testing.T) {
	for name, c := range map[string]struct {
		o       Observed
		phase   v1alpha1.Phase
		reason  string // of Ready
		message string // part of Ready's
	}{
		"waiting": {
			Observed{Inputs: inputs.Inputs{Problem: &inputs.Problem{Reason: v1alpha1.ReasonUpstreamNotReady, Message: "SFTJob base is not trained"}}},
			v1alpha1.PhaseWaiting, v1alpha1.ReasonWaitingForInputs, "SFTJob base"},
		"cycle": {
			Observed{Inputs: inputs.Inputs{Problem: &inputs.Problem{Reason: v1alpha1.ReasonReferenceCycle, Message: "a -> a", Permanent: true}}},
			v1alpha1.PhaseFailed, v1alpha1.ReasonReferenceCycle, "a -> a"},
		"invalid spec": {
			Observed{Invalid: errors.New("training.beta1: got 2")},
			v1alpha1.PhaseFailed, v1alpha1.ReasonInvalidSpec, "training.beta1"},
		"create failed": {
			Observed{ApplyError: errors.New("exceeded quota")},
			v1alpha1.PhasePending, v1alpha1.ReasonCreateFailed, "exceeded quota"},
		"looking for a checkpoint": {
			Observed{Run: run(), Lookup: lookup(), LookupPods: pods(running())},
			v1alpha1.PhasePending, v1alpha1.ReasonPodPending, "starting"},
		"lookup cannot start": {
			Observed{Run: run(), Lookup: lookup(), LookupPods: pods(waiting("ImagePullBackOff", "not found"))},
			v1alpha1.PhasePending, v1alpha1.ReasonPodPending, "ImagePullBackOff: not found"},
		"lookup found nothing": {
			Observed{Run: run(), Lookup: lookup(batchv1.JobComplete), LookupPods: pods(ended(0, `{"exitCode":0,"reason":"NotPublished"}`))},
			v1alpha1.PhasePending, v1alpha1.ReasonPodPending, "starting"},
		"lookup found another run's": {
			Observed{Run: run(), Lookup: lookup(batchv1.JobComplete), LookupPods: pods(ended(0, strings.ReplaceAll(goodOK, hash, "other")))},
			v1alpha1.PhasePending, v1alpha1.ReasonPodPending, "starting"},
		"lookup found it": {
			Observed{Run: run(), Lookup: lookup(batchv1.JobComplete), LookupPods: pods(ended(0, goodOK))},
			v1alpha1.PhaseSucceeded, v1alpha1.ReasonAdopted, "is adopted"},
		"queued": {
			Observed{Job: suspended(job())}, v1alpha1.PhasePending, v1alpha1.ReasonQueued, "from queue gpus"},
		"deadline": {
			Observed{Job: func() *batchv1.Job {
				j := job(batchv1.JobFailed)
				j.Status.Conditions[0].Reason = batchv1.JobReasonDeadlineExceeded
				return j
			}(), Pods: pods(ended(143, `{"reason":"Interrupted","message":"saved"}`))},
			v1alpha1.PhaseFailed, v1alpha1.ReasonDeadlineExceeded, "activeDeadlineSeconds"},
		"no pod yet": {
			Observed{Job: job()}, v1alpha1.PhasePending, v1alpha1.ReasonPodPending, "starting"},
		"unschedulable": {
			Observed{Job: job(), Pods: pods(corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: "False", Message: "0/1 nodes: insufficient nvidia.com/gpu"}}})},
			v1alpha1.PhasePending, v1alpha1.ReasonPodPending, "insufficient nvidia.com/gpu"},
		"no image": {
			Observed{Job: job(), Pods: pods(waiting("ImagePullBackOff", "not found"))},
			v1alpha1.PhasePending, v1alpha1.ReasonPodPending, "ImagePullBackOff: not found"},
		"running": {
			Observed{Job: job(), Pods: pods(running())}, v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, "p is loading"},
		"fetching": {
			Observed{Job: job(), Pods: pods(running()), Progress: &runconfig.Progress{Phase: runconfig.PhaseLoading, Message: "Fetching hf://lab/base:\n 3% of 900 MiB"}},
			v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, "p is loading: Fetching hf://lab/base: 3% of 900 MiB"},
		"retrying": {
			Observed{Job: job(), Pods: pods(ended(1, `{"reason":"Error","message":"connection lost"}`))},
			v1alpha1.PhasePending, v1alpha1.ReasonRestarting, "attempt 1 of 3 ended; the next one resumes: connection lost"},
		"succeeded": {
			Observed{Job: job(batchv1.JobComplete), Pods: pods(ended(0, goodOK))},
			v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded, "published"},
		"adopted": {
			Observed{Job: job(batchv1.JobComplete), Pods: pods(ended(0, strings.Replace(goodOK, "{", `{"adopted":true,`, 1)))},
			v1alpha1.PhaseSucceeded, v1alpha1.ReasonAdopted, "adopted"},
		"succeeded, stopped early": {
			Observed{Job: job(batchv1.JobComplete), Pods: pods(ended(0, strings.Replace(goodOK, "{", `{"message":"stopped early: 9 nats from the reference",`, 1)))},
			v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded, "is published; stopped early: 9 nats"},
		"complete, result of another run": {
			Observed{Job: job(batchv1.JobComplete), Pods: pods(ended(0, strings.ReplaceAll(goodOK, hash, "other")))},
			v1alpha1.PhaseFailed, v1alpha1.ReasonResultUnreadable, "another run"},
		"complete, forged digest": {
			Observed{Job: job(batchv1.JobComplete), Pods: pods(ended(0, strings.ReplaceAll(goodOK, good, "../../etc")))},
			v1alpha1.PhaseFailed, v1alpha1.ReasonResultUnreadable, "no checkpoint with a digest"},
		"complete, pod's end not seen yet": {
			Observed{Job: job(batchv1.JobComplete), Pods: pods(running())}, v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, "p is loading"},
		"failed, pod's end not seen yet": {
			Observed{Job: job(batchv1.JobFailed), Pods: pods(running())}, v1alpha1.PhaseRunning, v1alpha1.ReasonTraining, "p is loading"},
		"complete, pod gone": {
			Observed{Job: job(batchv1.JobComplete)}, v1alpha1.PhaseFailed, v1alpha1.ReasonResultUnreadable, "delete Job x-sft"},
		"failed, trainer's words": {
			Observed{Job: job(batchv1.JobFailed), Pods: pods(ended(2, `{"reason":"DigestMismatch","message":"model.safetensors: is sha256:1, want sha256:2"}`))},
			v1alpha1.PhaseFailed, "DigestMismatch", "model.safetensors: is sha256:1, want sha256:2 (edit the spec"},
		"failed, last lines of a crash": {
			Observed{Job: job(batchv1.JobFailed), Pods: pods(ended(127, "a\nb\nerror while loading shared libraries: libtorch.so\n"))},
			v1alpha1.PhaseFailed, v1alpha1.ReasonJobFailed, "libtorch.so"},
		"failed, out of memory": {
			Observed{Job: job(batchv1.JobFailed), Pods: pods(func() corev1.PodStatus {
				s := ended(137, "")
				s.ContainerStatuses[0].State.Terminated.Reason = "OOMKilled"
				return s
			}())},
			v1alpha1.PhaseFailed, "OOMKilled", "exit code 137"},
		"failed, no pod": {
			Observed{Job: job(batchv1.JobFailed)}, v1alpha1.PhaseFailed, v1alpha1.ReasonJobFailed, "the Job says so"},
		"failed, hostile reason and message": {
			Observed{Job: job(batchv1.JobFailed), Pods: pods(ended(2, `{"reason":"no spaces!","message":"\u001b[31mred\u0000\n`+strings.Repeat("x", 4000)+`"}`))},
			v1alpha1.PhaseFailed, v1alpha1.ReasonJobFailed, "[31mred xxx"},
	} {
		t.Run(name, func(t *testing.T) {
			stage := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: 2}}
			c.o.Stage = stage
			s := Next(c.o, t0)
			ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
			if s.Phase != c.phase || ready == nil || ready.Reason != c.reason || !strings.Contains(ready.Message, c.message) {
				t.Fatalf("got phase %s, Ready %+v", s.Phase, ready)
			}
			if len(ready.Message) > maxText+200 || strings.ContainsFunc(ready.Message, func(r rune) bool { return r < ' ' }) {
				t.Errorf("the message is not clean: %q", ready.Message)
			}
			invariants(t, s)
			// A second pass over the same facts, later, changes nothing.
			stage.Status = s
			if diff := cmp.Diff(s, Next(c.o, t0.Add(time.Hour))); diff != "" {
				t.Errorf("not stable (-first +second):\n%s", diff)
			}
		})
	}
}

// invariants are what kstatus and the API server expect of every status.
func invariants(t *testing.T, s v1alpha1.StageStatus) {
	t.Helper()
	is := func(c string) bool { return meta.IsStatusConditionTrue(s.Conditions, c) }
	ready, reconciling, stalled := is(v1alpha1.ConditionReady), is(v1alpha1.ConditionReconciling), is(v1alpha1.ConditionStalled)
	n := 0
	for _, b := range []bool{ready, reconciling, stalled} {
		if b {
			n++
		}
	}
	if want := 1; s.Phase == v1alpha1.PhaseSuspended && n != 0 || s.Phase != v1alpha1.PhaseSuspended && n != want {
		t.Errorf("want one of Ready, Reconciling, Stalled, got %v %v %v", ready, reconciling, stalled)
	}
	if ready != (s.Phase == v1alpha1.PhaseSucceeded) || stalled != (s.Phase == v1alpha1.PhaseFailed) || ready != is(v1alpha1.ConditionTrained) {
		t.Errorf("phase %s does not fit %+v", s.Phase, s.Conditions)
	}
	if ready != (s.Output != nil) {
		t.Errorf("ready %v with output %v", ready, s.Output)
	}
	for _, c := range s.Conditions {
		if c.Reason == "" || c.Message == "" || c.LastTransitionTime.IsZero() || c.ObservedGeneration != 2 || order(c.Type) < 0 {
			t.Errorf("incomplete condition %+v", c)
		}
	}
}

// Suspended, a stage waits for no one but its user: none of Ready, Reconciling and Stalled is true.
func TestSuspended(t *testing.T) {
	stage := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: 2}}
	stage.Spec.Suspend = true
	saving := Next(Observed{Stage: stage, Job: job(), Pods: pods(running())}, t0)
	if saving.Phase == v1alpha1.PhaseSuspended || meta.IsStatusConditionTrue(saving.Conditions, v1alpha1.ConditionSuspended) {
		t.Errorf("suspended with a pod that runs: %+v", saving)
	}
	for name, o := range map[string]Observed{"with a Job": {Job: job(), Pods: pods(ended(143, ""))}, "without": {}} {
		o.Stage = stage
		s := Next(o, t0)
		invariants(t, s)
		if s.Phase != v1alpha1.PhaseSuspended || !meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionSuspended) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// The folder in status is the one that the trainer was told, not the one it tells.
func TestOutputIsNotTheTrainersWord(t *testing.T) {
	s := Next(Observed{Stage: &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Generation: 2}}, Job: job(batchv1.JobComplete), Pods: pods(ended(0, goodOK))}, t0)
	if want := (v1alpha1.Artifact{URI: "pvc://models/ns/x/abab", Digest: good}); *s.Output != want {
		t.Errorf("output is %+v, want %+v", *s.Output, want)
	}
}

func TestHostileProgress(t *testing.T) {
	metrics := map[string]float64{"nan": math.NaN(), "inf": math.Inf(1), "ok": 1.23456, "../../x": 1, "": 1, strings.Repeat("y", 200): 1}
	for i := range 1000 {
		metrics["m"+strings.Repeat("i", i%60)+string(rune('a'+i%26))] = 1
	}
	o := Observed{
		Stage: &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Generation: 2}}, Job: job(), Pods: pods(running()),
		Progress: &runconfig.Progress{
			Phase: "<script>", Step: -5, TotalSteps: math.MaxInt, Epoch: math.Inf(1), Percent: 1e9,
			ETASeconds: math.NaN(), TokensPerSecond: -1, Metrics: metrics,
		},
	}
	s := Next(o, t0)
	want := &v1alpha1.Progress{UpdatedAt: metav1.NewTime(t0)}
	if diff := cmp.Diff(want, s.Progress); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if len(s.Metrics) > maxMetrics {
		t.Errorf("%d metrics", len(s.Metrics))
	}
	for k := range s.Metrics {
		if !metricPattern.MatchString(k) || k == "nan" || k == "inf" {
			t.Errorf("metric %q was taken", k)
		}
	}
}

// An estimate that wobbles is no news; a step is.
func TestProgressIsWrittenWhenItIsNews(t *testing.T) {
	stage := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	o := Observed{Stage: stage, Job: job(), Pods: pods(running()), Progress: &runconfig.Progress{Phase: "Training", Step: 1, TotalSteps: 10, ETASeconds: 90}}
	stage.Status = Next(o, t0)
	o.Progress = &runconfig.Progress{Phase: "Training", Step: 1, TotalSteps: 10, ETASeconds: 89}
	if s := Next(o, t0.Add(time.Minute)); !Equal(s, stage.Status) {
		t.Errorf("a second less to go was written: %+v", s.Progress)
	}
	o.Progress = &runconfig.Progress{Phase: "Training", Step: 2, TotalSteps: 10, ETASeconds: 80}
	s := Next(o, t0.Add(time.Minute))
	if s.Progress.Step != 2 || s.Progress.ETA != "1m20s" || !s.Progress.UpdatedAt.Time.Equal(t0.Add(time.Minute)) {
		t.Errorf("progress is %+v", s.Progress)
	}
	o.Progress = nil // a trainer that does not answer loses nothing
	stage.Status = s
	if got := Next(o, t0.Add(2*time.Minute)); !Equal(got, s) {
		t.Errorf("silence changed the status: %+v", got)
	}
}

func TestETA(t *testing.T) {
	for seconds, want := range map[int64]string{0: "", 9: "9s", 250: "4m10s", 3599: "59m59s", 3600: "1h0m", 3725: "1h2m", 86400: "1d0h", 183600: "2d3h"} {
		if got := eta(seconds); got != want {
			t.Errorf("eta(%d) = %q, want %q", seconds, got, want)
		}
	}
}

// Each Event comes once: a status that stays the same tells nothing.
func TestEvents(t *testing.T) {
	stage := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: 2}}
	var got []string
	step := func(o Observed) {
		o.Stage = stage
		for range 2 {
			s := Next(o, t0)
			for _, e := range Events(stage.Status, s) {
				got = append(got, e.Type[:1]+" "+e.Reason)
			}
			stage.Status = s
		}
	}
	second := job()
	second.Status.Failed = 1
	other := &desired.Run{Hash: "other"}
	step(Observed{Inputs: inputs.Inputs{Problem: &inputs.Problem{Reason: "UpstreamNotFound", Message: "m"}}})
	step(Observed{Inputs: inputs.Inputs{Problem: &inputs.Problem{Reason: "UpstreamNotReady", Message: "m"}}})
	step(Observed{Inputs: inputs.Inputs{Problem: &inputs.Problem{Reason: "UpstreamFailed", Message: "m"}}})
	step(Observed{ApplyError: errors.New("quota")})
	step(Observed{ApplyError: errors.New("quota, in other words")})
	step(Observed{Job: job()})
	step(Observed{Job: job(), Pods: pods(running())})
	step(Observed{Job: second, Pods: pods(running())})
	step(Observed{Job: job(batchv1.JobComplete), Pods: pods(ended(0, goodOK))})
	step(Observed{Run: other})
	want := []string{"N WaitingForInputs", "W UpstreamFailed", "W CreateFailed", "N InputsResolved", "N Started", "W Restarted", "N Trained", "W InputsChanged"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// job has one active pod, or has ended as a condition says.
func job(conditions ...batchv1.JobConditionType) *batchv1.Job {
	limit := int32(2)
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: "x-sft", CreationTimestamp: metav1.NewTime(t0.Add(-time.Hour)),
			Annotations: map[string]string{
				desired.AnnotationRunHash: hash, desired.AnnotationGeneration: "2", desired.AnnotationOutput: "pvc://models/ns/x/abab",
				desired.AnnotationInputs: `[{"role":"train","uri":"pvc://data/x"}]`,
			},
		},
		Spec:   batchv1.JobSpec{BackoffLimit: &limit},
		Status: batchv1.JobStatus{Active: 1},
	}
	for _, c := range conditions {
		j.Status.Active = 0
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: c, Status: "True", Message: "the Job says so", LastTransitionTime: metav1.NewTime(t0)})
	}
	return j
}

func suspended(j *batchv1.Job) *batchv1.Job {
	yes := true
	j.Spec.Suspend, j.Labels = &yes, map[string]string{desired.QueueLabel: "gpus"}
	return j
}

// lookup is the Job before the job, for run.
func lookup(conditions ...batchv1.JobConditionType) *batchv1.Job { return job(conditions...) }

func run() *desired.Run {
	return &desired.Run{Hash: hash, Config: &runconfig.RunConfig{Output: runconfig.Output{URI: "pvc://models/ns/x/abab"}}}
}

// pods is one pod of the job.
func pods(s corev1.PodStatus) []corev1.Pod {
	return []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: s}}
}

func running() corev1.PodStatus {
	return podStatus(corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
}

func waiting(reason, message string) corev1.PodStatus {
	return podStatus(corev1.PodPending, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
}

func ended(code int32, message string) corev1.PodStatus {
	phase := corev1.PodSucceeded
	if code != 0 {
		phase = corev1.PodFailed
	}
	return podStatus(phase, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", Message: message}})
}

func podStatus(phase corev1.PodPhase, state corev1.ContainerState) corev1.PodStatus {
	return corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{Name: desired.Container, State: state}}}
}
