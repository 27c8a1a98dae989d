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
	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

const (
	operatorNamespace  = "alignment-system"
	operatorDeployment = "alignment-operator"
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

// installOperator applies config/default with the images of this run.
func (d *demo) installOperator(ctx context.Context) error {
	return d.console.step("Operator", func() error {
		overlay, err := d.overlay()
		if err != nil {
			return err
		}
		if _, err := d.runKubectl(ctx, nil, "apply", "--server-side", "--kustomize", overlay); err != nil {
			return err
		}
		d.console.progress("waiting until it is ready")
		_, err = d.runKubectl(ctx, nil, "--namespace="+operatorNamespace, "rollout", "status", "--timeout=3m", "deployment/"+operatorDeployment)
		return err
	})
}

// overlay writes a kustomization that sets the two images and returns its folder.
func (d *demo) overlay() (string, error) {
	dir := d.path("operator")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	base, err := filepath.Rel(dir, filepath.Join("config", "default"))
	if err != nil {
		return "", err
	}
	image, tag := d.operatorImage, ""
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		image, tag = image[:i], image[i+1:]
	}
	patch, err := yaml.Marshal(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": operatorDeployment, "namespace": operatorNamespace},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{
			map[string]any{"name": "operator", "env": []any{map[string]any{"name": "TRAINER_IMAGE", "value": d.trainerImage}}},
		}}}},
	})
	if err != nil {
		return "", err
	}
	kustomization, err := yaml.Marshal(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
		"resources": []string{base},
		"images":    []any{map[string]any{"name": "alignment-operator", "newName": image, "newTag": tag}},
		"patches":   []any{map[string]any{"patch": string(patch)}},
	})
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), kustomization, 0o644)
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
