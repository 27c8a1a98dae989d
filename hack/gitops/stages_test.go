package gitops

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
	"github.com/alignment-dev/alignment-operator/controllers/inputs"
	"github.com/alignment-dev/alignment-operator/controllers/status"
)

// root of the repository.
var root = filepath.Join("..", "..")

var (
	t0     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	hash   = strings.Repeat("ab", 32)
	result = `{"reason":"Succeeded","runHash":"` + hash + `","output":{"uri":"pvc://m/x","digest":"sha256:` + strings.Repeat("c", 64) + `"},"step":9,"totalSteps":9}`
)

// situation is one that a stage may be in, and what each tool is to make of it.
type situation struct {
	name string
	// observed is what the controller decides the status from; nil before it has seen the stage.
	observed func(stage v1alpha1.Stage) status.Observed
	// spec, if not nil, makes it the stage that it is.
	spec func(stage v1alpha1.Stage)
	// edited says that the spec has changed since.
	edited bool
	phase  v1alpha1.Phase
	// kstatus is what kubectl-like tools and Flux see; argo is Argo CD's health.
	kstatus, argo string
	// moving is the verdict of the health check in docs/gitops.md that does not wait for training.
	moving string
}

var situations = []situation{
	{name: "applied", kstatus: "InProgress", argo: "Progressing", moving: "InProgress"},
	{name: "waiting", observed: problem(v1alpha1.ReasonUpstreamNotReady, false), phase: v1alpha1.PhaseWaiting,
		kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "upstream failed", observed: problem(v1alpha1.ReasonUpstreamFailed, false), phase: v1alpha1.PhaseWaiting,
		kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "cycle", observed: problem(v1alpha1.ReasonReferenceCycle, true), phase: v1alpha1.PhaseFailed,
		kstatus: "Failed", argo: "Degraded", moving: "Failed"},
	{name: "invalid", observed: func(s v1alpha1.Stage) status.Observed {
		return status.Observed{Stage: s, Invalid: errors.New("spec.training.beta1: got 2")}
	}, phase: v1alpha1.PhaseFailed, kstatus: "Failed", argo: "Degraded", moving: "Failed"},
	{name: "over quota", observed: func(s v1alpha1.Stage) status.Observed {
		return status.Observed{Stage: s, ApplyError: errors.New("exceeded quota")}
	}, phase: v1alpha1.PhasePending, kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "looking up", observed: func(s v1alpha1.Stage) status.Observed {
		o := run(nil, corev1.PodPending, corev1.ContainerState{})(s)
		o.Lookup, o.LookupPods, o.Job, o.Pods = o.Job, o.Pods, nil, nil
		return o
	}, phase: v1alpha1.PhasePending, kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "queued", observed: run(suspended, "", corev1.ContainerState{}), phase: v1alpha1.PhasePending,
		kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "pending", observed: run(nil, corev1.PodPending, corev1.ContainerState{}), phase: v1alpha1.PhasePending,
		kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "running", observed: run(nil, corev1.PodRunning, runningState), phase: v1alpha1.PhaseRunning,
		kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "restarting", observed: run(func(j *batchv1.Job) { j.Status.Failed = 1 }, corev1.PodFailed, ended(1, "")), phase: v1alpha1.PhasePending,
		kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "disrupted", observed: func(s v1alpha1.Stage) status.Observed {
		o := run(nil, corev1.PodFailed, ended(137, ""))(s)
		o.Pods[0].Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "PreemptionByScheduler"}}
		return o
	}, phase: v1alpha1.PhasePending, kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "several pods, one killed", observed: gang(func(j *batchv1.Job) { j.Status.Failed = 1 }), spec: retried, phase: v1alpha1.PhasePending,
		kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "several pods, restarting", observed: gang(failed), spec: retried, phase: v1alpha1.PhasePending,
		kstatus: "InProgress", argo: "Progressing", moving: "Current"},
	{name: "several pods, failed", observed: gang(failed), phase: v1alpha1.PhaseFailed,
		kstatus: "Failed", argo: "Degraded", moving: "Failed"},
	{name: "suspended before its run", observed: func(s v1alpha1.Stage) status.Observed { return status.Observed{Stage: s} },
		spec: suspend, phase: v1alpha1.PhaseSuspended, kstatus: "InProgress", argo: "Suspended", moving: "Current"},
	{name: "suspended", observed: run(suspended, corev1.PodFailed, ended(runconfig.ExitTerminated, "")),
		spec: suspend, phase: v1alpha1.PhaseSuspended, kstatus: "InProgress", argo: "Suspended", moving: "Current"},
	{name: "trained", observed: run(complete, corev1.PodSucceeded, ended(0, result)), phase: v1alpha1.PhaseSucceeded,
		kstatus: "Current", argo: "Healthy", moving: "Current"},
	{name: "trained, then suspended", observed: run(complete, corev1.PodSucceeded, ended(0, result)), spec: suspend, phase: v1alpha1.PhaseSucceeded,
		kstatus: "Current", argo: "Healthy", moving: "Current"},
	{name: "adopted", observed: run(complete, corev1.PodSucceeded, ended(0, strings.Replace(result, "{", `{"adopted":true,`, 1))), phase: v1alpha1.PhaseSucceeded,
		kstatus: "Current", argo: "Healthy", moving: "Current"},
	{name: "trained, then edited", observed: run(complete, corev1.PodSucceeded, ended(0, result)), edited: true, phase: v1alpha1.PhaseSucceeded,
		kstatus: "InProgress", argo: "Progressing", moving: "InProgress"},
	{name: "failed", observed: run(failed, corev1.PodFailed, ended(2, `{"reason":"InvalidData","message":"train.jsonl:17: no prompt"}`)), phase: v1alpha1.PhaseFailed,
		kstatus: "Failed", argo: "Degraded", moving: "Failed"},
	{name: "failed, then edited", observed: run(failed, corev1.PodFailed, ended(2, "")), edited: true, phase: v1alpha1.PhaseFailed,
		kstatus: "InProgress", argo: "Progressing", moving: "InProgress"},
	{name: "stale", observed: outdated, phase: v1alpha1.PhaseSucceeded,
		kstatus: "Current", argo: "Healthy", moving: "Current"},
	{name: "training anew", observed: outdated, spec: func(s v1alpha1.Stage) {
		*s.StageStatus() = status.Next(outdated(s), t0)
		s.StageSpec().Retrain = v1alpha1.RetrainOnChange
	}, phase: v1alpha1.PhasePending, kstatus: "InProgress", argo: "Progressing", moving: "Current"},
}

