package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The files of a tokenizer, in a Hugging Face folder.
const (
	vocabularyFile = "tokenizer.json"
	configFile     = "tokenizer_config.json"
	templateFile   = "chat_template.jinja"
	// modelFile is SentencePiece's own. It is kept for others: only it has the scores that llama.cpp merges by.
	modelFile = "tokenizer.model"
)

// Tokenizer is a BPE tokenizer. It is safe for concurrent use.
type Tokenizer struct {
	files files

	tokens  []string         // by id, as spelled in tokenizer.json; "" where an id is unused
	text    []string         // by id, what the token is to the decoders or, when byte-level, decodes to
	special []bool           // by id
	ids     map[string]int32 // of tokens

	added     addedTokens
	normalize func(string) string // nil when texts are taken as they are
	splitters []splitter
	byteLevel bool // the vocabulary is spelled in the byte alphabet
	model     *bpe
	decode    []decoder // nil when byte-level

	bos, eos, pad tokenID
	named         map[string]string
	chatTemplate  string
}

// files are the bytes a tokenizer was read from, and is saved as; nil where there is no file.
type files struct {
	vocabulary, config, template, model []byte
}

// byName are all of them.
func (f *files) byName() map[string]*[]byte {
	return map[string]*[]byte{vocabularyFile: &f.vocabulary, configFile: &f.config, templateFile: &f.template, modelFile: &f.model}
}

// tokenID is an id that may be absent.
type tokenID struct {
	id int32
	ok bool
}

// Load reads a tokenizer.json, or the one in the folder path, and the tokenizer_config.json,
// chat_template.jinja and tokenizer.model beside it, which may be missing. An error names the file and the field.
func Load(path string) (*Tokenizer, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, vocabularyFile)
	}
	var f files
	dir := filepath.Dir(path)
	for name, to := range f.byName() {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && (name == vocabularyFile || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("load tokenizer: %w", err)
		}
		*to = b
	}
	t, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("load tokenizer from %s: %w", dir, err)
	}
	return t, nil
}

// Save writes the tokenizer's files into dir, which exists. A tokenizer that was loaded is
// written as it was read, byte for byte.
func (t *Tokenizer) Save(dir string) error {
	for _, name := range t.Files() {
		if err := os.WriteFile(filepath.Join(dir, name), *t.files.byName()[name], 0o644); err != nil {
			return fmt.Errorf("save tokenizer: %w", err)
		}
	}
	return nil
}

// Files are the names of what Save writes, sorted.
func (t *Tokenizer) Files() (names []string) {
	for name, b := range t.files.byName() {
		if *b != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Encode returns the token ids of text. It adds no special token, and the text of one, such as
// "<|endoftext|>", is encoded as any other text: what a dataset says cannot end a document.
func (t *Tokenizer) Encode(text string) []int32 { return t.encode(text, nowhere) }

// EncodeSpecial is Encode, but the text of a special token becomes that token. It is for text
// that a template rendered, never for a user's.
func (t *Tokenizer) EncodeSpecial(text string) []int32 { return t.encode(text, everywhere) }

func (t *Tokenizer) encode(text string, special where) []int32 {
	out := make([]int32, 0, len(text)/3+1)
	add := func(id int32, _ int) { out = append(out, id) }
	piece := func(s string) { out = t.model.appendWord(out, s) }
	t.added.verbatim.split(text, special, add, func(s string, at int) {
		if t.normalize != nil {
			s = t.normalize(s)
		}
		t.added.normalized.split(s, special, add, func(s string, after int) {
			split(s, at+after == 0, t.splitters, piece)
		})
	})
	return out
}

// Decode returns the text of ids, without special tokens if skipSpecial. Ids outside the
// vocabulary decode to nothing. A byte-level tokenizer's text ends with a partial character, invalid
// UTF-8, where ids end within one: Decode(Encode(s)) is s, byte for byte, unless the tokenizer
// normalizes. With byte_fallback, bytes that make no text become U+FFFD each.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		if id < 0 || int(id) >= len(t.text) || t.tokens[id] == "" || skipSpecial && t.special[id] {
			continue
		}
		tokens = append(tokens, t.text[id])
	}
	for _, d := range t.decode {
		tokens = d(tokens)
	}
	return strings.Join(tokens, "")
}

// VocabSize is the largest id plus one: the rows an embedding needs at least.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// SameVocabulary says that both give every id the same token.
func (t *Tokenizer) SameVocabulary(o *Tokenizer) bool { return slices.Equal(t.tokens, o.tokens) }

// ID returns the id of a token as tokenizer.json spells it; ok is false when it has none.
func (t *Tokenizer) ID(token string) (id int32, ok bool) {
	id, ok = t.ids[token]
	return id, ok
}

// BOS returns the token that this tokenizer puts before every text; ok is false when it puts
// none, even if tokenizer_config.json names a bos_token (GPT-2's and Qwen2's are never added).
func (t *Tokenizer) BOS() (id int32, ok bool) { return t.bos.id, t.bos.ok }

// EOS returns the token that ends a text, tokenizer_config.json's eos_token.
func (t *Tokenizer) EOS() (id int32, ok bool) { return t.eos.id, t.eos.ok }

// Pad returns the token that fills a batch, tokenizer_config.json's pad_token.
func (t *Tokenizer) Pad() (id int32, ok bool) { return t.pad.id, t.pad.ok }

// Token returns how tokenizer.json spells id; "" when id is not in the vocabulary.
func (t *Tokenizer) Token(id int32) string {
	if id < 0 || int(id) >= len(t.tokens) {
		return ""
	}
	return t.tokens[id]
}

// ChatTemplate returns the Jinja source of the chat template, "" when there is none.
func (t *Tokenizer) ChatTemplate() string { return t.chatTemplate }
