package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/cluster"
)

// downTimeout is many times what a busy machine needs.
const downTimeout = time.Minute

func upCommand(o *options) *cobra.Command {
	var config cluster.Config
	cmd := &cobra.Command{
		Use: "up", Short: "Bring the cluster up, or check that the one that is up is well", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(); err != nil {
				return err
			}
			layout, err := o.layout()
			if err != nil {
				return err
			}
			if err := cluster.InstallPackages(cmd.Context(), cmd.ErrOrStderr()); err != nil {
				return err
			}
			if config.Binaries, err = o.buildAll(cmd.Context(), cmd.ErrOrStderr()); err != nil {
				return err
			}
			launcher := cluster.Launcher{Layout: layout, Out: cmd.ErrOrStderr(), Now: time.Now}
			return launcher.Up(cmd.Context(), config)
		},
	}
	cmd.Flags().IntVar(&config.Nodes, "nodes", 1, fmt.Sprintf("kubelets, each with a containerd of its own (at most %d)", cluster.MaxNodes))
	cmd.Flags().IntVar(&config.GPUs, "gpus", 0, "imaginary nvidia.com/gpu devices per node")
	cmd.Flags().IntVar(&config.Port, "port", 0, "port of the API server on 127.0.0.1 (default 16443, a further cluster's 16444, ...)")
	return cmd
}

func downCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Take the cluster down; only its logs stay", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(); err != nil {
				return err
			}
			layout, err := o.layout()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), downTimeout)
			defer cancel()
			return cluster.Launcher{Layout: layout, Out: cmd.ErrOrStderr(), Now: time.Now}.Down(ctx)
		},
	}
}

func statusCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Tell how the cluster is; fails when it is not up and well", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			layout, err := o.layout()
			if err != nil {
				return err
			}
			status, err := layout.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := printStatus(cmd.OutOrStdout(), status); err != nil {
				return err
			}
			if status.Missing != "" {
				return errors.New(status.Missing)
			}
			return nil
		},
	}
}

func printStatus(w io.Writer, status cluster.Status) error {
	fmt.Fprintln(w, status.Config)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PROGRAM\tPID INSIDE\tRESTARTS\tLAST EXIT")
	for _, p := range status.Programs {
		pid := strconv.Itoa(p.PID)
		switch {
		case p.Stopped:
			pid = "stopped"
		case p.PID == 0:
			pid = "down"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", p.Name, pid, p.Restarts, p.LastExit)
	}
	fmt.Fprintln(table, "\nNODE\tREADY\tGPUS\t")
	for _, n := range status.Nodes {
		fmt.Fprintf(table, "%s\t%t\t%d\t\n", n.Name, n.Ready, n.GPUs)
	}
	return table.Flush()
}

func kubeconfigCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "kubeconfig", Short: "Print the path of the administrator's kubeconfig", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			layout, err := o.layout()
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), layout.Kubeconfig())
			return nil
		},
	}
}

func kubectlCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "kubectl [ARGUMENT...]", Short: "Run kubectl on the cluster",
		Long:               "Run kubectl on the cluster. Flags of localcluster (--state) go before the word kubectl.",
		DisableFlagParsing: true, // they are kubectl's
		RunE: func(_ *cobra.Command, args []string) error {
			layout, err := o.layout()
			if err != nil {
				return err
			}
			command, err := layout.Kubectl()
			if err != nil {
				return err
			}
			return fmt.Errorf("run kubectl: %w", syscall.Exec(command[0], append(command, args...), os.Environ()))
		},
	}
}

func logsCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "logs [COMPONENT]", Short: "Print a component's log, or the components that have one", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			layout, err := o.layout()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return listLogs(cmd.OutOrStdout(), layout)
			}
			log, err := os.Open(layout.Log(filepath.Base(args[0])))
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no component %s: see localcluster logs", args[0])
			}
			if err != nil {
				return err
			}
			defer log.Close()
			_, err = io.Copy(cmd.OutOrStdout(), log)
			return err
		},
	}
}

func listLogs(w io.Writer, layout cluster.Layout) error {
	paths, err := filepath.Glob(layout.Log("*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		fmt.Fprintln(w, strings.TrimSuffix(filepath.Base(path), ".log"))
	}
	return nil
}

func loadImageCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "load-image TAR...", Short: "Give image archives to every node (pods then use imagePullPolicy: Never or IfNotPresent)", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			layout, err := o.layout()
			if err != nil {
				return err
			}
			return layout.Load(cmd.Context(), args)
		},
	}
}

// nodeCommand makes node-stop and node-start.
func nodeCommand(o *options, name string) *cobra.Command {
	short, do := "Kill a node's kubelet; its pods run on, unseen", cluster.Layout.StopNode
	if name == "node-start" {
		short, do = "Start a stopped node's kubelet", cluster.Layout.StartNode
	}
	return &cobra.Command{
		Use: name + " NUMBER", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.Atoi(args[0])
			if err != nil {
				return fmt.Errorf("node %q: want a number from 1", args[0])
			}
			layout, err := o.layout()
			if err != nil {
				return err
			}
			return do(layout, cmd.Context(), number)
		},
	}
}
