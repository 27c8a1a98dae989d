// Package model is the policy: a decoder of one of six families on runtime/tensor. What a family is, its
// names and the blocks it is made of, is in its file: llama.go, mistral.go, qwen2.go, qwen3.go, gpt2.go,
// neox.go. forward.go has the blocks, which they share.
//
// Parameters have the names, shapes and layout of transformers' class, so that a
// folder that transformers published loads here and the other way round. A forward takes tokens,
// positions and who attends to whom (Input), not just a padded rectangle: packed examples and
// prompts that several responses share are rows like any other.
//
// With a scalar head in place of the vocabulary's (WithScore) it is a reward or value model, to
// transformers a ...ForSequenceClassification with one label. CheckpointActivations trades a further
// forward for most of a training step's memory.
//
// WithLoRA trains low-rank adapters in place of the weights, under PEFT's names; the frozen weights are shared with the
// model that has none, which serves as the reference.
//
// Functions panic with *tensor.Error where an operator fails, as all tensor code does, and must be
// called inside tensor.Run. The package imports runtime/tensor alone of this project: no files, no
// tokenizer, no objective.
package model
