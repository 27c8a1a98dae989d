// Command operator runs the controllers of the group alignment.dev.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/controllers"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

type options struct {
	metricsAddress, healthAddress string
	leaderElect                   bool
	trainerImage                  string
	progressInterval              time.Duration
	namespace, watchNamespace     string
	verbosity                     int
}

func main() {
	var o options
	flag.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "serves /metrics; 0 does not")
	flag.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "serves /healthz and /readyz")
	flag.BoolVar(&o.leaderElect, "leader-elect", false, "wait for the lease, so that of several replicas one acts")
	flag.StringVar(&o.trainerImage, "trainer-image", "", "image of stages that name none (required)")
	flag.DurationVar(&o.progressInterval, "progress-interval", 5*time.Second, "how often a running trainer is asked for its progress")
	flag.StringVar(&o.namespace, "namespace", "alignment-system", "the operator's own namespace: for its lease, and let in by the trainers' network policies")
	flag.StringVar(&o.watchNamespace, "watch-namespace", "", "act in this namespace only (default all)")
	flag.IntVar(&o.verbosity, "v", 0, "log more: 1 and up")
	flag.Parse()
	level := slog.Level(-o.verbosity) // as logr counts
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	if err := run(ctrl.SetupSignalHandler(), o); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	switch {
	case o.trainerImage == "":
		return errors.New("--trainer-image is required")
	case o.progressInterval < time.Second:
		return errors.New("--progress-interval: want at least 1s")
	}
	scheme, err := controllers.Scheme()
	if err != nil {
		return err
	}
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controllers.CacheOptions(o.watchNamespace),
		Metrics:                       server.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:        o.healthAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              desired.OperatorName,
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true, // run returns right after the manager has stopped
	})
	if err != nil {
		return fmt.Errorf("new manager: %w", err)
	}
	m := controllers.NewMetrics(mgr.GetClient(), mgr.Elected())
	if err := m.Register(metrics.Registry); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	if err := controllers.Setup(ctx, mgr, controllers.Options{
		Settings:         desired.Settings{TrainerImage: o.trainerImage, OperatorNamespace: o.namespace},
		ProgressInterval: o.progressInterval,
		Progress:         controllers.NewProgressReader(runconfig.Port),
		Metrics:          m,
		Clock:            clock.RealClock{},
	}); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return mgr.Start(ctx)
}
