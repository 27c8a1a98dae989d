// Package gitops checks what the project promises to GitOps tools, with these tools' own libraries: kstatus,
// Flux's evaluator of CEL expressions, and the Lua interpreter that is Argo CD's. The package monitoring below it
// does so for Prometheus.
//
// It is a module of its own, so that nobody who imports the API gets these libraries with it. Nothing imports it.
package gitops
