package controllers_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

var seedFlag = flag.Uint64("seed", 0, "draws the faults of TestFaults; 0 takes a new one")

// What goes wrong, of a hundred requests.
const (
	lostRequests = 4 // never arrive, or only their answers do not
	lostAnswers  = 4
	refusals     = 6 // are answered with an error of the server's
	conflicts    = 4 // with another's write that was first
	lostWatches  = 70
)

// faults is a network and an API server on a bad day.
type faults struct {
	mu      sync.Mutex
	draw    *rand.Rand
	counts  map[string]int // of each fault
	created map[string]int // objects, by path
}

func (f *faults) intn(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.draw.IntN(n)
}

func (f *faults) count(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[what]++
}

// timeout is what a client sees of a request that is not answered.
type timeout struct{}

func (timeout) Error() string   { return "the network lost it" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

func (f *faults) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		p, ok := needs(req)
		if !ok {
			return next.RoundTrip(req) // discovery, once at the start
		}
		fault := f.intn(100)
		if fault -= lostRequests; fault < 0 {
			f.count("lost requests")
			return nil, timeout{}
		}
		if fault -= refusals; fault < 0 {
			code := []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusGatewayTimeout}[f.intn(4)]
			f.count(fmt.Sprintf("answers %d", code))
			return answer(req, code, metav1.StatusReasonUnknown), nil
		}
		if fault -= conflicts; fault < 0 && req.Method != http.MethodGet {
			f.count("conflicts")
			return answer(req, http.StatusConflict, metav1.StatusReasonConflict), nil
		}
		resp, err := next.RoundTrip(req)
		if err != nil {
			return resp, err
		}
		if resp.StatusCode == http.StatusCreated {
			f.mu.Lock()
			f.created[req.URL.Path]++
			f.mu.Unlock()
		}
		if p.verb == "watch" {
			f.spoil(resp)
		} else if fault -= lostAnswers; fault < 0 {
			f.count("lost answers")
			resp.Body.Close()
			return nil, timeout{}
		}
		return resp, nil
	})
}

func answer(req *http.Request, code int, reason metav1.StatusReason) *http.Response {
	body, _ := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: "a fault of the test",
	})
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(string(body))), ContentLength: int64(len(body)),
	}
}

// spoil delays what a watch tells, so that the cache is behind, and ends most of them early.
func (f *faults) spoil(resp *http.Response) {
	body := resp.Body
	if f.intn(100) < lostWatches {
		f.count("lost watches")
		time.AfterFunc(time.Second+time.Duration(f.intn(4000))*time.Millisecond, func() { body.Close() })
	}
	resp.Body = &late{body, f}
}

type late struct {
	io.ReadCloser
	f *faults
}

func (l *late) Read(b []byte) (int, error) {
	n, err := l.ReadCloser.Read(b)
	if l.f.intn(3) == 0 {
		time.Sleep(time.Duration(l.f.intn(300)) * time.Millisecond)
	}
	return n, err
}

