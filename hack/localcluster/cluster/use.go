package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/supervise"
)

// ErrDown is in the error of everything that needs a cluster when there is none.
var ErrDown = errors.New("no cluster is up")

// running returns the configuration of the cluster, which must be up.
func (l Layout) running() (Config, error) {
	up, err := l.Running()
	if err != nil {
		return Config{}, err
	}
	if !up {
		return Config{}, fmt.Errorf("%w in %s", ErrDown, l)
	}
	config, err := l.readConfig()
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("%w in %s", ErrDown, l)
	}
	return config, err
}

// Status is how a cluster is.
type Status struct {
	Config   Config
	Programs []supervise.Status
	Nodes    []NodeStatus
	Missing  string // what it lacks to be well, "" when nothing
}

// Status asks a running cluster how it is.
func (l Layout) Status(ctx context.Context) (Status, error) {
	config, err := l.running()
	if err != nil {
		return Status{}, err
	}
	status := Status{Config: config}
	if status.Programs, err = l.Programs().List(ctx); err != nil {
		return Status{}, err
	}
	api, err := l.api(config.hostServer())
	if err != nil {
		return Status{}, err
	}
	if status.Missing, err = api.missing(ctx, config); err != nil {
		status.Missing = err.Error()
		return status, nil
	}
	status.Nodes, err = api.nodes(ctx)
	return status, err
}

// Load gives image archives to the containerd of every node, all nodes at once.
func (l Layout) Load(ctx context.Context, archives []string) error {
	config, err := l.running()
	if err != nil {
		return err
	}
	for _, archive := range archives {
		errs := make(chan error, config.Nodes)
		for _, n := range l.nodes(config) {
			go func() { errs <- n.load(ctx, archive) }()
		}
		var all []error
		for range config.Nodes {
			all = append(all, <-errs)
		}
		if err := errors.Join(all...); err != nil {
			return err
		}
	}
	return nil
}

// StopNode kills the node's kubelet, as if the node had lost its connection: its pods run on, unseen.
func (l Layout) StopNode(ctx context.Context, number int) error {
	name, err := l.kubeletOf(number)
	if err != nil {
		return err
	}
	return l.Programs().Stop(ctx, name)
}

// StartNode starts a stopped node's kubelet.
func (l Layout) StartNode(ctx context.Context, number int) error {
	name, err := l.kubeletOf(number)
	if err != nil {
		return err
	}
	return l.Programs().Start(ctx, name)
}

func (l Layout) kubeletOf(number int) (string, error) {
	config, err := l.running()
	if err != nil {
		return "", err
	}
	if number < 1 || number > config.Nodes {
		return "", fmt.Errorf("node %d: the cluster has nodes 1 to %d", number, config.Nodes)
	}
	return l.nodes(config)[number-1].program("kubelet"), nil
}

// Kubectl is the program and first arguments to run kubectl on the cluster with.
func (l Layout) Kubectl() ([]string, error) {
	config, err := l.running()
	if err != nil {
		return nil, err
	}
	return []string{config.Binaries.Kubernetes, "kubectl", "--kubeconfig=" + l.Kubeconfig()}, nil
}
