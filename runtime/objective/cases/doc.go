// Package cases evaluates objectives on numbers given as JSON lines, in float64, so that anyone can check a
// loss and its gradient against their own. docs/objectives.md has the format.
//
// Each line is a case by itself: token log-probabilities (or scores) in, loss, gradient and metrics out. It
// imports runtime/objective and runtime/tensor alone of this project: no model, no data, no trainer.
package cases
