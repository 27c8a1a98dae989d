package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/hack/demo/corpus"
	"github.com/alignment-dev/alignment-operator/hack/demo/ngram"
)

// results are what the stages came to, in the order of the pipeline.
type results struct {
	stages []*stageResult
	bigram ngram.Score
	asked  []question // none where the data has no prompts to ask
}

// of is a kind's result; nil when this run has no such stage.
func (r *results) of(kind v1alpha1.StageKind) *stageResult {
	for _, s := range r.stages {
		if s.kind == kind {
			return s
		}
	}
	return nil
}

// policies are the stages that answer prompts; the first is the SFTJob.
func (r *results) policies() (out []*stageResult) {
	for _, s := range r.stages {
		if s.policy {
			out = append(out, s)
		}
	}
	return out
}

// stageResult is a finished stage.
type stageResult struct {
	kind    v1alpha1.StageKind
	policy  bool
	dir     string // of this machine: the checkpoint and its report
	remote  string // of the claim
	seconds float64
	runconfig.Result
	// Of a policy: the likeliest answer to the first few prompts, and sampled ones to all, draw after draw.
	likeliest, sampled []response
}

// name is the kind without "Job".
func (s *stageResult) name() string { return short(s.kind) }

// collect copies the checkpoints, scores the baseline and asks the policies.
func (d *demo) collect(ctx context.Context) (*results, error) {
	r := &results{}
	err := d.console.step("Checkpoints and reports", func() error {
		for _, p := range pipeline {
			if d.quick && !p.quick {
				continue
			}
			s, err := d.fetch(ctx, v1alpha1.NewStage(p.kind))
			if err != nil {
				return err
			}
			s.policy = p.policy
			r.stages = append(r.stages, s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = d.console.step("Baseline: an interpolated bigram model on the same tokens", func() (err error) {
		job := &v1alpha1.SFTJob{}
		if err := readManifest(job); err != nil {
			return err
		}
		r.bigram, err = ngram.Baseline(filepath.Join(r.of(job.StageKind()).dir, "tokenizer.json"),
			d.path("data", corpus.SFTTrain), d.path("data", corpus.SFTEval), int(job.Spec.Data.MaxLength))
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, d.console.step("Answers to held-out prompts", func() error { return d.ask(ctx, r) })
}

// fetch copies a stage's checkpoint, with its report, to this machine.
func (d *demo) fetch(ctx context.Context, stage v1alpha1.Stage) (*stageResult, error) {
	kind := stage.StageKind()
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: stageName}, stage); err != nil {
		return nil, err
	}
	status := stage.StageStatus()
	if status.Output == nil || status.StartTime == nil || status.CompletionTime == nil {
		return nil, fmt.Errorf("%s %s: succeeded, but its status has no output or times", kind, stageName)
	}
	r := &stageResult{
		kind: kind, dir: d.path(strings.ToLower(short(kind))),
		remote:  strings.TrimPrefix(status.Output.URI, "pvc://demo/"),
		seconds: status.CompletionTime.Sub(status.StartTime.Time).Seconds(),
	}
	if err := d.download(ctx, r.remote, r.dir); err != nil {
		return nil, fmt.Errorf("copy %s: %w", status.Output.URI, err)
	}
	b, err := os.ReadFile(filepath.Join(r.dir, "result.json"))
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(b, &r.Result)
}
