package controllers_test

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

const rankLost = `{"exitCode":1,"reason":"RankLost","message":"rank 1 (node 1, process 0) was killed by signal 9 (killed)"}`

// nodes is a stage of two pods.
func nodes(namespace, name string) *v1alpha1.SFTJob {
	s := sft(namespace, name)
	s.Spec.Pod.Nodes = 2
	return s
}

// gang waits for the two live pods of a stage's Job, in the order of their indices.
func gang(t *testing.T, stage v1alpha1.Stage) (pods [2]*corev1.Pod) {
	t.Helper()
	eventually(t, func() error {
		var list corev1.PodList
		if err := admin.List(t.Context(), &list, client.InNamespace(stage.GetNamespace()), client.MatchingLabels(desired.Labels(stage))); err != nil {
			return err
		}
		var live []*corev1.Pod
		for i := range list.Items {
			if p := &list.Items[i]; !lookup(p) && p.DeletionTimestamp == nil && (p.Status.Phase == corev1.PodPending || p.Status.Phase == corev1.PodRunning) {
				live = append(live, p)
			}
		}
		slices.SortFunc(live, func(a, b *corev1.Pod) int {
			return cmp.Compare(a.Annotations[batchv1.JobCompletionIndexAnnotation], b.Annotations[batchv1.JobCompletionIndexAnnotation])
		})
		if len(live) != 2 || live[0].Annotations[batchv1.JobCompletionIndexAnnotation] == live[1].Annotations[batchv1.JobCompletionIndexAnnotation] {
			return fmt.Errorf("%d live pods, of %d", len(live), len(list.Items))
		}
		pods = [2]*corev1.Pod(live)
		return nil
	})
	return pods
}

func startGang(t *testing.T, stage v1alpha1.Stage) [2]*corev1.Pod {
	t.Helper()
	pods := gang(t, stage)
	for _, p := range pods {
		start(t, p)
	}
	becomes(t, stage, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	return pods
}

// follow ends a pod that the Job's controller deletes, because another has ended.
func follow(t *testing.T, p *corev1.Pod, code int, message string) {
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
	end(t, p, code, message)
	if err := admin.Delete(t.Context(), p, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
}

// nextJob waits until a stage's Job is another.
func nextJob(t *testing.T, stage v1alpha1.Stage, old *batchv1.Job) *batchv1.Job {
	t.Helper()
	var next *batchv1.Job
	eventually(t, func() error {
		if next = job(t, stage); next.UID == old.UID {
			return fmt.Errorf("Job %s is the old one", old.Name)
		}
		return nil
	})
	return next
}

// A rank that is killed ends its attempt, which is told of by name; the next one is another Job, until no more may fail.
func TestNodes(t *testing.T) {
	ns := namespace(t)
	s := nodes(ns, "pair")
	create(t, s)
	first := job(t, s)
	if *first.Spec.Completions != 2 || *first.Spec.Parallelism != 2 || *first.Spec.BackoffLimit != 0 {
		t.Errorf("the Job is %+v", first.Spec)
	}
	var service corev1.Service
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(first), &service); err != nil {
		t.Fatal(err)
	}
	pods := startGang(t, s)
	if pods[0].Spec.Hostname != "pair-sft-0" || pods[0].Spec.Subdomain != service.Name || service.Spec.ClusterIP != corev1.ClusterIPNone || !service.Spec.PublishNotReadyAddresses {
		t.Errorf("pod 0 is %s in %s, the Service %+v", pods[0].Spec.Hostname, pods[0].Spec.Subdomain, service.Spec)
	}
	end(t, pods[1], 137, "")
	eventually(t, func() error { // before the other has ended
		got := condition(t, becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonRestarting), v1alpha1.ConditionReady)
		if want := fmt.Sprintf("attempt 1 of 2 ended; the next one resumes when pod %s on node node has ended: pod %s (rank 1, on node node): the trainer ended with exit code 137", pods[0].Name, pods[1].Name); got.Message != want {
			return fmt.Errorf("Ready says %q, want %q", got.Message, want)
		}
		return nil
	})
	follow(t, pods[0], runconfig.ExitError, rankLost)
	second := nextJob(t, s, first)

	pods2 := startGang(t, s)
	got := becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	if got.Attempts != 2 || got.Restarts != 1 || got.Disruptions != 0 || !got.StartTime.Equal(&first.CreationTimestamp) || len(got.History) != 2 {
		t.Fatalf("%d attempts, %d restarts, %d disruptions, since %v, history %+v", got.Attempts, got.Restarts, got.Disruptions, got.StartTime, got.History)
	}
	if a := got.History[0]; a.Pod != pods[0].Name || a.FailedPod != pods[1].Name || *a.ExitCode != 137 || a.EndTime == nil {
		t.Errorf("the first attempt is %+v", a)
	}
	if a := got.History[1]; a.Pod != pods2[0].Name || a.FailedPod != "" || a.EndTime != nil {
		t.Errorf("the second attempt is %+v", a)
	}

	// Its process, not its pod, was killed: all trainers end, and say which it was.
	end(t, pods2[0], runconfig.ExitError, rankLost)
	end(t, pods2[1], runconfig.ExitError, rankLost)
	got = becomes(t, s, v1alpha1.PhaseFailed, v1alpha1.ConditionStalled, runconfig.ReasonRankLost)
	if c := condition(t, got, v1alpha1.ConditionReady); !strings.Contains(c.Message, pods2[1].Name+" (rank 1, on node node): rank 1 (node 1, process 0) was killed by signal 9") {
		t.Errorf("Ready is %+v", c)
	}
	if a := got.History[1]; got.Restarts != 1 || got.Attempts != 2 || a.FailedPod != pods2[1].Name || a.Reason != runconfig.ReasonRankLost {
		t.Errorf("%d attempts, %d restarts, history %+v", got.Attempts, got.Restarts, got.History)
	}
	wantEvents(t, s, "Started", "AttemptFailed", "Restarted", "RankLost")
	time.Sleep(3 * progressInterval)
	if j := job(t, s); j.UID != second.UID {
		t.Error("a failed run was tried again")
	}
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.MaxRestarts = 3 }) // the next try
	nextJob(t, s, second)
	pods = startGang(t, s)
	end(t, pods[1], 0, `{"exitCode":0,"reason":"Succeeded","message":"rank 0 has the result"}`)
	end(t, pods[0], 0, result(t, s, "a"))
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
}

