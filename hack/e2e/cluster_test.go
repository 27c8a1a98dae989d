//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	operatorNamespace  = "alignment-system"
	operatorDeployment = "alignment-operator"
	operatorReplicas   = "2" // as the chart's
	// takeDown is many times what taking the local cluster down needs.
	takeDown = 2 * time.Minute
)

// ownCluster says that the cluster is the tests' own, on this machine; local is what it then is.
var (
	ownCluster bool
	local      *cluster
)

// spareNode is the second node of a cluster of the tests' own. Pods go there only if they tolerate its taint, so that
// it can be lost without anyone else's loss.
const (
	spareNode  = "localcluster-2"
	spareTaint = "alignment.dev/spare"
)

// spare is held by the tests with pods on the spare node, and by each that loses it alone.
var spare sync.RWMutex

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
	local = c
	if _, err := c.run(ctx, "up", "--nodes", "2"); err != nil {
		return c, err
	}
	if _, err := c.run(ctx, "kubectl", "taint", "node", spareNode, spareTaint+"=:NoSchedule"); err != nil {
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

// installOperator installs or upgrades the chart, or brings back what a test changed. The runs here are short: the
// operator looks often.
func installOperator(ctx context.Context) error {
	if err := os.Setenv("KUBECTL", kubectlPath); err != nil {
		return err
	}
	_, err := command(ctx, nil, filepath.Join("..", "deploy.sh"), "--set", "extraArgs={--progress-interval=1s}")
	return err
}

// rollout waits until the operator is there.
func rollout(ctx context.Context) error {
	_, err := kubectl(ctx, nil, "--namespace", operatorNamespace, "rollout", "status", "deployment/"+operatorDeployment, "--timeout=2m")
	return err
}
