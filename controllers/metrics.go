package controllers

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// Metrics are the operator's own; controller-runtime adds those of queues and requests. What a stage's
// status says is read when it is asked for, so that nothing can drift; the rest counts what happens.
type Metrics struct {
	stages         *stageCollector
	jobCreated     *prometheus.HistogramVec
	runs           *prometheus.CounterVec
	restarts       *prometheus.CounterVec
	disruptions    *prometheus.CounterVec
	progressErrors *prometheus.CounterVec
}

// The results of runs.
const (
	resultTrained = "trained"
	resultAdopted = "adopted"
	resultFailed  = "failed"
)

// NewMetrics tells of the stages that a reader, usually the manager's cache, has, once elected is closed:
// of several replicas one speaks.
func NewMetrics(stages client.Reader, elected <-chan struct{}) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		stages: newStageCollector(stages, elected),
		jobCreated: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "alignment_job_creation_seconds",
			Help:    "From the moment all inputs of a stage were there to its Job.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"kind"}),
		runs:           counter("alignment_runs_total", "Runs that ended, by result: trained, adopted or failed.", "kind", "result"),
		restarts:       counter("alignment_restarts_total", "Attempts that failed and were, or would have been, followed by another.", "kind"),
		disruptions:    counter("alignment_disruptions_total", "Attempts that ended by no fault of the run.", "kind"),
		progressErrors: counter("alignment_progress_errors_total", "Trainers that did not answer with their progress.", "kind"),
	}
	for _, kind := range v1alpha1.StageKinds { // a counter that begins at 0 has a rate from its first event on
		for _, c := range []*prometheus.CounterVec{m.restarts, m.disruptions, m.progressErrors} {
			c.WithLabelValues(string(kind))
		}
		for _, result := range []string{resultTrained, resultAdopted, resultFailed} {
			m.runs.WithLabelValues(string(kind), result)
		}
	}
	return m
}

// Register adds the metrics to a registry.
func (m *Metrics) Register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.stages, m.jobCreated, m.runs, m.restarts, m.disruptions, m.progressErrors} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// observe counts what happened between two statuses that were written one after the other.
func (m *Metrics) observe(kind v1alpha1.StageKind, before, after v1alpha1.StageStatus) {
	restarts, disruptions := after.Restarts, after.Disruptions
	if after.RunHash == before.RunHash {
		restarts, disruptions = restarts-before.Restarts, disruptions-before.Disruptions
	}
	m.restarts.WithLabelValues(string(kind)).Add(float64(max(0, restarts)))
	m.disruptions.WithLabelValues(string(kind)).Add(float64(max(0, disruptions)))
	became := func(condition string) bool {
		return meta.IsStatusConditionTrue(after.Conditions, condition) && !meta.IsStatusConditionTrue(before.Conditions, condition)
	}
	switch {
	case became(v1alpha1.ConditionStalled):
		m.runs.WithLabelValues(string(kind), resultFailed).Inc()
	case became(v1alpha1.ConditionTrained) && meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionTrained).Reason == v1alpha1.ReasonAdopted:
		m.runs.WithLabelValues(string(kind), resultAdopted).Inc()
	case became(v1alpha1.ConditionTrained):
		m.runs.WithLabelValues(string(kind), resultTrained).Inc()
	}
}

// collectTimeout is for a cache that never fills: a scrape must not wait for it.
const collectTimeout = 5 * time.Second

// stageCollector reads the statuses of all stages when it is asked.
type stageCollector struct {
	reader  client.Reader
	elected <-chan struct{}

	stages, stale, phase                       *prometheus.Desc
	restarts, maxRestarts, disruptions         *prometheus.Desc
	step, totalSteps, eta, tokens, at, metrics *prometheus.Desc
}

func newStageCollector(reader client.Reader, elected <-chan struct{}) *stageCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	stage := func(name, help string, more ...string) *prometheus.Desc {
		return desc("alignment_stage_"+name, help, append([]string{"kind", "namespace", "name"}, more...)...)
	}
	return &stageCollector{
		reader: reader, elected: elected,
		stages:      desc("alignment_stages", "Stages by kind and phase.", "kind", "phase"),
		stale:       desc("alignment_stale_stages", "Stages whose run is not the one that their spec and inputs would give.", "kind"),
		phase:       stage("phase", "1 for the phase that a stage is in, and the reason of its condition Ready.", "phase", "reason"),
		restarts:    stage("restarts", "Failed attempts of the run of a stage that is not finished."),
		maxRestarts: stage("max_restarts", "How many attempts may fail and be followed by another: spec.maxRestarts."),
		disruptions: stage("disruptions", "Attempts of that run that ended by no fault of its own."),
		step:        stage("step", "Finished optimiser steps of a running stage."),
		totalSteps:  stage("total_steps", "Optimiser steps of the whole run."),
		eta:         stage("eta_seconds", "Estimated time that is left."),
		tokens:      stage("tokens_per_second", "Tokens through the policy, padding excluded."),
		at:          stage("progress_timestamp_seconds", "When the trainer was last seen to have got on."),
		metrics:     stage("metric", "The newest metrics of a running stage, under TRL's names.", "metric"),
	}
}

// Describe implements prometheus.Collector.
func (c *stageCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.stages, c.stale, c.phase, c.restarts, c.maxRestarts, c.disruptions,
		c.step, c.totalSteps, c.eta, c.tokens, c.at, c.metrics,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stageCollector) Collect(ch chan<- prometheus.Metric) {
	select {
	case <-c.elected:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	for _, kind := range v1alpha1.StageKinds {
		stages, err := listStages(ctx, c.reader, kind)
		if err != nil {
			ch <- prometheus.NewInvalidMetric(c.stages, err)
			continue
		}
		count, stale := map[v1alpha1.Phase]int{}, 0
		for _, s := range stages {
			status := s.StageStatus()
			count[status.Phase]++
			if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionStale) {
				stale++
			}
			c.stage(ch, s)
		}
		for _, phase := range v1alpha1.Phases {
			ch <- gauge(c.stages, float64(count[phase]), string(kind), string(phase))
		}
		ch <- gauge(c.stale, float64(stale), string(kind))
	}
}

// stage tells of one. Numbers of a run end with it: ten thousand finished stages are a series each.
func (c *stageCollector) stage(ch chan<- prometheus.Metric, s v1alpha1.Stage) {
	status := s.StageStatus()
	if status.Phase == "" {
		return // not seen by the operator yet
	}
	id := []string{string(s.StageKind()), s.GetNamespace(), s.GetName()}
	add := func(d *prometheus.Desc, v float64, more ...string) {
		ch <- gauge(d, v, append(id[:len(id):len(id)], more...)...)
	}
	add(c.phase, 1, string(status.Phase), reasonOf(s))
	switch status.Phase {
	case v1alpha1.PhasePending, v1alpha1.PhaseRunning, v1alpha1.PhaseSuspended:
		add(c.restarts, float64(status.Restarts))
		add(c.maxRestarts, float64(s.StageSpec().MaxRestarts))
		add(c.disruptions, float64(status.Disruptions))
	}
	p := status.Progress
	if status.Phase != v1alpha1.PhaseRunning || p == nil {
		return
	}
	add(c.step, float64(p.Step))
	add(c.totalSteps, float64(p.TotalSteps))
	add(c.eta, float64(p.ETASeconds))
	add(c.tokens, float64(p.TokensPerSecond))
	add(c.at, float64(p.UpdatedAt.Unix()))
	for name, text := range status.Metrics {
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			add(c.metrics, v, name)
		}
	}
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}
