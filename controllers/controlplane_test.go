package controllers_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/alignment-dev/alignment-operator/controllers"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// The control plane that all tests of this package share: a real etcd, kube-apiserver and
// kube-controller-manager (Jobs and garbage collection), and the operator in this process with
// the permissions of config/rbac and no more. Only the kubelet is missing: see kubelet_test.go.
var (
	admin    client.Client        // may do everything
	adminCfg *rest.Config         // the same, for requests that no client makes
	writes   = &writeLog{}        // what the operator writes
	trainer  = &fakeTrainer{}     // answers /progress of every pod
	registry *prometheus.Registry // of the operator
)

const progressInterval = time.Second

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "control plane:", err)
		code = 1
	}
	os.Exit(code)
}

// needControlPlane skips a test where there is no control plane; in CI there must be one.
func needControlPlane(t *testing.T) {
	t.Helper()
	if admin == nil {
		t.Skip("KUBEBUILDER_ASSETS is not set: `make test` sets it to the local cluster's binaries")
	}
}

func runTests(m *testing.M) (code int, err error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			return 1, fmt.Errorf("KUBEBUILDER_ASSETS is not set, and CI is: the integration tests must run")
		}
		return m.Run(), nil
	}
	ctrl.SetLogger(logr.Discard())
	if os.Getenv("VERBOSE") != "" {
		ctrl.SetLogger(funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{Verbosity: 1}))
	}
	env := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	env.ControlPlane.GetAPIServer().Configure().Append("enable-admission-plugins", "OwnerReferencesPermissionEnforcement")
	cfg, err := env.Start()
	if err != nil {
		return 1, err
	}
	stops := []func() error{env.Stop}
	defer func() {
		for i := len(stops) - 1; i >= 0; i-- {
			if serr := stops[i](); serr != nil && err == nil {
				err = serr
			}
		}
	}()
	scheme, err := controllers.Scheme()
	if err != nil {
		return 1, err
	}
	cfg.QPS, cfg.Burst = 500, 500
	adminCfg = cfg
	if admin, err = client.New(cfg, client.Options{Scheme: scheme}); err != nil {
		return 1, err
	}
	stopKCM, err := startControllerManager(env, cfg)
	if err != nil {
		return 1, err
	}
	stops = append(stops, stopKCM)
	listener, err := net.Listen("tcp4", "0.0.0.0:0") // every 127.x.y.z is a pod's address
	if err != nil {
		return 1, err
	}
	trainers := &http.Server{Handler: trainer, ReadHeaderTimeout: time.Second}
	go func() { _ = trainers.Serve(listener) }()
	stops = append(stops, trainers.Close)
	stopOperator, err := startOperator(env, cfg, listener.Addr().(*net.TCPAddr).Port)
	if err != nil {
		return 1, err
	}
	stops = append(stops, stopOperator)
	ctx, stopLookups := context.WithCancel(context.Background())
	defer stopLookups()
	go answerLookups(ctx)
	return checkPermissions(m.Run())
}

// startControllerManager runs the two controllers that the operator relies on.
func startControllerManager(env *envtest.Environment, cfg *rest.Config) (stop func() error, err error) {
	user, err := env.AddUser(envtest.User{Name: "controller-manager", Groups: []string{"system:masters"}}, cfg)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "controller-manager")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		return nil, err
	}
	var log strings.Builder
	cmd := exec.Command(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kube-controller-manager"),
		"--kubeconfig="+file, "--leader-elect=false", "--secure-port=0",
		"--controllers=job-controller,garbage-collector-controller")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		_ = cmd.Process.Signal(os.Interrupt)
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
		if os.Getenv("VERBOSE") != "" {
			fmt.Fprintln(os.Stderr, log.String())
		}
		return os.RemoveAll(dir)
	}, nil
}

// operatorUser is the operator's, with the permissions of config/rbac.
const operatorUser = "operator"

// startOperator runs the operator as the user of config/rbac.
func startOperator(env *envtest.Environment, cfg *rest.Config, port int) (stop func() error, err error) {
	if err := grantRole(operatorUser); err != nil {
		return nil, err
	}
	user, err := env.AddUser(envtest.User{Name: operatorUser}, cfg)
	if err != nil {
		return nil, err
	}
	ucfg := user.Config()
	ucfg.QPS, ucfg.Burst = 500, 500
	ucfg.Wrap(writes.wrap)
	ucfg.Wrap(requests.wrap)
	ucfg.Wrap(traffic.wrap)
	scheme, err := controllers.Scheme()
	if err != nil {
		return nil, err
	}
	cacheOptions := controllers.CacheOptions("")
	cacheOptions.DefaultFieldSelector = notReserved()
	mgr, err := ctrl.NewManager(ucfg, ctrl.Options{
		Scheme:  scheme,
		Cache:   cacheOptions,
		Metrics: server.Options{BindAddress: "0"},
	})
	if err != nil {
		return nil, err
	}
	registry = prometheus.NewRegistry()
	metrics := controllers.NewMetrics(mgr.GetClient(), mgr.Elected())
	if err := metrics.Register(registry); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = controllers.Setup(ctx, mgr, controllers.Options{
		Settings:         desired.Settings{TrainerImage: "example.com/trainer:test", OperatorNamespace: "alignment-system"},
		ProgressInterval: progressInterval,
		Progress:         controllers.NewProgressReader(port),
		Metrics:          metrics,
		Clock:            clock.RealClock{},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return func() error { cancel(); return <-done }, nil
}

// grantRole gives a user what config/rbac gives the operator.
func grantRole(user string) error {
	role, err := operatorRole()
	if err != nil {
		return err
	}
	if err := admin.Create(context.Background(), role); err != nil {
		return err
	}
	return admin.Create(context.Background(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	})
}

// namespace makes one for a test, which admits restricted pods only, and lets tests run side by side.
func namespace(t *testing.T) string {
	t.Helper()
	needControlPlane(t)
	t.Parallel()
	return newNamespace(t)
}

func newNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "test-",
		Labels:       map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := admin.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// eventually waits for a condition; what says why it does not hold yet.
func eventually(t *testing.T, what func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := what()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 30 s: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// writeLog records the operator's writes as "PATCH /apis/...".
type writeLog struct {
	mu  sync.Mutex
	log []string
}

func (w *writeLog) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method != http.MethodGet {
			w.mu.Lock()
			w.log = append(w.log, req.Method+" "+req.URL.Path)
			w.mu.Unlock()
		}
		return next.RoundTrip(req)
	})
}

// in are the writes to a namespace, Events excluded.
func (w *writeLog) in(namespace string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, l := range w.log {
		if strings.Contains(l, "/namespaces/"+namespace+"/") && !strings.HasSuffix(l, "/events") {
			list = append(list, l)
		}
	}
	return list
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// fakeTrainer answers /progress with what was set for a pod's address, which tells tests apart.
type fakeTrainer struct{ answers sync.Map }

func (f *fakeTrainer) set(ip, answer string) { f.answers.Store(ip, answer) }

func (f *fakeTrainer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	ip, _, _ := net.SplitHostPort(req.Host)
	answer, ok := f.answers.Load(ip)
	if req.URL.Path != "/progress" || !ok {
		http.NotFound(w, req)
		return
	}
	_, _ = io.WriteString(w, answer.(string))
}
