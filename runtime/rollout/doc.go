// Package rollout samples responses from a policy: batched, with a key-value cache.
//
// The random numbers of a response depend on the seed and its prompt alone, so which prompts share
// a batch changes no result. The package imports runtime/model and runtime/tensor of this project:
// no tokenizer, no reward, no trainer.
package rollout
