// Package optim turns gradients into weights: AdamW, learning-rate schedules and gradient clipping.
//
// It knows parameters by model.Parameter, and nothing of losses, batches or files. Where a formula
// is PyTorch's, it gives PyTorch's numbers.
package optim
