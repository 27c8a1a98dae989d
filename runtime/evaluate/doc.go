// Package evaluate asks a policy questions: the samples that people read before and after training.
//
// It composes model, tokenizer and rollout; it must not import train, which uses the like.
package evaluate
