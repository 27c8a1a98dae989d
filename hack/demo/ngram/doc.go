// Package ngram is the baseline that the demo's supervised fine-tuning has to beat: an interpolated
// bigram model over the same tokens, scored at the same positions.
//
// The package imports runtime/tokenizer and runtime/data, so that tokens and positions are those
// of the trainer, and no tensor code.
package ngram
