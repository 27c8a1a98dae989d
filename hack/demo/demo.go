package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// demo is one run of the command.
type demo struct {
	options
	namespace string // of the cluster
	dir       string // of this machine: data, manifests, results
	console   *console
	kubectl   []string // the program and its first arguments
	client    client.Client
	started   bool // the cluster was brought up by this run
}

// run takes the steps in their order and, however they end, cleans up.
func (d *demo) run(ctx context.Context) (err error) {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cleanUp(context.WithoutCancel(ctx))) }()
	if err := d.startCluster(ctx); err != nil {
		return fmt.Errorf("start cluster: %w", err)
	}
	if err := d.installOperator(ctx); err != nil {
		return fmt.Errorf("install operator: %w", err)
	}
	if err := d.prepareData(); err != nil {
		return fmt.Errorf("prepare data: %w", err)
	}
	if err := d.uploadData(ctx); err != nil {
		return fmt.Errorf("upload data: %w", err)
	}
	if err := d.train(ctx); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	results, err := d.collect(ctx)
	if err != nil {
		return fmt.Errorf("collect results: %w", err)
	}
	d.print(results)
	return results.check(d.data == "")
}

// path is of a file in the run's folder.
func (d *demo) path(elements ...string) string {
	return filepath.Join(append([]string{d.dir}, elements...)...)
}
