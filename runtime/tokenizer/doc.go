// Package tokenizer turns text into token ids and back, exactly as Hugging Face's tokenizers does:
// byte-level BPE (GPT-2, NeoX, Llama 3, Qwen, DeepSeek, Mistral Nemo) and SentencePiece's BPE with
// byte fallback (Llama 2, Mistral, Gemma, Phi-3), read from and written to tokenizer.json. It trains
// byte-level ones on a corpus.
//
// Everything a tokenizer.json may hold that this package does not do (WordPiece, Unigram, BPE
// dropout, Precompiled, ...) is refused by name, never ignored.
//
// It is pure Go: it must not import runtime/tensor, nor any other package of this module.
package tokenizer
