package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// A chain in the wrong order: the DPOJob waits for an SFTJob that is not there, and starts when it is trained.
func TestChainInAnyOrder(t *testing.T) {
	ns := namespace(t)
	d, s := dpo(ns, "chat", "base"), sft(ns, "base")
	create(t, d)
	waiting := becomes(t, d, v1alpha1.PhaseWaiting, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamNotFound)
	if c := condition(t, waiting, v1alpha1.ConditionReconciling); c.Status != metav1.ConditionTrue {
		t.Errorf("a waiting stage is not Reconciling: %+v", c)
	}

	create(t, s)
	becomes(t, d, v1alpha1.PhaseWaiting, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamNotReady)
	becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonPodPending)
	noJob(t, d) // a waiting stage holds no quota
	finish(t, s, "a")
	done := becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionTrained, v1alpha1.ReasonSucceeded)
	if want := "pvc://models/" + ns + "/base-sft/" + done.RunHash[:12]; done.Output.URI != want || done.Output.Digest != digest("a") {
		t.Errorf("output is %+v, want %s and the digest of the result", done.Output, want)
	}
	if done.Inputs[1].Digest != digest("d") {
		t.Errorf("inputs are %+v, want the data's digest from the result", done.Inputs)
	}
	if done.Metrics["eval_loss"] != "1.5" || done.Progress.Percent != 100 || done.Attempts != 1 || done.CompletionTime == nil {
		t.Errorf("status is %+v", done)
	}

	frozen := job(t, d).Annotations[desired.AnnotationInputs]
	if !strings.Contains(frozen, done.Output.URI) || !strings.Contains(frozen, digest("a")) || !strings.Contains(frozen, string(s.UID)) {
		t.Errorf("the DPOJob's Job is not made from the SFTJob's checkpoint: %s", frozen)
	}
	finish(t, d, "b")
	ready := becomes(t, d, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	in := ready.Inputs[0]
	if in.From == nil || in.From.UID != s.UID || in.From.Generation != s.Generation || in.Digest != digest("a") {
		t.Errorf("the model's lineage is %+v of %+v", in.From, in)
	}
	if c := condition(t, ready, v1alpha1.ConditionStalled); c.Status != metav1.ConditionFalse {
		t.Errorf("a ready stage is stalled: %+v", c)
	}
	wantEvents(t, d, "WaitingForInputs", "InputsResolved", "Started", "Trained")
}

// InstructGPT's three stages, all of one name and applied last first: each waits for all of its own.
func TestThreeStagesInAnyOrder(t *testing.T) {
	ns := namespace(t)
	p, r, s := ppo(ns, "chat", "chat", "chat"), rm(ns, "chat", "chat"), sft(ns, "chat")
	create(t, p, r, s)
	becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonPodPending)
	becomes(t, r, v1alpha1.PhaseWaiting, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamNotReady)
	becomes(t, p, v1alpha1.PhaseWaiting, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamNotReady)
	finish(t, s, "a")
	becomes(t, r, v1alpha1.PhasePending, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonResolved)
	eventually(t, func() error {
		waiting := becomes(t, p, v1alpha1.PhaseWaiting, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamNotReady)
		if c := condition(t, waiting, v1alpha1.ConditionInputsResolved); c.Message != `spec.rewardModel.from: RewardModelJob "chat" is not trained yet` {
			return fmt.Errorf("InputsResolved says %q", c.Message)
		}
		return nil
	})
	noJob(t, p)
	finish(t, r, "b")
	finish(t, p, "c")
	done := becomes(t, p, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	var in []string
	for _, i := range done.Inputs {
		line := i.Role + " " + i.Digest[len("sha256:"):][:1]
		if i.From != nil {
			line += " " + string(i.From.Kind)
		}
		in = append(in, line)
	}
	if want := []string{"model a SFTJob", "rewardModel b RewardModelJob", "train d"}; !slices.Equal(in, want) {
		t.Errorf("inputs are %q, want %q", in, want)
	}
	for stage, want := range map[v1alpha1.Stage]string{s: "chat-sft", r: "chat-rm", p: "chat-ppo"} {
		if got := job(t, stage).Name; got != want {
			t.Errorf("the Job is %s, want %s", got, want)
		}
	}
}

