// Package chart tests charts/alignment-operator: with its default values it is config/default, an API server admits what it
// renders, and bad values are refused.
//
// The tests run helm, which HELM names, and for the API server what KUBEBUILDER_ASSETS holds; `make test` sets both.
// copy.sh, run by `make generate`, copies into the chart what it shares with config/.
package chart
