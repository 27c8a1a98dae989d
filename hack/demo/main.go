// Command demo takes the whole way once, on a real Kubernetes: it brings a cluster up, installs the
// operator, applies all kinds of stages at once, and compares what came of them: InstructGPT's three steps
// (SFT, reward model, PPO), DPO and SimPO.
//
// It exits with an error when a stage fails, or learns less than it should.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// options are the flags; their defaults come from the environment, as make passes them on.
type options struct {
	data, base                  string
	keep                        bool
	kubeconfig                  string
	localcluster                string
	operatorImage, trainerImage string
	archives                    []string // of both images, for the local cluster
	quick                       bool
	maxSteps                    int
	seed                        uint64
	timeout                     time.Duration
}

func main() {
	var o options
	archives := flag.String("archives", "out/operator.tar,out/trainer.tar", "both images' archives, for the local cluster")
	flag.StringVar(&o.data, "data", os.Getenv("DATA"), "your own data: a .jsonl or .jsonl.gz file of preferences, or a folder with sft-train, sft-eval, dpo-train and dpo-eval, and rm-train, ... or ppo-train, ... if they differ (DATA)")
	flag.StringVar(&o.base, "base", os.Getenv("BASE"), "a Hugging Face folder to start from, instead of random weights (BASE)")
	flag.BoolVar(&o.keep, "keep", os.Getenv("KEEP") != "" && os.Getenv("KEEP") != "0", "leave the cluster up at the end (KEEP)")
	flag.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "use this cluster, which can pull both images, instead of a local one (KUBECONFIG)")
	flag.StringVar(&o.localcluster, "localcluster", "bin/localcluster", "the program that makes a local cluster")
	flag.StringVar(&o.operatorImage, "operator-image", env("OPERATOR_IMAGE", "localhost/alignment-operator:dev"), "(OPERATOR_IMAGE)")
	flag.StringVar(&o.trainerImage, "trainer-image", env("TRAINER_IMAGE", "localhost/alignment-trainer:dev"), "(TRAINER_IMAGE)")
	flag.BoolVar(&o.quick, "quick", os.Getenv("DEMO") == "quick", "SFT and DPO alone (DEMO=quick)")
	flag.IntVar(&o.maxSteps, "max-steps", 0, "train no stage for more steps than this, to try the demo itself")
	flag.Uint64Var(&o.seed, "seed", 1, "of the data's split and order")
	flag.DurationVar(&o.timeout, "timeout", time.Hour, "give up after this long")
	flag.Parse()
	o.archives = strings.Split(*archives, ",")
	log.SetLogger(logr.Discard()) // of the client's library, which otherwise complains that there is none

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("gave up after %s", o.timeout))
	defer cancel()
	start := time.Now()
	name := "demo-" + start.UTC().Format("20060102-150405")
	d := &demo{
		options: o,
		// A namespace and a folder of its own: nothing of an earlier demo can be adopted.
		namespace: name,
		dir:       filepath.Join("out", name),
		console:   newConsole(os.Stdout, time.Now),
	}
	if err := d.run(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
	d.console.printf("\nDone in %s.\n", time.Since(start).Round(time.Second))
}

func env(key, otherwise string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return otherwise
}
