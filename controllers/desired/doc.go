// Package desired decides what a stage's run should be: resource and inputs -> RunConfig ->
// ConfigMap, NetworkPolicy and batch/v1 Job. It is pure: it reads nothing but its arguments,
// and equal arguments give equal objects. Its goldens are testdata/*.txtar.
//
// It imports the API, the run configuration and apply configurations; no client, no clock.
package desired
