package controllers

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// Metrics are the operator's own; controller-runtime adds those of queues and requests.
type Metrics struct {
	stages         *stageCollector
	jobCreated     *prometheus.HistogramVec
	retries        *prometheus.CounterVec
	progressErrors *prometheus.CounterVec
}

// NewMetrics counts the stages that a reader, usually the manager's cache, has.
func NewMetrics(stages client.Reader) *Metrics {
	kind := []string{"kind"}
	return &Metrics{
		stages: &stageCollector{
			reader: stages,
			desc:   prometheus.NewDesc("alignment_stages", "Stages by kind and phase.", []string{"kind", "phase"}, nil),
		},
		jobCreated: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "alignment_job_creation_seconds",
			Help:    "From the moment all inputs of a stage were there to its Job.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, kind),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "alignment_run_retries_total",
			Help: "Attempts after the first, disrupted pods excluded.",
		}, kind),
		progressErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "alignment_progress_errors_total",
			Help: "Trainers that did not answer with their progress.",
		}, kind),
	}
}

// Register adds the metrics to a registry.
func (m *Metrics) Register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.stages, m.jobCreated, m.retries, m.progressErrors} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// collectTimeout is for a cache that never fills: a scrape must not wait for it.
const collectTimeout = 5 * time.Second

// stageCollector counts when it is asked, so that no count can drift.
type stageCollector struct {
	reader client.Reader
	desc   *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *stageCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *stageCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	for _, kind := range v1alpha1.StageKinds {
		stages, err := listStages(ctx, c.reader, kind)
		if err != nil {
			ch <- prometheus.NewInvalidMetric(c.desc, err)
			continue
		}
		count := map[v1alpha1.Phase]int{}
		for _, s := range stages {
			count[s.StageStatus().Phase]++
		}
		for _, phase := range v1alpha1.Phases {
			ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(count[phase]), string(kind), string(phase))
		}
	}
}
