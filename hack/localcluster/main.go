// Command localcluster runs a real Kubernetes on this machine, built from source through the Go module proxy, where
// there is neither a container engine nor a registry. See README.md and --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/cluster"
	"github.com/alignment-dev/alignment-operator/hack/localcluster/machine"
)

func main() {
	if len(os.Args) > 1 {
		if status, called := callSelf(os.Args[1], os.Args[2:]); called {
			os.Exit(status)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		var exit exitError
		if errors.As(err, &exit) {
			os.Exit(int(exit))
		}
		fmt.Fprintln(os.Stderr, "localcluster:", err)
		os.Exit(1)
	}
}

// callSelf does what this executable starts itself for, inside the cluster's machine.
func callSelf(command string, args []string) (status int, called bool) {
	var err error
	switch command {
	case machine.InitCommand:
		status, err = machine.Init(args)
	case cluster.BootCommand:
		err = boot(cluster.Layout(args[0]))
	case cluster.NodeCommand:
		var number int
		if number, err = strconv.Atoi(args[1]); err == nil {
			err = cluster.MountNode(cluster.Layout(args[0]), number)
		}
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "localcluster %s: %v\n", command, err)
		return 1, true
	}
	return status, true
}

func boot(layout cluster.Layout) error {
	report, listening := os.NewFile(3, "report"), os.NewFile(4, "listener")
	listener, err := net.FileListener(listening)
	if err != nil {
		return fmt.Errorf("use the API server's listener: %w", err)
	}
	listening.Close()
	return cluster.Boot(context.Background(), layout, listener, report)
}

// exitError is the exit status of a program that has said itself what was wrong.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// options are the folders that every command knows.
type options struct {
	cache string // what is built
	state string // of the cluster
}

func (o *options) layout() (cluster.Layout, error) {
	dir, err := filepath.Abs(o.state)
	return cluster.Layout(dir), err
}

func rootCommand() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "localcluster",
		Short: "A real Kubernetes on this machine, without container engine or registry",
		Long: `localcluster builds etcd, Kubernetes and CoreDNS from source through the Go module proxy and runs
them, with containerd and runc of the host's distribution, in Linux namespaces of their own: taking the
cluster down is one kill and leaves nothing behind. It needs root.

A first build takes five to ten minutes on two cores and is kept; then "up" takes seconds.

  localcluster up                                bring it up (builds what is missing)
  localcluster load-image image.tar              give its nodes an image
  localcluster kubectl get pods -A               run kubectl on it
  export KUBECONFIG=$(localcluster kubeconfig)   or use any other client
  localcluster down                              take it down

Pods reach the host at 10.88.7.2, and the host reaches pods and Services at their own addresses. Clusters
of different state folders can run at once; the second has 10.88.8.0/24, and so on.
Claims are served by the StorageClass "local" (folders, any access mode, any user), or "local-memory"
(as large as claimed and not a byte larger). NetworkPolicy is not enforced, and there are no host ports.`,
		SilenceErrors:    true,
		SilenceUsage:     true,
		TraverseChildren: true, // else flags before "kubectl" would be kubectl's
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), "cache") // there is no HOME
	}
	cache = filepath.Join(cache, "alignment-operator", "localcluster")
	root.PersistentFlags().StringVar(&o.cache, "cache", cache, "folder that keeps what is built")
	root.PersistentFlags().StringVar(&o.state, "state", filepath.Join(cache, "state"), "folder of the cluster's state")
	root.AddCommand(
		buildCommand(&o), envCommand(&o),
		upCommand(&o), downCommand(&o), statusCommand(&o), kubeconfigCommand(&o),
		kubectlCommand(&o), logsCommand(&o), loadImageCommand(&o), nodeCommand(&o, "node-stop"), nodeCommand(&o, "node-start"),
		mkimageCommand(&o),
	)
	return root
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("the cluster needs root: it mounts, makes network interfaces and runs containers")
	}
	return nil
}
