package controllers_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// edit changes a stage as a user does: on what is there, again after a conflict.
func edit[S v1alpha1.Stage](t *testing.T, stage S, change func(S)) {
	t.Helper()
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(stage), stage); err != nil {
			return err
		}
		change(stage)
		return admin.Update(t.Context(), stage)
	})
}

// gone waits until an object is no more.
func gone(t *testing.T, obj client.Object) {
	t.Helper()
	eventually(t, func() error {
		err := admin.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("%T %s is still there (%w)", obj, obj.GetName(), err)
	})
}

// saveAndEnd waits until the Job's controller ends a pod, and does then what trainer and kubelet do.
func saveAndEnd(t *testing.T, p *corev1.Pod) {
	t.Helper()
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		if p.DeletionTimestamp == nil {
			return fmt.Errorf("pod %s lives", p.Name)
		}
		return nil
	})
	end(t, p, runconfig.ExitTerminated, `{"exitCode":143,"reason":"Interrupted","message":"saved at step 3"}`)
	if err := admin.Delete(t.Context(), p, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
}

// A suspended run saves and ends; resumed, the same Job goes on, and no restart is counted.
func TestSuspendAndResume(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "paused")
	create(t, s)
	p := pod(t, s)
	first := job(t, s)
	start(t, p)
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.Suspend = true })
	saveAndEnd(t, p)
	got := becomes(t, s, v1alpha1.PhaseSuspended, v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended)
	if c := condition(t, got, v1alpha1.ConditionReconciling); c.Status != metav1.ConditionFalse {
		t.Errorf("a suspended stage is Reconciling: %+v", c)
	}
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.Suspend = false })
	p = pod(t, s)
	start(t, p)
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionSuspended, v1alpha1.ReasonResumed)
	end(t, p, runconfig.ExitDone, result(t, s, "a"))
	got = becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	if got.Restarts != 0 || got.Disruptions != 0 || job(t, s).UID != first.UID {
		t.Errorf("%d restarts, %d disruptions, history %+v", got.Restarts, got.Disruptions, got.History)
	}
	if len(got.History) != 2 || got.History[0].Reason != v1alpha1.ReasonSuspended || got.History[1].Reason != runconfig.ReasonSucceeded {
		t.Errorf("history is %+v", got.History)
	}
	wantEvents(t, s, "Started", "Suspended", "Resumed", "Trained")
}

// A stage applied suspended has no Job, and holds no quota.
func TestCreatedSuspended(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "later")
	s.Spec.Suspend = true
	create(t, s)
	becomes(t, s, v1alpha1.PhaseSuspended, v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended)
	noJob(t, s)
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.Suspend = false })
	finish(t, s, "a")
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
}

// retrain: OnChange trains a changed stage anew, and then what was made from it.
func TestRetrain(t *testing.T) {
	ns := namespace(t)
	s, d := sft(ns, "base"), dpo(ns, "chat", "base")
	s.Spec.Retrain, d.Spec.Retrain = v1alpha1.RetrainOnChange, v1alpha1.RetrainOnChange
	create(t, s, d)
	finish(t, s, "a")
	finish(t, d, "b")
	first := becomes(t, d, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	if len(first.Lineage) != 1 || first.Lineage[0].Name != "base" || first.Lineage[0].Digest != digest("a") || len(first.Lineage[0].Inputs) != 2 {
		t.Errorf("lineage is %+v", first.Lineage)
	}

	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.Seed = 7 })
	becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonPodPending)
	finish(t, s, "c")
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionStale, v1alpha1.ReasonUpToDate)
	eventually(t, func() error { // the new Job, not the old one that is about to go
		if got := job(t, d).Annotations[desired.AnnotationRunHash]; got == first.RunHash {
			return fmt.Errorf("the Job is still that of run %.12s", got)
		}
		return nil
	})
	finish(t, d, "e")
	eventually(t, func() error {
		got := becomes(t, d, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		if got.Output.Digest != digest("e") || got.Inputs[0].Digest != digest("c") {
			return fmt.Errorf("output %+v of inputs %+v", got.Output, got.Inputs)
		}
		return nil
	})
	wantEvents(t, s, "Started", "Trained", "Retraining", "Started", "Trained")
}

