// Package tokenizer turns text into token ids and back: byte-level BPE as GPT-2, Llama-3,
// Qwen2 and SmolLM have it, read from and written to Hugging Face's tokenizer.json, and
// trained on a corpus.
//
// Everything a tokenizer.json may hold that this package does not do (SentencePiece's
// Metaspace, WordPiece, Unigram, BPE dropout, ...) is refused by name, never ignored.
//
// It is pure Go: it must not import runtime/tensor, nor any other package of this module.
package tokenizer
