package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/build"
	"github.com/alignment-dev/alignment-operator/hack/localcluster/cluster"
)

// kubernetesVersion is that of k8s.io/kubernetes in kubernetes/go.mod; without it the components say v0.0.0.
const kubernetesVersion = "v1.37.2"

// The programs a cluster consists of, by the folders of their sources.
var programs = []build.Program{
	{
		Name: "kubernetes", LDFlags: kubernetesLDFlags(kubernetesVersion),
		// envtest looks for these names in the folder KUBEBUILDER_ASSETS.
		Links: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"},
		Note:  "once; 5 to 10 minutes on two cores",
	},
	{Name: "coredns", LDFlags: "-s -w", Note: "once; about a minute on two cores"},
	{Name: "pause", LDFlags: "-s -w"},
}

func kubernetesLDFlags(version string) string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, set := range []string{
			"gitVersion=" + version, "gitMajor=" + major, "gitMinor=" + minor,
			"gitTreeState=clean", "gitCommit=localcluster", "buildDate=1970-01-01T00:00:00Z",
		} {
			flags = append(flags, "-X", pkg+"."+set)
		}
	}
	return strings.Join(flags, " ")
}

// sourceDir is the folder of this file. The programs' modules cannot be embedded, so the launcher is of use only where its sources are.
func sourceDir() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Dir(file)
	if _, err := os.Stat(filepath.Join(dir, "kubernetes", "go.mod")); err != nil {
		return "", fmt.Errorf("the sources of the cluster's programs are not in %s: run it with \"go run -C hack/localcluster .\", and build it without -trimpath", dir)
	}
	return dir, nil
}

// buildAll returns the programs' paths, building what is missing.
func (o *options) buildAll(ctx context.Context, out io.Writer) (cluster.Binaries, error) {
	source, err := sourceDir()
	if err != nil {
		return cluster.Binaries{}, err
	}
	cache, err := filepath.Abs(o.cache)
	if err != nil {
		return cluster.Binaries{}, err
	}
	builder := &build.Builder{Cache: cache, Out: out, Now: time.Now}
	var binaries cluster.Binaries
	for i, target := range []*string{&binaries.Kubernetes, &binaries.CoreDNS, &binaries.Pause} {
		program := programs[i]
		program.Dir = filepath.Join(source, program.Name)
		if *target, err = builder.Ensure(ctx, program); err != nil {
			return cluster.Binaries{}, err
		}
	}
	return binaries, nil
}

func buildCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "build", Short: "Build the cluster's programs, where they are not built yet", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			binaries, err := o.buildAll(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n%s\n", binaries.Kubernetes, binaries.CoreDNS, binaries.Pause)
			return nil
		},
	}
}

func envCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "env", Short: "Print the folder for KUBEBUILDER_ASSETS: etcd, kube-apiserver, kube-controller-manager, kubectl", Args: cobra.NoArgs,
		Long: `Print a folder that holds etcd, kube-apiserver, kube-controller-manager and kubectl, for controller-runtime's envtest:

  KUBEBUILDER_ASSETS=$(go run -C hack/localcluster . env) go test ./controllers/...

Only the folder goes to standard output; what is missing is built first.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			binaries, err := o.buildAll(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), filepath.Dir(binaries.Kubernetes))
			return nil
		},
	}
}
