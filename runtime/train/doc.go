// Package train is the optimisation loop: batches in, an aligned policy out.
//
// One loop serves all methods; a method says what its examples are and what loss a
// micro-batch of them has (sft.go, dpo.go). The package composes model, objective and
// optim; it knows neither Kubernetes nor where checkpoints are published (see run).
package train
