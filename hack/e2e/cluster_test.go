//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	operatorNamespace  = "alignment-system"
	operatorDeployment = "alignment-operator"
	// takeDown is many times what taking the local cluster down needs.
	takeDown = 2 * time.Minute
)

// ownCluster says that the cluster is the tests' own, on this machine.
var ownCluster bool

// cluster is where the tests run.
type cluster struct {
	kubeconfig string
	// launcher and state are those of a local cluster of the tests' own; else empty.
	launcher, state string
}

// openCluster takes the cluster of KUBECONFIG, or brings one up. What it returns is to be closed,
// also when there is an error beside it.
func openCluster(ctx context.Context) (*cluster, error) {
	for _, name := range []string{"OPERATOR_IMAGE", "TRAINER_IMAGE"} {
		if os.Getenv(name) == "" {
			return nil, fmt.Errorf("%s is not set: run make e2e", name)
		}
	}
	if k := os.Getenv("KUBECONFIG"); k != "" {
		return &cluster{kubeconfig: k}, nil
	}
	ownCluster = true
	c := &cluster{launcher: os.Getenv("E2E_LOCALCLUSTER")}
	if c.launcher == "" {
		return nil, errors.New("neither KUBECONFIG nor E2E_LOCALCLUSTER is set: run make e2e")
	}
	assets, err := command(ctx, nil, c.launcher, "env")
	if err != nil {
		return nil, err
	}
	kubectlPath = filepath.Join(strings.TrimSpace(assets), "kubectl")
	if c.state, err = os.MkdirTemp("", "e2e-"); err != nil {
		return nil, err
	}
	if _, err := c.run(ctx, "up"); err != nil {
		return c, err
	}
	if _, err := c.run(ctx, "load-image", os.Getenv("E2E_OPERATOR_IMAGE_TAR"), os.Getenv("E2E_TRAINER_IMAGE_TAR")); err != nil {
		return c, err
	}
	k, err := c.run(ctx, "kubeconfig")
	c.kubeconfig = strings.TrimSpace(k)
	return c, err
}

func (c *cluster) run(ctx context.Context, args ...string) (string, error) {
	return command(ctx, nil, c.launcher, append([]string{"--state", c.state}, args...)...)
}

// close takes down what openCluster brought up. It has a time of its own: the tests' may be over.
func (c *cluster) close() error {
	if c.state == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), takeDown)
	defer cancel()
	if _, err := c.run(ctx, "down"); err != nil {
		return fmt.Errorf("%w; the cluster's state is in %s", err, c.state)
	}
	return os.RemoveAll(c.state)
}

// overlay sets the images in config/default, as its comment says. The runs here are short: the operator looks often.
const overlay = `resources: [%s]
images: [{name: alignment-operator, newName: %s, newTag: %s}]
patches:
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: alignment-operator, namespace: alignment-system}
    spec: {template: {spec: {containers: [{name: operator, env: [{name: TRAINER_IMAGE, value: %q}]}]}}}
- target: {kind: Deployment, name: alignment-operator}
  patch: |
    - op: add
      path: /spec/template/spec/containers/0/args/-
      value: --progress-interval=1s
`

func installOperator(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "e2e-overlay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	base, err := filepath.Abs("../../config/default")
	if err != nil {
		return err
	}
	if base, err = filepath.Rel(dir, base); err != nil { // kustomize takes no absolute folder
		return err
	}
	image := os.Getenv("OPERATOR_IMAGE")
	colon := strings.LastIndex(image, ":")
	if colon < strings.LastIndex(image, "/") || colon < 0 {
		return fmt.Errorf("OPERATOR_IMAGE: got %q, want a name with a tag", image)
	}
	content := fmt.Sprintf(overlay, base, image[:colon], image[colon+1:], os.Getenv("TRAINER_IMAGE"))
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(content), 0o644); err != nil {
		return err
	}
	if _, err := kubectl(ctx, nil, "apply", "--server-side", "-k", dir); err != nil {
		return err
	}
	return rollout(ctx)
}

// rollout waits until the operator is there.
func rollout(ctx context.Context) error {
	_, err := kubectl(ctx, nil, "--namespace", operatorNamespace, "rollout", "status", "deployment/"+operatorDeployment, "--timeout=2m")
	return err
}