// A checkpoint that was published before is adopted without a training pod.
func TestAdoptsWithoutTraining(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "again")
	create(t, s)
	finish(t, s, "a")
	first := becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	b, err := json.Marshal(runconfig.Result{
		Reason: runconfig.ReasonSucceeded, RunHash: first.RunHash, Adopted: true, Step: 10, TotalSteps: 10,
		Output: &runconfig.Artifact{Role: "checkpoint", URI: "pvc://anywhere", Digest: digest("a")},
		Inputs: []runconfig.Artifact{{Role: "train", URI: "pvc://data/train.jsonl", Digest: digest("d")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	published.Store(ns+"/again", string(b))
	if err := admin.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	gone(t, s)
	// Nothing collects garbage here.
	for _, name := range []string{"again-sft", "again-sft-lookup"} {
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
		if err := admin.Delete(t.Context(), j, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		gone(t, j)
	}
	s = sft(ns, "again")
	create(t, s)
	second := becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonAdopted)
	noJob(t, s)
	if *second.Output != *first.Output || second.RunHash != first.RunHash || second.Inputs[1].Digest != digest("d") || second.Attempts != 0 {
		t.Errorf("adopted %+v with inputs %+v, want %+v", second.Output, second.Inputs, first.Output)
	}
	time.Sleep(3 * progressInterval) // and it stays so
	noJob(t, s)
}

// The Job of a finished run goes when its time is over; the stage and its result stay, failed ones too.
func TestTTL(t *testing.T) {
	ns := namespace(t)
	ttl := int32(1)
	good, bad := sft(ns, "good"), sft(ns, "bad")
	good.Spec.TTLSecondsAfterFinished, bad.Spec.TTLSecondsAfterFinished = &ttl, &ttl
	create(t, good, bad)
	finish(t, good, "a")
	p := pod(t, bad)
	start(t, p)
	end(t, p, runconfig.ExitInvalid, `{"exitCode":2,"reason":"InvalidData","message":"train.jsonl:3: no text"}`)
	becomes(t, bad, v1alpha1.PhaseFailed, v1alpha1.ConditionReady, runconfig.ReasonInvalidData)
	for _, s := range []*v1alpha1.SFTJob{good, bad} {
		gone(t, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: desired.Name(s)}})
	}
	time.Sleep(3 * progressInterval)
	becomes(t, good, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	becomes(t, bad, v1alpha1.PhaseFailed, v1alpha1.ConditionReady, runconfig.ReasonInvalidData)
	noJob(t, bad)
	edit(t, bad, func(s *v1alpha1.SFTJob) { s.Spec.Seed = 8 }) // the next try
	finish(t, bad, "b")
	becomes(t, bad, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
}

// Kueue's part, played by hand: the Job begins suspended, is given nodes, admitted, evicted and admitted
// again, and the operator never writes over any of it.
func TestQueued(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "queued")
	s.Labels = map[string]string{desired.QueueLabel: "gpus", "team": "a"}
	create(t, s)
	admit := func(name string) *batchv1.Job {
		t.Helper()
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
		eventually(t, func() error {
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(j), j); err != nil {
				return err
			}
			if j.Spec.Suspend == nil || !*j.Spec.Suspend || j.Labels[desired.QueueLabel] != "gpus" || j.Labels["team"] != "" {
				return fmt.Errorf("Job %s has labels %v, suspend %v", name, j.Labels, j.Spec.Suspend)
			}
			j.Spec.Template.Spec.NodeSelector = map[string]string{"flavor": "h100"}
			j.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
			no := false
			j.Spec.Suspend = &no
			return admin.Update(t.Context(), j)
		})
		return j
	}
	becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonQueued)
	admit("queued-sft-lookup")
	eventually(t, func() error {
		return admin.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "queued-sft"}, &batchv1.Job{})
	})
	becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonQueued)
	admit("queued-sft")
	p := pod(t, s)
	if p.Spec.NodeSelector["flavor"] != "h100" {
		t.Errorf("the pod's node selector is %v", p.Spec.NodeSelector)
	}
	start(t, p)
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)

	// Preempted by Kueue: suspended from outside.
	j := job(t, s)
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(j), j); err != nil {
			return err
		}
		yes := true
		j.Spec.Suspend = &yes
		return admin.Update(t.Context(), j)
	})
	saveAndEnd(t, p)
	becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonQueued)
	time.Sleep(3 * progressInterval)
	if j = job(t, s); !*j.Spec.Suspend {
		t.Fatal("the operator resumed a Job that is Kueue's to resume")
	}
	admit("queued-sft")
	p = pod(t, s)
	start(t, p)
	end(t, p, runconfig.ExitDone, result(t, s, "a"))
	got := becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	if got.Restarts != 0 || got.Disruptions != 1 {
		t.Errorf("%d restarts and %d disruptions, history %+v", got.Restarts, got.Disruptions, got.History)
	}
}

