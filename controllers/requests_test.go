package controllers_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// Namespaces that the package's operator leaves alone: each test of these runs one of its own there.
const (
	hoursNamespace    = "hours"
	faultsNamespace   = "faults"
	restartsNamespace = "restarts"
)

// notReserved selects what is in other namespaces.
func notReserved() fields.Selector {
	return fields.AndSelectors(
		fields.OneTermNotEqualSelector("metadata.namespace", hoursNamespace),
		fields.OneTermNotEqualSelector("metadata.namespace", faultsNamespace),
		fields.OneTermNotEqualSelector("metadata.namespace", restartsNamespace),
	)
}

// operatorIn runs an operator for one of those namespaces, as the same user as the package's. What it asks
// trainers for, it asks at interval; wrap sees its requests.
func operatorIn(t *testing.T, namespace string, interval time.Duration, wrap transport.WrapperFunc) {
	t.Helper()
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(runOperator(t, namespace, interval, wrap))
}

// runOperator is operatorIn for a namespace that is there; stop ends the operator.
func runOperator(t *testing.T, namespace string, interval time.Duration, wrap transport.WrapperFunc) (stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp4", "0.0.0.0:0") // every 127.x.y.z is a pod's address
	if err != nil {
		t.Fatal(err)
	}
	trainers := &http.Server{Handler: trainer, ReadHeaderTimeout: time.Second}
	go func() { _ = trainers.Serve(listener) }()
	cfg := rest.CopyConfig(adminCfg)
	cfg.Impersonate.UserName = operatorUser
	cfg.Wrap(wrap)
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     admin.Scheme(),
		Cache:      controllers.CacheOptions(namespace),
		Metrics:    server.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)}, // the names are the package's operator's
	})
	if err != nil {
		t.Fatal(err)
	}
	metrics := controllers.NewMetrics(mgr.GetClient(), mgr.Elected())
	if err := metrics.Register(prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := controllers.Setup(ctx, mgr, controllers.Options{
		Settings:         desired.Settings{TrainerImage: "example.com/trainer:test", OperatorNamespace: "alignment-system"},
		ProgressInterval: interval,
		Progress:         controllers.NewProgressReader(listener.Addr().(*net.TCPAddr).Port),
		Metrics:          metrics,
		Clock:            clock.RealClock{},
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = trainers.Close()
	}
}

// traffic is every request of the package's operator.
var traffic = &requestLog{}

// requestLog records requests and their answers as "PATCH /apis/... 200"; a watch as "WATCH ...".
type requestLog struct {
	mu  sync.Mutex
	log []string
}

func (l *requestLog) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		verb, answer := req.Method, "none"
		if p, ok := needs(req); ok && (p.verb == "list" || p.verb == "watch") {
			verb = strings.ToUpper(p.verb)
		}
		resp, err := next.RoundTrip(req)
		if err == nil {
			answer = fmt.Sprint(resp.StatusCode)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.log = append(l.log, verb+" "+req.URL.Path+" "+answer)
		return resp, err
	})
}

// in are the requests for a namespace, without the lists and watches that fill the cache.
func (l *requestLog) in(namespace string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []string
	for _, line := range l.log {
		if strings.Contains(line, "/namespaces/"+namespace+"/") && !strings.HasPrefix(line, "LIST ") && !strings.HasPrefix(line, "WATCH ") {
			list = append(list, line)
		}
	}
	return list
}