// A drained node ends the attempt and does not count; invalid input is not tried again.
func TestNodesDisruptedAndInvalid(t *testing.T) {
	ns := namespace(t)
	s := nodes(ns, "moved")
	s.Spec.MaxRestarts = 0
	create(t, s)
	first := job(t, s)
	pods := startGang(t, s)
	pods[1].Status.Conditions = append(pods[1].Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI"})
	end(t, pods[1], runconfig.ExitTerminated, `{"exitCode":143,"reason":"Interrupted","message":"saved at step 3"}`)
	follow(t, pods[0], runconfig.ExitTerminated, `{"exitCode":143,"reason":"Interrupted","message":"saved at step 3"}`)
	second := nextJob(t, s, first)
	pods2 := startGang(t, s)
	got := becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	if a := got.History[0]; got.Disruptions != 1 || got.Restarts != 0 || got.Attempts != 1 || a.FailedPod != pods[1].Name || a.Reason != "EvictionByEvictionAPI" {
		t.Errorf("%d attempts, %d restarts, %d disruptions, history %+v", got.Attempts, got.Restarts, got.Disruptions, got.History)
	}
	wantEvents(t, s, "Started", "Disrupted")
	end(t, pods2[0], runconfig.ExitInvalid, `{"exitCode":2,"reason":"InvalidData","message":"train.jsonl:3: no text"}`)
	follow(t, pods2[1], runconfig.ExitTerminated, "")
	got = becomes(t, s, v1alpha1.PhaseFailed, v1alpha1.ConditionStalled, runconfig.ReasonInvalidData)
	if got.Disruptions != 1 || job(t, s).UID != second.UID {
		t.Errorf("%d disruptions, history %+v", got.Disruptions, got.History)
	}
}

// Suspension ends both pods, and the same Job goes on.
func TestNodesSuspended(t *testing.T) {
	ns := namespace(t)
	s := nodes(ns, "paused")
	create(t, s)
	first := job(t, s)
	pods := startGang(t, s)
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.Suspend = true })
	saveAndEnd(t, pods[1])
	saveAndEnd(t, pods[0])
	becomes(t, s, v1alpha1.PhaseSuspended, v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended)
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.Suspend = false })
	pods = startGang(t, s)
	end(t, pods[0], 0, result(t, s, "a"))
	end(t, pods[1], 0, "")
	got := becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	if got.Restarts != 0 || got.Disruptions != 0 || job(t, s).UID != first.UID || len(got.History) != 2 || got.History[0].Reason != v1alpha1.ReasonSuspended {
		t.Errorf("%d restarts, %d disruptions, history %+v", got.Restarts, got.Disruptions, got.History)
	}
}

