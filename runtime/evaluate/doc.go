// Package evaluate runs models over batches and measures policies: what they answer, the reward of it,
// how far it is from a reference.
//
// It composes model, data and rollout; it must not import train, which uses it.
package evaluate