// everyStage calls check with each kind in each situation.
func everyStage(t *testing.T, check func(t *testing.T, s situation, u *unstructured.Unstructured)) {
	for _, kind := range v1alpha1.StageKinds {
		for _, s := range situations {
			t.Run(string(kind)+" "+s.name, func(t *testing.T) { check(t, s, s.object(t, kind)) })
		}
	}
}

// object is a stage in a situation as the API server has it.
func (s situation) object(t *testing.T, kind v1alpha1.StageKind) *unstructured.Unstructured {
	t.Helper()
	stage := v1alpha1.NewStage(kind)
	stage.SetName("x")
	stage.SetNamespace("ns")
	stage.SetGeneration(2)
	if s.spec != nil {
		s.spec(stage)
	}
	if s.observed == nil {
		*stage.StageStatus() = initialStatus(t, kind)
	} else {
		*stage.StageStatus() = status.Next(s.observed(stage), t0)
	}
	if got := stage.StageStatus().Phase; got != s.phase {
		t.Fatalf("the controller makes it %s, want %s", got, s.phase)
	}
	if s.edited {
		stage.SetGeneration(3)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(stage)
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{Object: fields}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(string(kind)))
	return object
}

// initialStatus is what the API server gives a resource that the operator has not seen: the schema's default.
func initialStatus(t *testing.T, kind v1alpha1.StageKind) v1alpha1.StageStatus {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "config", "crd", "bases", "alignment.dev_"+strings.ToLower(string(kind))+"s.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema struct {
						Properties struct {
							Status struct {
								Default *v1alpha1.StageStatus
							}
						}
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(b, &crd); err != nil {
		t.Fatal(err)
	}
	initial := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties.Status.Default
	if initial == nil {
		t.Fatal("the schema has no default for status: kstatus takes a resource without a status for ready")
	}
	return *initial
}

// eventRow is a row of the table in docs/observability.md: an Event's reason.
var eventRow = regexp.MustCompile(`(?m)^\| (\w+) \| (?:Normal|Warning) \|`)