// Kueue admits and preempts all pods at once; the Job of the next attempt begins suspended again.
func TestNodesQueued(t *testing.T) {
	ns := namespace(t)
	s := nodes(ns, "queued")
	s.Labels = map[string]string{desired.QueueLabel: "gpus"}
	create(t, s)
	suspend := func(name string, is bool) *batchv1.Job {
		t.Helper()
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
		eventually(t, func() error {
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(j), j); err != nil {
				return err
			}
			if j.Spec.Suspend == nil || *j.Spec.Suspend == is {
				return fmt.Errorf("Job %s has suspend %v", name, j.Spec.Suspend)
			}
			j.Spec.Suspend = &is
			return admin.Update(t.Context(), j)
		})
		return j
	}
	suspend("queued-sft-lookup", false)
	first := suspend("queued-sft", false)
	pods := startGang(t, s)
	suspend("queued-sft", true)
	saveAndEnd(t, pods[0])
	saveAndEnd(t, pods[1])
	becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonQueued)
	suspend("queued-sft", false)
	pods = startGang(t, s)
	end(t, pods[1], 137, "")
	follow(t, pods[0], runconfig.ExitError, rankLost)
	nextJob(t, s, first)
	becomes(t, s, v1alpha1.PhasePending, v1alpha1.ConditionReady, v1alpha1.ReasonQueued)
	suspend("queued-sft", false)
	startGang(t, s)
	got := becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	if got.Disruptions != 1 || got.Restarts != 1 || got.Attempts != 2 || len(got.History) != 3 || got.History[1].FailedPod != pods[1].Name {
		t.Errorf("%d attempts, %d restarts, %d disruptions, history %+v", got.Attempts, got.Restarts, got.Disruptions, got.History)
	}
}

// The spec may change between attempts: where the pods run, at once; what they train, never by itself.
func TestNodesChangedMeanwhile(t *testing.T) {
	ns := namespace(t)
	s := nodes(ns, "changed")
	create(t, s)
	first := job(t, s)
	pods := startGang(t, s)
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.Seed = 7 })
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionStale, v1alpha1.ReasonInputsChanged)
	end(t, pods[1], 137, "")
	follow(t, pods[0], runconfig.ExitError, rankLost)
	got := becomes(t, s, v1alpha1.PhaseFailed, v1alpha1.ConditionReady, v1alpha1.ReasonInputsChanged)
	if got.Restarts != 1 || job(t, s).UID != first.UID {
		t.Errorf("%d restarts, history %+v", got.Restarts, got.History)
	}
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.Seed = 42 })
	second := nextJob(t, s, first)
	gang(t, s) // they do not start
	edit(t, s, func(s *v1alpha1.SFTJob) { s.Spec.Pod.NodeSelector = map[string]string{"pool": "b"} })
	third := nextJob(t, s, second)
	if third.Spec.Template.Spec.NodeSelector["pool"] != "b" {
		t.Errorf("the next Job is %+v", third.Spec.Template.Spec)
	}
	startGang(t, s)
	got = becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	if got.Restarts != 1 || got.Attempts != 2 || len(got.History) != 2 || got.RunHash != first.Annotations[desired.AnnotationRunHash] {
		t.Errorf("%d attempts, %d restarts, history %+v", got.Attempts, got.Restarts, got.History)
	}
}

// An operator that ends at any moment of the change from one attempt to the next loses none and makes none twice.
func TestNodesOperatorRestarts(t *testing.T) {
	needControlPlane(t)
	t.Parallel()
	const ns = restartsNamespace
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
		t.Fatal(err)
	}
	for _, last := range []string{"status", "delete", "create"} {
		s := nodes(ns, "after-"+last)
		var jobs, armed atomic.Int32
		crash := make(chan struct{}, 1)
		wrap := func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(req)
				if err != nil {
					return resp, err
				}
				own := strings.HasSuffix(req.URL.Path, "/jobs/"+desired.Name(s))
				if own && req.Method == http.MethodPatch && resp.StatusCode == http.StatusCreated {
					jobs.Add(1)
				}
				now := false
				switch last {
				case "status":
					now = req.Method == http.MethodPatch && strings.HasSuffix(req.URL.Path, "/"+s.Name+"/status")
				case "delete":
					now = own && req.Method == http.MethodDelete
				case "create":
					now = own && req.Method == http.MethodPatch
				}
				if now && resp.StatusCode < 300 && armed.CompareAndSwap(1, 2) {
					crash <- struct{}{}
					resp.Body.Close()
					<-req.Context().Done() // it never learns of the answer
					return nil, req.Context().Err()
				}
				return resp, nil
			})
		}
		stop := runOperator(t, ns, time.Second, wrap)
		create(t, s)
		first := job(t, s)
		pods := startGang(t, s)
		armed.Store(1)
		end(t, pods[1], 137, "")
		follow(t, pods[0], runconfig.ExitError, rankLost)
		select {
		case <-crash:
		case <-time.After(30 * time.Second):
			t.Fatalf("after the %s: it did not come", last)
		}
		stop()
		stop = runOperator(t, ns, time.Second, wrap)
		nextJob(t, s, first)
		pods = startGang(t, s)
		end(t, pods[1], 0, "")
		end(t, pods[0], 0, result(t, s, "a"))
		got := becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		if got.Restarts != 1 || got.Attempts != 2 || got.Disruptions != 0 || len(got.History) != 2 || jobs.Load() != 2 {
			t.Errorf("after the %s: %d Jobs, %d attempts, %d restarts, %d disruptions, history %+v", last, jobs.Load(), got.Attempts, got.Restarts, got.Disruptions, got.History)
		}
		stop()
	}
}