// TestFaults brings pipelines to their end while requests, answers and watches are lost, refused and late. The
// end is that of the same pipelines under an operator that nothing happens to, with no Job made twice.
func TestFaults(t *testing.T) {
	ns := namespace(t) // the calm one
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	f := &faults{draw: rand.New(rand.NewPCG(seed, 0)), counts: map[string]int{}, created: map[string]int{}}
	operatorIn(t, faultsNamespace, time.Second, f.wrap)
	for _, n := range []string{ns, faultsNamespace} {
		k := &kubelet{t: t, namespace: n}
		k.run()
		create(t, pipelines(n)...)
	}
	w := watchStages(t, faultsNamespace)
	want := outcomes(t, ns, time.Minute)
	got := outcomes(t, faultsNamespace, 3*time.Minute)
	w.check()
	for name, outcome := range want {
		if got[name] != outcome {
			t.Errorf("%s ended as\n%s\nwant\n%s", name, got[name], outcome)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.Logf("faults: %v", f.counts)
	for _, kind := range []string{"lost requests", "lost answers", "conflicts", "lost watches", "answers 500", "answers 503"} {
		if f.counts[kind] == 0 {
			t.Errorf("no %s: the test has tested nothing", kind)
		}
	}
	made := 0
	for path, n := range f.created {
		if !strings.Contains(path, "/jobs/") {
			continue
		}
		jobs := 1
		if strings.HasSuffix(path, "-simpo") { // of several pods, which a Job each tries
			jobs = 2
		}
		if made++; n != jobs {
			t.Errorf("%s was created %d times, want %d", path, n, jobs)
		}
	}
	if made != 2*len(want) { // a lookup and a run each
		t.Errorf("%d Jobs were created, want %d", made, 2*len(want))
	}
}

// pipelines are some, each of five stages.
func pipelines(namespace string) (stages []client.Object) {
	for i := range 4 {
		name := fmt.Sprintf("p%d", i)
		simpo := &v1alpha1.SimPOJob{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       v1alpha1.SimPOJobSpec{Model: stageSource(v1alpha1.SFTJobKind, name), StageSpec: stageSpec()},
		}
		simpo.Spec.Pod.Nodes = 2
		stages = append(stages, ppo(namespace, name, name, name), rm(namespace, name, name), dpo(namespace, name, name), simpo, sft(namespace, name))
	}
	return stages
}

// kubelet runs the pods of a namespace: each trains for a moment and publishes. The first pod of a
// RewardModelJob fails and that of a DPOJob is disrupted; of a SimPOJob's first two, the second is killed.
type kubelet struct {
	t         *testing.T
	namespace string
	addresses int
}

func (k *kubelet) run() {
	ctx, cancel := context.WithCancel(k.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
			var list corev1.PodList
			if err := admin.List(ctx, &list, client.InNamespace(k.namespace), client.HasLabels{desired.LabelKind}); err != nil {
				continue
			}
			for i := range list.Items {
				if p := &list.Items[i]; !lookup(p) {
					_ = k.advance(ctx, p, list.Items) // the next round tries again
				}
			}
		}
	}()
	k.t.Cleanup(func() { cancel(); <-done })
}

func (k *kubelet) advance(ctx context.Context, p *corev1.Pod, all []corev1.Pod) error {
	container := func(state corev1.ContainerState) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: desired.Container, Image: "x", ImageID: "x", State: state}}
	}
	if p.DeletionTimestamp != nil && p.Spec.NodeName != "" { // it has saved, if it ran
		return admin.Delete(ctx, p, client.GracePeriodSeconds(0))
	}
	switch p.Status.Phase {
	case corev1.PodPending:
		if p.Spec.NodeName == "" {
			binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node"}}
			return admin.SubResource("binding").Create(ctx, p, binding)
		}
		k.addresses++
		ip := fmt.Sprintf("127.%d.%d.%d", len(k.namespace), k.addresses/250, k.addresses%250+1)
		trainer.set(ip, `{"phase":"Training","step":5,"totalSteps":10,"metrics":{"loss":2}}`)
		p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
		container(corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}})
	case corev1.PodRunning:
		began := p.Status.ContainerStatuses[0].State.Running.StartedAt
		if time.Since(began.Time) < 3*time.Second { // as a time in an object is one of whole seconds, two at least
			return nil
		}
		first := !slices.ContainsFunc(all, func(o corev1.Pod) bool {
			return o.Labels[batchv1.JobNameLabel] == p.Labels[batchv1.JobNameLabel] && o.CreationTimestamp.Before(&p.CreationTimestamp)
		})
		code, message, reason := 0, "", "Completed"
		switch kind := v1alpha1.StageKind(p.Labels[desired.LabelKind]); {
		case first && kind == v1alpha1.RewardModelJobKind:
			code, reason, message = runconfig.ExitError, "Error", `{"exitCode":1,"reason":"Error","message":"connection lost"}`
		case first && kind == v1alpha1.DPOJobKind:
			code, reason = runconfig.ExitTerminated, "Error"
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI"})
		default:
			after, result, err := k.result(ctx, p)
			if err != nil {
				return err
			}
			message = result
			if kind == v1alpha1.SimPOJobKind && after == "" {
				if p.Annotations[batchv1.JobCompletionIndexAnnotation] == "0" {
					return nil // it waits for the other
				}
				code, reason, message = 137, "Error", ""
			}
		}
		p.Status.Phase = corev1.PodFailed
		if code == 0 {
			p.Status.Phase = corev1.PodSucceeded
		}
		container(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: int32(code), Reason: reason, Message: message, StartedAt: began, FinishedAt: metav1.Now(),
		}})
	default:
		return nil
	}
	return admin.Status().Update(ctx, p)
}