// Input that no retry mends ends at once, in the trainer's own words; a changed spec tries again.
func TestInvalidInputStallsAndAnEditRetries(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "bad")
	create(t, s)
	p := pod(t, s)
	start(t, p)
	end(t, p, runconfig.ExitInvalid, `{"exitCode":2,"reason":"InvalidData","message":"train.jsonl:17: column prompt is missing"}`)
	got := becomes(t, s, v1alpha1.PhaseFailed, v1alpha1.ConditionStalled, runconfig.ReasonInvalidData)
	c := condition(t, got, v1alpha1.ConditionStalled)
	if c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "train.jsonl:17: column prompt is missing") {
		t.Errorf("Stalled is %+v, want the trainer's message", c)
	}
	if got.Attempts != 1 {
		t.Errorf("%d attempts, want 1: nothing is retried", got.Attempts)
	}
	first := job(t, s)
	wantEvents(t, s, "Started", "InvalidData")

	s.Spec.Data.Train[0].URI = "pvc://data/mended.jsonl"
	if err := admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if j := job(t, s); j.UID == first.UID {
			return fmt.Errorf("the failed Job is still there")
		}
		return nil
	})
	finish(t, s, "c")
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
}

// An error is tried again within the budget; a disruption does not count.
func TestRetryBudget(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "flaky")
	create(t, s)

	p := pod(t, s) // a drained node: not counted
	start(t, p)
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI"})
	end(t, p, runconfig.ExitTerminated, "")

	p = pod(t, s) // maxRestarts is 1: the first error is retried ...
	start(t, p)
	end(t, p, runconfig.ExitError, `{"exitCode":1,"reason":"Error","message":"connection lost"}`)
	restarting := becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonRestarting)
	if c := condition(t, restarting, v1alpha1.ConditionReady); !strings.Contains(c.Message, "attempt 1 of 2") || !strings.Contains(c.Message, "connection lost") {
		t.Errorf("Ready says %q", c.Message)
	}

	p = pod(t, s) // ... and the second is not.
	start(t, p)
	end(t, p, runconfig.ExitError, `{"exitCode":1,"reason":"DiskFull","message":"write /mnt/claims/models: no space left"}`)
	got := becomes(t, s, v1alpha1.PhaseFailed, v1alpha1.ConditionTrained, runconfig.ReasonDiskFull)
	if got.Attempts != 2 {
		t.Errorf("%d attempts, want 2", got.Attempts)
	}
	if got.Restarts != 1 || got.Disruptions != 1 || len(got.History) != 3 {
		t.Errorf("%d restarts and %d disruptions, want 1 and 1, in %+v", got.Restarts, got.Disruptions, got.History)
	}
	wantEvents(t, s, "Started", "Disrupted", "Restarted", "DiskFull")
}

func TestProgress(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "long")
	create(t, s)
	const ip = "127.0.7.1"
	trainer.set(ip, `{"phase":"Training","step":30,"totalSteps":120,"epoch":0.25,"percent":25,"etaSeconds":3725,"tokensPerSecond":1234.5,"metrics":{"loss":4.26123456,"bad name":1}}`)
	startAt(t, pod(t, s), ip)
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		if p := s.Status.Progress; p == nil || p.Step != 30 {
			return fmt.Errorf("progress is %+v", p)
		}
		return nil
	})
	p := s.Status.Progress
	if p.Percent != 25 || p.ETA != "1h2m" || p.Epoch != "0.25" || p.TokensPerSecond != 1234 || p.Phase != "Training" {
		t.Errorf("progress is %+v", p)
	}
	if len(s.Status.Metrics) != 1 || s.Status.Metrics["loss"] != "4.261" {
		t.Errorf("metrics are %v", s.Status.Metrics)
	}

	// The next step arrives without any event.
	trainer.set(ip, `{"phase":"Training","step":31,"totalSteps":120}`)
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		if s.Status.Progress.Step != 31 {
			return fmt.Errorf("progress is %+v", s.Status.Progress)
		}
		return nil
	})

	// While it says nothing new, nothing is written.
	before := len(writes.in(ns))
	time.Sleep(3 * progressInterval)
	if after := writes.in(ns); len(after) != before {
		t.Errorf("%d writes while nothing changed: %v", len(after)-before, after[before:])
	}
}

// From create to Running: three objects and two statuses; then, and when ready, silence.
func TestWrites(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "quiet")
	create(t, s)
	becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonPodPending)
	p := pod(t, s)
	start(t, p)
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	status := "PATCH /apis/alignment.dev/v1alpha1/namespaces/" + ns + "/sftjobs/quiet/status"
	counts := map[string]int{}
	for _, w := range writes.in(ns) {
		counts[w]++
	}
	if counts[status] > 3 {
		t.Errorf("%d writes of the status from create to Running, want 3 at most", counts[status])
	}
	for _, w := range []string{"/api/v1/namespaces/" + ns + "/configmaps/quiet-sft", "/apis/batch/v1/namespaces/" + ns + "/jobs/quiet-sft", "/apis/networking.k8s.io/v1/namespaces/" + ns + "/networkpolicies/quiet-sft"} {
		if n := counts["PATCH "+w]; n != 1 {
			t.Errorf("%s was applied %d times, want once", w, n)
		}
	}
	end(t, p, runconfig.ExitDone, result(t, s, "a"))
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	before := len(writes.in(ns))
	base := p.DeepCopy()
	p.Labels["touched"] = "yes" // an event of the pod brings a pass
	if err := admin.Patch(t.Context(), p, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if after := writes.in(ns); len(after) != before {
		t.Errorf("%d writes while nothing changed: %v", len(after)-before, after[before:])
	}
}

