// Package inputs gathers what a stage needs from the cluster before anything is decided: the
// checkpoints of the stages it refers to. It only reads, and it makes a plain value.
//
// It imports the API and controller-runtime's client, never the runtime.
package inputs
