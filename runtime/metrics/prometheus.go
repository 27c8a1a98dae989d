package metrics

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// gaugePrefix begins the name of every Prometheus metric of a run.
const gaugePrefix = "alignment_training_"

// gauges are the newest values, a Prometheus gauge each, made when first set.
type gauges struct {
	registry *prometheus.Registry

	mu sync.Mutex
	by map[string]prometheus.Gauge
}

func newGauges() *gauges {
	return &gauges{registry: prometheus.NewRegistry(), by: map[string]prometheus.Gauge{}}
}

// set sets a metric's gauge. Two names that differ only in what Prometheus does not allow
// share one, and the last value set is seen.
func (g *gauges) set(metric string, v float64) {
	name := gaugeName(metric)
	g.mu.Lock()
	defer g.mu.Unlock()
	gauge, ok := g.by[name]
	if !ok {
		gauge = prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "Newest " + metric + " of the run."})
		g.registry.MustRegister(gauge)
		g.by[name] = gauge
	}
	gauge.Set(v)
}

// gaugeName is the prefix and the name with what Prometheus does not allow as underscores.
func gaugeName(metric string) string {
	return gaugePrefix + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, metric)
}