// result is a checkpoint whose digest follows from the run's; after is of the pod's Job.
func (k *kubelet) result(ctx context.Context, p *corev1.Pod) (after, result string, err error) {
	var j batchv1.Job
	if err := admin.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: p.Labels[batchv1.JobNameLabel]}, &j); err != nil {
		return "", "", err
	}
	hash := j.Annotations[desired.AnnotationRunHash]
	b, err := json.Marshal(runconfig.Result{
		Reason: runconfig.ReasonSucceeded, RunHash: hash,
		Output: &runconfig.Artifact{Role: "checkpoint", URI: "pvc://anywhere", Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(hash)))},
		Inputs: []runconfig.Artifact{{Role: "train", URI: "pvc://data/train.jsonl", Digest: digest("d")}},
		Step:   10, TotalSteps: 10, Tokens: 1000, Seconds: 2, Metrics: map[string]float64{"loss": 1, "eval_loss": 1.5},
	})
	return j.Annotations[desired.AnnotationAfter], string(b), err
}

// outcomes waits until all stages of a namespace are trained and tells how they ended: all of their status
// but times and what others named.
func outcomes(t *testing.T, namespace string, limit time.Duration) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		ended := map[string]string{}
		var missing []string
		for _, stage := range allStages(ctx, t, namespace) {
			name := string(stage.StageKind()) + " " + stage.GetName()
			s := *stage.StageStatus()
			if s.Phase != v1alpha1.PhaseSucceeded {
				ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
				missing = append(missing, fmt.Sprintf("%s is %q: %+v", name, s.Phase, ready))
			}
			ended[name] = outcome(t, s, namespace)
		}
		if len(missing) == 0 && len(ended) > 0 {
			return ended
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %s:\n%s", limit, strings.Join(missing, "\n"))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func outcome(t *testing.T, s v1alpha1.StageStatus, namespace string) string {
	t.Helper()
	s = *s.DeepCopy()
	s.StartTime, s.CompletionTime = nil, nil
	for i := range s.Conditions {
		s.Conditions[i].LastTransitionTime = metav1.Time{}
	}
	for i, a := range s.History {
		s.History[i] = v1alpha1.Attempt{Node: a.Node, ExitCode: a.ExitCode, Reason: a.Reason}
	}
	for i := range s.Inputs {
		if from := s.Inputs[i].From; from != nil {
			from.UID = ""
		}
	}
	if s.Progress != nil {
		s.Progress.UpdatedAt = metav1.Time{}
	}
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), namespace, "NAMESPACE")
}

// allStages are those of a namespace, of every kind; none if they cannot be listed.
func allStages(ctx context.Context, t *testing.T, namespace string) (all []v1alpha1.Stage) {
	t.Helper()
	for _, kind := range v1alpha1.StageKinds {
		list := v1alpha1.NewStageList(kind)
		if err := admin.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil
		}
		all = append(all, list.Stages()...)
	}
	return all
}

// witness looks at the statuses of a namespace all the time, for one that lies.
type witness struct {
	t    *testing.T
	stop func()
	seen map[string]v1alpha1.StageStatus
	lies map[string]bool
}

func watchStages(t *testing.T, namespace string) *witness {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	w := &witness{t: t, seen: map[string]v1alpha1.StageStatus{}, lies: map[string]bool{}}
	w.stop = func() { cancel(); <-done }
	t.Cleanup(w.stop)
	go func() {
		defer close(done)
		for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			for _, stage := range allStages(ctx, t, namespace) {
				w.look(stage)
			}
		}
	}()
	return w
}

func (w *witness) look(stage v1alpha1.Stage) {
	name := string(stage.StageKind()) + " " + stage.GetName()
	was, is := w.seen[name], *stage.StageStatus().DeepCopy()
	w.seen[name] = is
	lie := func(when bool, what string) {
		if when {
			w.lies[fmt.Sprintf("%s: %s: %s after %s", name, what, is.Phase, was.Phase)] = true
		}
	}
	ready := meta.IsStatusConditionTrue(is.Conditions, v1alpha1.ConditionReady)
	lie(ready != (is.Output != nil && is.Output.Digest != ""), "Ready without a checkpoint, or the other way round")
	lie(ready != (is.Phase == v1alpha1.PhaseSucceeded), "Ready and phase differ")
	lie(was.Phase == v1alpha1.PhaseSucceeded && !ready, "was trained, and is not")
	lie(was.RunHash != "" && is.RunHash != "" && is.RunHash != was.RunHash, "the run is another")
	lie(is.Attempts < was.Attempts || is.Restarts < was.Restarts || is.Disruptions < was.Disruptions, "attempts were forgotten")
	lie(is.ObservedGeneration > stage.GetGeneration(), "a generation that is not there yet")
}

// check tells of all lies so far.
func (w *witness) check() {
	w.t.Helper()
	w.stop()
	for _, lie := range slices.Sorted(maps.Keys(w.lies)) {
		w.t.Error(lie)
	}
}
