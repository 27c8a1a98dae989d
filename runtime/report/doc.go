// Package report writes report.html, one page about a run for people: results, curves,
// samples, configuration and lineage, with nothing loaded from elsewhere.
//
// It shows what others measured: it must not import tensor, model or train.
package report
