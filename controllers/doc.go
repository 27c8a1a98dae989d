// Package controllers reconciles the stages: one loop for every kind.
//
//	get -> gather (reads only) -> decide (pure) -> apply -> one status patch
//
// Gathering is package inputs, deciding are packages desired and status; what is here talks to
// the cluster. The spec is never written. Nothing is polled but a running trainer's progress.
//
// The package imports the API and nothing of the runtime.
package controllers

//go:generate go tool -modfile=../hack/tools/go.mod controller-gen rbac:roleName=alignment-operator output:rbac:dir=../config/rbac paths=.