// Each Event comes once: however a stage came into a situation, staying in it tells nothing. All that come, and no
// others, are documented; those of failures have the failure's reason.
func TestEventsComeOnce(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "observability.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented, seen := map[string]bool{}, map[string]bool{}
	for _, row := range eventRow.FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = true
	}
	for _, from := range situations {
		for _, to := range situations {
			if to.observed == nil {
				continue
			}
			stage := &v1alpha1.DPOJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "ns", Generation: 2}}
			if from.spec != nil {
				from.spec(stage)
			}
			if from.observed != nil {
				stage.Status = status.Next(from.observed(stage), t0)
			}
			stage.Spec = v1alpha1.DPOJobSpec{}
			if to.spec != nil {
				to.spec(stage)
			}
			before := stage.Status
			stage.Status = status.Next(to.observed(stage), t0)
			for _, e := range status.Events(before, stage.Status) {
				if e.Action != "Stall" {
					seen[e.Reason] = true
				}
			}
			again := status.Next(to.observed(stage), t0.Add(time.Hour))
			if events := status.Events(stage.Status, again); len(events) > 0 {
				t.Errorf("from %q to %q, looked at twice: %+v", from.name, to.name, events)
			}
			if !status.Equal(stage.Status, again) {
				t.Errorf("from %q to %q, looked at twice: the status is another", from.name, to.name)
			}
		}
	}
	if !maps.Equal(documented, seen) {
		t.Errorf("docs/observability.md has the Events %v, those that come are %v", slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(seen)))
	}
}

func problem(reason string, permanent bool) func(v1alpha1.Stage) status.Observed {
	return func(s v1alpha1.Stage) status.Observed {
		return status.Observed{Stage: s, Inputs: inputs.Inputs{Problem: &inputs.Problem{Reason: reason, Message: "spec.model.from: ...", Permanent: permanent}}}
	}
}

// run has a Job, with a pod in a state; without a pod if phase is empty.
func run(change func(*batchv1.Job), phase corev1.PodPhase, state corev1.ContainerState) func(v1alpha1.Stage) status.Observed {
	return func(s v1alpha1.Stage) status.Observed {
		limit := int32(2)
		job := &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{
				Name: "x", UID: "job", CreationTimestamp: metav1.NewTime(t0.Add(-time.Hour)),
				Annotations: map[string]string{
					desired.AnnotationRunHash: hash, desired.AnnotationGeneration: "2", desired.AnnotationOutput: "pvc://m/ns/x",
					desired.AnnotationInputs: `[{"role":"train","uri":"pvc://data/x"}]`,
				},
			},
			Spec:   batchv1.JobSpec{BackoffLimit: &limit},
			Status: batchv1.JobStatus{Active: 1},
		}
		if change != nil {
			change(job)
		}
		pod := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p"},
			Status:     corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{Name: desired.Container, State: state}}},
		}
		pods := []corev1.Pod{pod}
		if phase == "" {
			pods = nil
		}
		return status.Observed{
			Stage: s, Run: &desired.Run{Hash: hash}, Job: job, Pods: pods,
			Progress: &runconfig.Progress{Phase: runconfig.PhaseTraining, Step: 3, TotalSteps: 9},
		}
	}
}

// gang has a Job of two pods, one of which was killed.
func gang(change func(*batchv1.Job)) func(v1alpha1.Stage) status.Observed {
	return func(s v1alpha1.Stage) status.Observed {
		o := run(change, corev1.PodFailed, ended(137, ""))(s)
		o.Job.Spec.Completions = new(int32)
		*o.Job.Spec.Completions = 2
		return o
	}
}

func retried(s v1alpha1.Stage) { s.StageSpec().MaxRestarts = 3 }

// outdated is a trained stage whose spec makes another run.
func outdated(s v1alpha1.Stage) status.Observed {
	o := run(complete, corev1.PodSucceeded, ended(0, result))(s)
	o.Run = &desired.Run{Hash: "another"}
	return o
}

func suspend(s v1alpha1.Stage) { s.StageSpec().Suspend = true }

func suspended(j *batchv1.Job) {
	j.Spec.Suspend, j.Status.Active = new(bool), 0
	*j.Spec.Suspend = true
}

var runningState = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}

func complete(j *batchv1.Job) { end(j, batchv1.JobComplete) }

func failed(j *batchv1.Job) { end(j, batchv1.JobFailed) }

func end(j *batchv1.Job, condition batchv1.JobConditionType) {
	j.Status.Active = 0
	j.Status.Conditions = []batchv1.JobCondition{{Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(t0)}}
}

func ended(code int32, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", Message: message}}
}
