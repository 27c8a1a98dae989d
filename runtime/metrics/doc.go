// Package metrics carries a run's numbers out: to metrics.jsonl, TensorBoard event files,
// Prometheus, /progress and a terminal.
//
// It neither computes a metric nor knows a method's: it must not import tensor, train or
// another package of runtime, except storage.
package metrics
