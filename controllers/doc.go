// Package controllers reconciles the stages: one loop for every kind.
//
//	get -> gather (reads only) -> decide (pure) -> apply -> one status patch
//
// Gathering is package inputs, deciding are packages desired and status; what is here talks to
// the cluster. The spec is never written. Nothing is polled but a running trainer's progress.
//
// The package imports the API and nothing of the runtime.
package controllers