func TestDeleteLeavesNothing(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "gone")
	create(t, s)
	start(t, pod(t, s))
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	if err := admin.Delete(t.Context(), s, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		for _, list := range []client.ObjectList{&v1alpha1.SFTJobList{}, &batchv1.JobList{}, &corev1.ConfigMapList{}, &networkingv1.NetworkPolicyList{}, &corev1.PodList{}} {
			if err := admin.List(t.Context(), list, client.InNamespace(ns)); err != nil {
				return err
			}
			n := meta.LenList(list)
			// No kubelet confirms the pod's end: that it is being deleted is all there is to see.
			if pods, ok := list.(*corev1.PodList); ok {
				n = slices.IndexFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp == nil }) + 1
			}
			if n > 0 {
				return fmt.Errorf("%d %T are left", n, list)
			}
		}
		return nil
	})
}

func TestCycle(t *testing.T) {
	ns := namespace(t)
	a, b := sft(ns, "a"), dpo(ns, "b", "a")
	a.Spec.Model = v1alpha1.InitialModel{From: &v1alpha1.StageReference{Kind: v1alpha1.DPOJobKind, Name: "b"}}
	create(t, a, b)
	got := becomes(t, a, v1alpha1.PhaseFailed, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonReferenceCycle)
	if c := condition(t, got, v1alpha1.ConditionStalled); !strings.Contains(c.Message, "SFTJob a -> DPOJob b -> SFTJob a") {
		t.Errorf("Stalled says %q", c.Message)
	}
	becomes(t, b, v1alpha1.PhaseFailed, v1alpha1.ConditionStalled, v1alpha1.ReasonReferenceCycle)

	eventually(t, func() error {
		fresh := &v1alpha1.SFTJob{}
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(a), fresh); err != nil {
			return err
		}
		fresh.Spec.Model = v1alpha1.InitialModel{URI: "pvc://models/base"}
		return admin.Update(t.Context(), fresh)
	})
	becomes(t, b, v1alpha1.PhaseWaiting, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamNotReady)
	becomes(t, a, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonPodPending)
}

// A failed upstream is named, and so is what follows from it.
func TestUpstreamFailed(t *testing.T) {
	ns := namespace(t)
	s, d := sft(ns, "base"), dpo(ns, "chat", "base")
	create(t, s, d)
	p := pod(t, s)
	start(t, p)
	end(t, p, runconfig.ExitStopped, `{"exitCode":3,"reason":"Diverged","message":"loss is NaN at step 12"}`)
	becomes(t, s, v1alpha1.PhaseFailed, v1alpha1.ConditionStalled, runconfig.ReasonDiverged)
	becomes(t, d, v1alpha1.PhaseWaiting, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamFailed)
	wantEvents(t, d, "WaitingForInputs", "UpstreamFailed")
}

// A changed spec makes a running or trained stage stale; placement does not, and neither restarts it.
func TestStale(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "old")
	create(t, s)
	first := job(t, s)
	p := pod(t, s)
	start(t, p)
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionStale, v1alpha1.ReasonUpToDate)
	s.Spec.Pod.NodeSelector = map[string]string{"disk": "fast"}
	if err := admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		if s.Status.ObservedGeneration != s.Generation {
			return fmt.Errorf("generation %d, observed %d", s.Generation, s.Status.ObservedGeneration)
		}
		return nil
	})
	if c := condition(t, s.Status, v1alpha1.ConditionStale); c.Status != metav1.ConditionFalse {
		t.Errorf("a node selector makes it stale: %+v", c)
	}
	s.Spec.Seed = 43
	if err := admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	got := becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionStale, v1alpha1.ReasonInputsChanged)
	if got.RunHash != first.Annotations[desired.AnnotationRunHash] || job(t, s).UID != first.UID {
		t.Error("the run did not keep what it was started with")
	}
	end(t, p, runconfig.ExitDone, result(t, s, "a"))
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionStale, v1alpha1.ReasonInputsChanged)
}

