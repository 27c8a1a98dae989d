package train

import (
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Metrics gathers means and totals over the micro-batches of a step or an evaluation.
type Metrics struct {
	// Detailed asks for the metrics that cost a pass over the vocabulary: entropy, accuracy.
	Detailed bool

	sums, weights map[string]float64
	totals        map[string]float64
}

func newMetrics(detailed bool) *Metrics {
	return &Metrics{Detailed: detailed, sums: map[string]float64{}, weights: map[string]float64{}, totals: map[string]float64{}}
}

// Mean adds the sum of weight values to a mean.
func (m *Metrics) Mean(name string, sum, weight float64) {
	m.sums[name] += sum
	m.weights[name] += weight
}

// MeanOf adds every element of v to a mean.
func (m *Metrics) MeanOf(name string, v *tensor.Tensor) {
	m.Mean(name, v.Detach().Sum().Item(), float64(v.NumElements()))
}

// Total adds to a count.
func (m *Metrics) Total(name string, v float64) { m.totals[name] += v }

// Gather adds up what the ranks of g have gathered.
func (m *Metrics) Gather(g *distributed.Group) *Metrics {
	type sums struct{ Sums, Weights, Totals map[string]float64 }
	all := newMetrics(m.Detailed)
	for _, of := range distributed.Gather(g, sums{m.sums, m.weights, m.totals}) { // the same order on every rank
		all.addAll(&Metrics{sums: of.Sums, weights: of.Weights, totals: of.Totals})
	}
	return all
}

func (m *Metrics) addAll(of *Metrics) {
	for name, sum := range of.sums {
		m.Mean(name, sum, of.weights[name])
	}
	for name, v := range of.totals {
		m.Total(name, v)
	}
}

// Values are the means and counts so far.
func (m *Metrics) Values() map[string]float64 {
	out := make(map[string]float64, len(m.sums)+len(m.totals))
	for k, s := range m.sums {
		if m.weights[k] > 0 {
			out[k] = s / m.weights[k]
		}
	}
	if c, ok := out["rewards/chosen"]; ok {
		if r, ok := out["rewards/rejected"]; ok { // KTO has no pairs to take it of
			if _, ok := out["rewards/margins"]; !ok {
				out["rewards/margins"] = c - r
			}
		}
	}
	for k, v := range m.totals {
		out[k] = v
	}
	return out
}