// Every request from create to Running, of a stage and of the one that waits for it, is one of those that
// docs/operations.md names. The operator's intervals are hours: what happens follows from an event.
func TestRequestsToRunning(t *testing.T) {
	needControlPlane(t)
	t.Parallel()
	const ns = hoursNamespace
	log := &requestLog{}
	operatorIn(t, ns, 5*time.Hour, log.wrap)
	s, d := sft(ns, "base"), dpo(ns, "chat", "base")
	d.Spec.Pod.Nodes = 2
	create(t, s, d)
	becomes(t, d, v1alpha1.PhaseWaiting, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamNotReady)
	p := pod(t, s)
	start(t, p)
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	wantRequests(t, log, s)

	end(t, p, 0, result(t, s, "a"))
	for _, p := range gang(t, d) { // the upstream is done: the child's Job is there without waiting for any timer
		start(t, p)
	}
	becomes(t, d, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	wantRequests(t, log, d)
	becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	silent(t, log, ns, func() {})
}

// wantRequests checks all that was asked for a stage until it runs.
func wantRequests(t *testing.T, log *requestLog, stage v1alpha1.Stage) {
	t.Helper()
	plural := strings.ToLower(string(stage.StageKind())) + "s"
	at := func(group, kind, name string) string {
		return group + "/namespaces/" + stage.GetNamespace() + "/" + kind + "/" + name
	}
	name := desired.Name(stage)
	status := "PATCH " + at("/apis/alignment.dev/v1alpha1", plural, stage.GetName()) + "/status"
	counts := map[string]int{}
	for _, line := range log.in(stage.GetNamespace()) {
		request, answer, _ := cutLast(line, " ")
		verb, path, _ := strings.Cut(request, " ")
		if _, object, _ := cutLast(strings.TrimSuffix(path, "/status"), "/"); object != stage.GetName() && !strings.HasPrefix(object, name) {
			continue // another's, or an Event
		}
		if request == status && answer == "409" {
			continue // made from a cache that was behind, it wrote nothing
		}
		if strings.Contains(path, "/jobs/") && verb == "GET" && answer == "200" {
			continue // so did this one: it finds that the Job is there
		}
		// An answer other than these makes the work queue try again after a while, which is a timer.
		if verb == "GET" && answer != "404" || verb == "PATCH" && answer != "200" && answer != "201" {
			t.Errorf("%s", line)
		}
		counts[request]++
	}
	if n := counts[status]; n < 1 || n > 3 {
		t.Errorf("%d writes of %s's status from create to Running, want 1 to 3", n, stage.GetName())
	}
	delete(counts, status)
	objects := []string{
		at("/api/v1", "configmaps", name), at("/apis/networking.k8s.io/v1", "networkpolicies", name),
		at("/apis/batch/v1", "jobs", name), at("/apis/batch/v1", "jobs", desired.LookupName(stage)),
	}
	if desired.Several(stage) {
		objects = append(objects, at("/api/v1", "services", name))
	}
	var want []string
	for _, o := range objects {
		want = append(want, "GET "+o, "PATCH "+o)
	}
	for _, w := range want {
		if counts[w] != 1 {
			t.Errorf("%d times %s, want once", counts[w], w)
		}
		delete(counts, w)
	}
	for request, n := range counts {
		t.Errorf("%d times %s, want none", n, request)
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// silent checks that nothing is asked of the API server for a namespace, during and after something.
func silent(t *testing.T, log *requestLog, namespace string, during func()) {
	t.Helper()
	// Events are sent apart, some time after what they tell of.
	quiet := func() []string {
		return slices.DeleteFunc(log.in(namespace), func(line string) bool { return strings.Contains(line, "/events") })
	}
	time.Sleep(2 * progressInterval)
	before := len(quiet())
	during()
	time.Sleep(4 * progressInterval)
	if after := quiet(); len(after) != before {
		t.Errorf("while nothing changed:\n%s", strings.Join(after[before:], "\n"))
	}
}

// A trained, a waiting, a failed and a suspended stage, and one that runs and is at the same step as before,
// cause no request, also when an event makes the operator look at them.
func TestSilence(t *testing.T) {
	ns := namespace(t)
	trained, failed, running, suspended := sft(ns, "trained"), sft(ns, "failed"), sft(ns, "running"), sft(ns, "suspended")
	waiting := dpo(ns, "waiting", "running")
	suspended.Spec.Suspend = true
	create(t, trained, failed, running, suspended, waiting)
	finish(t, trained, "a")
	p := pod(t, failed)
	start(t, p)
	end(t, p, 2, `{"exitCode":2,"reason":"InvalidData","message":"train.jsonl:17: column prompt is missing"}`)
	const ip = "127.0.7.2"
	told := func(eta, tokens int) {
		trainer.set(ip, fmt.Sprintf(`{"phase":"Training","step":30,"totalSteps":120,"etaSeconds":%d,"tokensPerSecond":%d,"metrics":{"loss":4.26}}`, eta, tokens))
	}
	told(100, 900)
	p = pod(t, running)
	startAt(t, p, ip)
	becomes(t, trained, v1alpha1.PhaseSucceeded, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	becomes(t, failed, v1alpha1.PhaseFailed, v1alpha1.ConditionStalled, "InvalidData")
	becomes(t, running, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	becomes(t, suspended, v1alpha1.PhaseSuspended, v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended)
	becomes(t, waiting, v1alpha1.PhaseWaiting, v1alpha1.ConditionInputsResolved, v1alpha1.ReasonUpstreamNotReady)
	silent(t, traffic, ns, func() {
		told(99, 903) // only its estimates are others
		for _, stage := range []v1alpha1.Stage{trained, failed, running} {
			j := job(t, stage)
			base := j.DeepCopy()
			j.Labels["touched"] = "yes"
			if err := admin.Patch(t.Context(), j, client.MergeFrom(base)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