// A trained stage stays trained without its Job; an untrained one gets a new Job, after the last pod.
func TestDeletedJob(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "kept")
	create(t, s)
	first := job(t, s)
	p := pod(t, s)
	start(t, p)
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	background := client.PropagationPolicy(metav1.DeletePropagationBackground)
	if err := admin.Delete(t.Context(), first, background); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		waiting := becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonPodPending)
		if c := condition(t, waiting, v1alpha1.ConditionReady); c.Message != "waiting for pod "+p.Name+" of an earlier run to end" {
			return fmt.Errorf("Ready says %q", c.Message)
		}
		return nil
	})
	noJob(t, s)
	zero := int64(0) // the kubelet: the pod has ended
	if err := admin.Delete(t.Context(), p, &client.DeleteOptions{GracePeriodSeconds: &zero}); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	if second := job(t, s); second.UID == first.UID {
		t.Error("the Job is still the first")
	}
	finish(t, s, "a")
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	if err := admin.Delete(t.Context(), job(t, s), background); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		err := admin.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: desired.Name(s)}, &batchv1.Job{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the Job: %w", err)
		}
		return nil
	})
	time.Sleep(500 * time.Millisecond)
	noJob(t, s)
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
}

// What belongs to someone else is not touched, and is named: also where server-side apply would
// find no field to dispute.
func TestNameConflict(t *testing.T) {
	ns := namespace(t)
	meta := func(stage string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: ns, Name: stage + "-sft", Labels: map[string]string{"team": "theirs"}}
	}
	policy := &networkingv1.NetworkPolicy{ObjectMeta: meta("policy")}
	work := &batchv1.Job{ObjectMeta: meta("work")}
	work.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "x"}}}
	for kind, theirs := range map[string]client.Object{
		"ConfigMap":     &corev1.ConfigMap{ObjectMeta: meta("config"), Data: map[string]string{"other.yaml": "theirs"}},
		"NetworkPolicy": policy,
		"Job":           work,
	} {
		create(t, theirs)
		version := theirs.GetResourceVersion()
		s := sft(ns, strings.TrimSuffix(theirs.GetName(), "-sft"))
		create(t, s)
		got := becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonCreateFailed)
		if c := condition(t, got, v1alpha1.ConditionReady); !strings.HasPrefix(c.Message, fmt.Sprintf("%s %q is in the way", kind, theirs.GetName())) {
			t.Errorf("Ready says %q", c.Message)
		}
		wantEvents(t, s, "CreateFailed")
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs); err != nil {
			t.Fatal(err)
		}
		if kind != "Job" && theirs.GetResourceVersion() != version || len(theirs.GetOwnerReferences()) > 0 || len(theirs.GetLabels()) != 1 {
			t.Errorf("their %s is now %+v", kind, theirs)
		}
		// With it out of the way, the stage goes on by itself.
		if err := admin.Delete(t.Context(), theirs, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
			t.Fatal(err)
		}
		becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonPodPending)
	}
}

// A stage deleted and at once applied again is not stopped by what is still being collected.
func TestAppliedAgain(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "again")
	create(t, s)
	job(t, s)
	if err := admin.Delete(t.Context(), s, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	s = sft(ns, "again")
	create(t, s)
	eventually(t, func() error {
		if j := job(t, s); !metav1.IsControlledBy(j, s) {
			return fmt.Errorf("the Job is of %v, want %s", j.OwnerReferences, s.UID)
		}
		return nil
	})
	finish(t, s, "a")
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
}

func TestMetrics(t *testing.T) {
	ns := namespace(t)
	create(t, dpo(ns, "m", "missing"))
	eventually(t, func() error {
		families, err := registry.Gather()
		if err != nil {
			return err
		}
		for _, f := range families {
			for _, m := range f.Metric {
				if f.GetName() == "alignment_stages" && len(m.Label) == 2 && m.Label[0].GetValue() == "DPOJob" && m.Label[1].GetValue() == "Waiting" && m.Gauge.GetValue() >= 1 {
					return nil
				}
			}
		}
		return fmt.Errorf("no waiting DPOJob in %v", families)
	})
}

// wantEvents waits for the reasons of a stage's Events, each of them once.
func wantEvents(t *testing.T, stage v1alpha1.Stage, reasons ...string) {
	t.Helper()
	slices.Sort(reasons)
	eventually(t, func() error {
		var list eventsv1.EventList
		if err := admin.List(t.Context(), &list, client.InNamespace(stage.GetNamespace())); err != nil {
			return err
		}
		var got []string
		for _, e := range list.Items {
			if e.Regarding.UID == stage.GetUID() {
				got = append(got, e.Reason)
				if e.Series != nil {
					return fmt.Errorf("event %s came %d times", e.Reason, e.Series.Count)
				}
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, reasons) {
			return fmt.Errorf("events are %v, want %v", got, reasons)
		}
		return nil
	})
}
