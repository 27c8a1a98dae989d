package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// startCluster brings the local cluster up and gives it the images, unless another cluster is named.
func (d *demo) startCluster(ctx context.Context) error {
	local, err := output(command(ctx, d.localcluster, "kubeconfig"))
	if err != nil && d.kubeconfig == "" {
		return err
	}
	if path := strings.TrimSpace(string(local)); d.kubeconfig == "" || d.kubeconfig == path {
		d.kubeconfig = path
		if err := d.startLocalCluster(ctx); err != nil {
			return err
		}
	} else {
		d.kubectl = []string{"kubectl", "--kubeconfig=" + d.kubeconfig}
		d.console.printf("==> The cluster of %s, which must be able to pull %s and %s\n", d.kubeconfig, d.operatorImage, d.trainerImage)
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(d.kubeconfig)}, nil).ClientConfig()
	if err != nil {
		return fmt.Errorf("read kubeconfig %s: %w", d.kubeconfig, err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	d.client, err = client.New(config, client.Options{Scheme: scheme})
	return err
}

func (d *demo) startLocalCluster(ctx context.Context) error {
	// One that is up already, from KEEP=1 or the user's own, is used and stays up.
	_, err := output(command(ctx, d.localcluster, "status"))
	d.started = err != nil
	err = d.console.step("Local Kubernetes (built from source the first time, in 5 to 10 minutes)", func() error {
		c := command(ctx, d.localcluster, "up")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		d.console.leave()
		return c.Run()
	})
	if err != nil {
		return fmt.Errorf("%s up: %w", d.localcluster, err)
	}
	d.kubectl = []string{d.localcluster, "kubectl"}
	return d.console.step("Images of operator and trainer", func() error {
		_, err := output(command(ctx, d.localcluster, append([]string{"load-image"}, d.archives...)...))
		return err
	})
}

// installOperator installs the chart with the images of this run.
func (d *demo) installOperator(ctx context.Context) error {
	return d.console.step("Operator", func() error {
		d.console.progress("waiting until it is ready")
		c := command(ctx, filepath.Join("hack", "deploy.sh"))
		c.Env = append(os.Environ(),
			"KUBECONFIG="+d.kubeconfig, "KUBECTL="+strings.Join(d.kubectl, " "),
			"OPERATOR_IMAGE="+d.operatorImage, "TRAINER_IMAGE="+d.trainerImage)
		_, err := output(c)
		return err
	})
}

// cleanUp leaves what was there before, or says how to look at what is kept.
func (d *demo) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	switch {
	case d.keep && d.kubectl != nil:
		d.console.printf("\nThe cluster is kept. To look around, and to end it:\n  export KUBECONFIG=%s\n  %s --namespace=%s get alignment\n", d.kubeconfig, strings.Join(d.kubectl, " "), d.namespace)
		if d.kubectl[0] == d.localcluster {
			d.console.printf("  %s down\n", d.localcluster)
		}
		return nil
	case d.keep:
		return nil
	case d.started:
		return d.console.step("Taking the cluster down", func() error {
			_, err := output(command(ctx, d.localcluster, "down"))
			return err
		})
	case d.kubectl != nil:
		return d.console.step("Deleting namespace "+d.namespace+" (the operator and the cluster, which was up before, stay)", func() error {
			_, err := d.runKubectl(ctx, nil, "delete", "namespace", d.namespace, "--ignore-not-found", "--timeout=90s")
			return err
		})
	}
	return nil
}
