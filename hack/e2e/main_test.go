//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

var (
	seedFlag = flag.Uint64("seed", 0, "draws the moments at which trainers are killed; 0 takes a new one")

	// ctx ends on an interrupt and shortly before go test's own deadline, so that the cluster is taken down in any case.
	ctx context.Context
	// kube and api are the cluster: its objects, and what else the API server answers (logs, pods' ports).
	kube client.Client
	api  *http.Client
	host string
	// seed of this run.
	seed uint64
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if seed = *seedFlag; seed == 0 {
		seed = rand.Uint64()
	}
	fmt.Printf("seed %d\n", seed)
	var stop context.CancelFunc
	ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if limit := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration); limit > 2*time.Minute {
		ctx, stop = context.WithTimeout(ctx, limit-time.Minute)
		defer stop()
	}

	start := time.Now()
	cluster, err := openCluster(ctx)
	if cluster != nil {
		defer func() {
			if e := cluster.close(); err == nil {
				err = e
			}
		}()
	}
	if err != nil {
		return 1, err
	}
	if err := connect(cluster.kubeconfig); err != nil {
		return 1, err
	}
	if err := installOperator(ctx); err != nil {
		return 1, err
	}
	fmt.Printf("cluster and operator ready after %s\n", time.Since(start).Round(time.Second))
	if err := flag.Set("test.parallel", "8"); err != nil { // tests wait more than they compute
		return 1, err
	}
	return refusedNothing(m.Run())
}

// connect opens the cluster of a kubeconfig for the tests and for kubectl.
func connect(kubeconfig string) error {
	if err := os.Setenv("KUBECONFIG", kubeconfig); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	if kube, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if api, err = rest.HTTPClientFor(config); err != nil {
		return err
	}
	host = config.Host
	return nil
}

// random is a source of its own for each name, so that a seed gives each test the same moments in any order.
func random(name string) *rand.Rand {
	var n uint64
	for _, c := range name {
		n = n*31 + uint64(c)
	}
	return rand.New(rand.NewPCG(seed, n))
}
