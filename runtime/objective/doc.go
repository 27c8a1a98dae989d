// Package objective has the losses, as pure functions of log-probabilities named for what they are.
//
// It imports runtime/tensor alone of this project: no model, no data, no trainer. Which tokens count
// was decided before (data), and so was the shift by one.
package objective
