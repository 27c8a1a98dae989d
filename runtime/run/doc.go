// Package run carries out a RunConfig from its file to a published checkpoint.
//
// It verifies and loads the inputs, trains (package train), publishes, writes the report
// and says how it ended as a runconfig.Result with its exit code. It is the one place that
// knows the layout of an output folder, and where panics of package tensor become errors.
// It does not know Kubernetes.
package run