// The podTemplate is in the pod, and a Job that has not begun follows it.
func TestPodTemplate(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "templated")
	s.Spec.PodTemplate = v1alpha1.PodTemplate{
		Metadata: v1alpha1.PodTemplateMetadata{Labels: map[string]string{"cost-centre": "7"}},
		Spec: v1alpha1.PodTemplateSpec{
			SchedulerName: "other",
			Volumes:       []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
			Containers: []corev1.Container{{
				Name: "trainer", Env: []corev1.EnvVar{{Name: "A", Value: "b"}},
				VolumeMounts: []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}},
			}},
		},
	}
	create(t, s)
	p := pod(t, s)
	c := p.Spec.Containers[0]
	if p.Labels["cost-centre"] != "7" || p.Spec.SchedulerName != "other" || len(p.Spec.Containers) != 1 || c.Env[0].Value != "b" ||
		len(c.VolumeMounts) < 4 || strings.Join(c.Args, " ") != "train --config "+runconfig.ConfigPath || !*c.SecurityContext.ReadOnlyRootFilesystem {
		t.Errorf("the pod is %+v", p.Spec)
	}
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.PodTemplate.Spec.SchedulerName = "third" })
	eventually(t, func() error {
		if got := pod(t, s).Spec.SchedulerName; got != "third" {
			return fmt.Errorf("the scheduler is %q", got)
		}
		return nil
	})
}

// A stage of another namespace is used when it is shared, through a claim of one's own.
func TestSharedAcrossNamespaces(t *testing.T) {
	home, away := namespace(t), newNamespace(t)
	s, d := sft(home, "base"), dpo(away, "chat", "base")
	d.Spec.Model.From.Namespace, d.Spec.Model.From.Claim = v1alpha1.NamespaceName(home), "mirror"
	create(t, s, d)
	finish(t, s, "a")
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	becomes(t, d, v1alpha1.PhaseWaiting, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamNotShared)
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.SharedWith = []v1alpha1.NamespaceName{v1alpha1.NamespaceName(away)} })
	finish(t, d, "b")
	got := becomes(t, d, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	if in := got.Inputs[0]; in.Digest != digest("a") || !strings.HasPrefix(in.URI, "pvc://mirror/"+home+"/base-sft/") || in.From.Namespace != home {
		t.Errorf("the input is %+v", in)
	}
}

// A run that exceeds its deadline fails, and goes on when that is raised.
func TestDeadline(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "slow")
	seconds := int64(2)
	s.Spec.ActiveDeadlineSeconds = &seconds
	create(t, s)
	p := pod(t, s)
	start(t, p)
	saveAndEnd(t, p)
	becomes(t, s, v1alpha1.PhaseFailed, v1alpha1.ConditionStalled, v1alpha1.ReasonDeadlineExceeded)
	seconds = 3600
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.ActiveDeadlineSeconds = &seconds })
	finish(t, s, "a")
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
}

// A Job of someone else's with the removal's name is left alone, and named, until it is gone.
func TestRemovalNameConflict(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "temporary")
	s.Spec.Output.DeletionPolicy = v1alpha1.DeletionDelete
	s.Spec.Suspend = true
	p := corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "x", Image: "x"}}}
	theirs := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "temporary-sft-remove"}}
	theirs.Spec.Template.Spec = p
	create(t, s, theirs)
	becomes(t, s, v1alpha1.PhaseSuspended, v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended)
	if err := admin.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		if c := condition(t, s.Status, v1alpha1.ConditionReady); !strings.Contains(c.Message, "is in the way") {
			return fmt.Errorf("Ready is %+v", c)
		}
		return nil
	})
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs); err != nil || len(theirs.OwnerReferences) != 0 {
		t.Fatalf("their Job is now %+v (%v)", theirs.ObjectMeta, err)
	}
	if err := admin.Delete(t.Context(), theirs, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	removal := pod(t, s)
	start(t, removal)
	end(t, removal, runconfig.ExitDone, `{"exitCode":0}`)
	gone(t, s)
}

// deletionPolicy Delete: the files are removed by a Job before the resource goes.
func TestDeletionPolicy(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "temporary")
	s.Spec.Output.DeletionPolicy = v1alpha1.DeletionDelete
	create(t, s)
	finish(t, s, "a")
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	if err := admin.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	removal := &batchv1.Job{}
	eventually(t, func() error {
		return admin.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "temporary-sft-remove"}, removal)
	})
	if want := "remove --folder " + runconfig.MountRoot + "/models/" + ns + "/temporary-sft"; strings.Join(removal.Spec.Template.Spec.Containers[0].Args, " ") != want {
		t.Errorf("the removal's arguments are %q, want %q", removal.Spec.Template.Spec.Containers[0].Args, want)
	}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil || s.Finalizers[0] != controllers.Finalizer {
		t.Fatalf("the stage did not wait for its removal: %v, %v", err, s.Finalizers)
	}
	p := pod(t, s)
	start(t, p)
	end(t, p, runconfig.ExitDone, `{"exitCode":0}`)
	gone(t, s)

	kept := sft(ns, "kept") // Retain has no finalizer to wait for
	create(t, kept)
	becomes(t, kept, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonPodPending)
	if len(kept.Finalizers) != 0 {
		t.Errorf("finalizers %v", kept.Finalizers)
	}
}
