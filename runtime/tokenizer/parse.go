package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxVocabSize bounds the ids of a tokenizer.json, and with them the memory it can ask for.
const maxVocabSize = 1 << 22

// vocabularyJSON is tokenizer.json. Its truncation and padding settings are not read: lengths
// are the caller's concern.
type vocabularyJSON struct {
	Version       string       `json:"version"`
	Truncation    any          `json:"truncation"`
	Padding       any          `json:"padding"`
	AddedTokens   []addedToken `json:"added_tokens"`
	Normalizer    *component   `json:"normalizer"`
	PreTokenizer  *component   `json:"pre_tokenizer"`
	PostProcessor *component   `json:"post_processor"`
	Decoder       *component   `json:"decoder"`
	Model         modelJSON    `json:"model"`
}

type modelJSON struct {
	Type         string           `json:"type"`
	Dropout      *float64         `json:"dropout"`
	UnkToken     *string          `json:"unk_token"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
	FuseUnk      bool             `json:"fuse_unk"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int64 `json:"vocab"`
	Merges       []mergeJSON      `json:"merges"`
}

// mergeJSON is ["a", "b"] or, before tokenizers 0.20, "a b".
type mergeJSON [2]string

// MarshalJSON writes the older form, which every version of tokenizers reads: no token of a byte-level
// vocabulary has a space in it.
func (m mergeJSON) MarshalJSON() ([]byte, error) { return json.Marshal(m[0] + " " + m[1]) }

func (m *mergeJSON) UnmarshalJSON(b []byte) error {
	var joined string
	if err := json.Unmarshal(b, &joined); err == nil {
		for i := range joined {
			if joined[i] == ' ' {
				m[0], m[1] = joined[:i], joined[i+1:]
				return nil
			}
		}
		return fmt.Errorf("merge %q has no space", joined)
	}
	var parts []string
	if err := json.Unmarshal(b, &parts); err != nil || len(parts) != 2 {
		return fmt.Errorf("merge %s is neither two tokens nor a text with a space", b)
	}
	m[0], m[1] = parts[0], parts[1]
	return nil
}

// component is a normalizer, pre-tokenizer, post-processor or decoder: the fields of all that
// are supported.
type component struct {
	Type string `json:"type"`

	Normalizers   []component `json:"normalizers"` // of a Sequence
	PreTokenizers []component `json:"pretokenizers"`
	Processors    []component `json:"processors"`
	Decoders      []component `json:"decoders"`

	AddPrefixSpace *bool `json:"add_prefix_space"` // of ByteLevel, and of an old Metaspace
	UseRegex       *bool `json:"use_regex"`

	Pattern struct { // of Split and Replace
		String *string `json:"String"`
		Regex  *string `json:"Regex"`
	} `json:"pattern"`
	Behavior behavior `json:"behavior"` // of Split and Punctuation
	Invert   bool     `json:"invert"`

	IndividualDigits bool `json:"individual_digits"` // of Digits

	Replacement   string  `json:"replacement"` // of Metaspace
	PrependScheme *string `json:"prepend_scheme"`
	Split         *bool   `json:"split"`

	Prepend    string          `json:"prepend"` // of the normalizers Prepend and Strip
	StripLeft  *bool           `json:"strip_left"`
	StripRight *bool           `json:"strip_right"`
	Content    json.RawMessage `json:"content"` // of Replace, and of the decoder Strip
	Start      int             `json:"start"`
	Stop       int             `json:"stop"`

	Single        []templatePiece `json:"single"` // of TemplateProcessing
	SpecialTokens map[string]struct {
		IDs []int64 `json:"ids"`
	} `json:"special_tokens"`
}

func (c *component) errorf(format string, args ...any) error {
	return fmt.Errorf("%s "+format, append([]any{c.Type}, args...)...)
}

func (c *component) unsupported() error { return fmt.Errorf("type %q is not supported", c.Type) }

func (c *component) flag(name string, value *bool) (bool, error) {
	if value == nil {
		return false, c.errorf("has no %s", name)
	}
	return *value, nil
}

// text is the content of a Replace or Strip.
func (c *component) text() (s string, ok bool) {
	return s, json.Unmarshal(c.Content, &s) == nil && string(c.Content) != "null"
}

// templatePiece is {"SpecialToken": {"id": "<s>"}} or {"Sequence": {"id": "A"}}.
type templatePiece struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
}

// flatten returns the members of a Sequence, of Sequences within it too; of nil, none.
func (c *component) flatten() []component {
	if c == nil {
		return nil
	}
	if c.Type != "Sequence" {
		return []component{*c}
	}
	var all []component
	for _, members := range [][]component{c.Normalizers, c.PreTokenizers, c.Processors, c.Decoders} {
		for i := range members {
			all = append(all, members[i].flatten()...)
		}
	}
	return all
}

// fieldError is an error in a field of one of a tokenizer's files.
func fieldError(file, field, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", file, field, fmt.Errorf(format, args...))
}

// jsonError names the field that has the wrong type, or where the JSON is broken.
func jsonError(file string, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("%s: byte %d: %w", file, syntax.Offset, err)
	}
	return fmt.Errorf("%s: %w", file, err)
}

func parse(f files) (*Tokenizer, error) {
	var v vocabularyJSON
	if err := json.Unmarshal(f.vocabulary, &v); err != nil {
		return nil, jsonError(vocabularyFile, err)
	}
	t := &Tokenizer{files: f}
	for _, step := range []func(*vocabularyJSON) error{
		t.setNormalizer, t.setPreTokenizer, t.setDecoder, t.setVocabulary, t.setModel, t.setPostProcessor,
	} {
		if err := step(&v); err != nil {
			return nil, err
		}
	}
	t.added = newAddedTokens(v.AddedTokens, t.normalize)
	if err := t.setConfig(f); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Tokenizer) setVocabulary(v *vocabularyJSON) error {
	size := int64(0)
	check := func(field, token string, id int64) error {
		if id < 0 || id >= maxVocabSize {
			return fieldError(vocabularyFile, field, "token %q has id %d, want 0 to %d", token, id, maxVocabSize-1)
		}
		size = max(size, id+1)
		return nil
	}
	for token, id := range v.Model.Vocab {
		if err := check("model.vocab", token, id); err != nil {
			return err
		}
	}
	for _, a := range v.AddedTokens {
		if err := check("added_tokens", a.Content, a.ID); err != nil {
			return err
		}
	}
	t.tokens, t.text, t.special = make([]string, size), make([]string, size), make([]bool, size)
	t.ids = make(map[string]int32, len(v.Model.Vocab)+len(v.AddedTokens))
	for token, id := range v.Model.Vocab {
		if was := t.tokens[id]; was != "" {
			return fieldError(vocabularyFile, "model.vocab", "%q and %q both have id %d", min(was, token), max(was, token), id)
		}
		t.tokens[id], t.ids[token] = token, int32(id)
	}
	for i, a := range v.AddedTokens {
		field := fmt.Sprintf("added_tokens[%d]", i)
		if was, ok := t.ids[a.Content]; ok && int64(was) != a.ID {
			return fieldError(vocabularyFile, field, "%q has id %d, and %d elsewhere", a.Content, a.ID, was)
		}
		if was := t.tokens[a.ID]; was != "" && was != a.Content {
			return fieldError(vocabularyFile, field, "%q has id %d, which is %q's", a.Content, a.ID, was)
		}
		t.tokens[a.ID], t.ids[a.Content] = a.Content, int32(a.ID)
		t.special[a.ID] = a.Special
	}
	copy(t.text, t.tokens)
	for _, a := range v.AddedTokens {
		if a.Normalized && t.normalize != nil {
			t.text[a.ID] = t.normalize(a.Content) // what it was found as
		}
	}
	if t.decode == nil {
		for id, token := range t.text {
			if word, ok := unspell(token); ok {
				t.text[id] = word
			}
		}
	}
	return nil
}

func (t *Tokenizer) setModel(v *vocabularyJSON) error {
	m := v.Model
	isSet := func(s *string) bool { return s != nil && *s != "" }
	switch {
	case m.Type != "BPE" && (m.Type != "" || m.Merges == nil): // old files leave the type out
		return fieldError(vocabularyFile, "model.type", "got %q, only BPE is supported", m.Type)
	case m.Dropout != nil && *m.Dropout != 0:
		return fieldError(vocabularyFile, "model.dropout", "is not supported")
	case isSet(m.Prefix):
		return fieldError(vocabularyFile, "model.continuing_subword_prefix", "is not supported")
	case isSet(m.Suffix):
		return fieldError(vocabularyFile, "model.end_of_word_suffix", "is not supported")
	}
	b := &bpe{byteLevel: t.byteLevel, merges: make(map[pair]merge, len(m.Merges)), fuse: m.FuseUnk}
	vocab := func(token string) (int32, bool) { id, ok := m.Vocab[token]; return int32(id), ok }
	if m.UnkToken != nil {
		if b.unknown.id, b.unknown.ok = vocab(*m.UnkToken); !b.unknown.ok {
			return fieldError(vocabularyFile, "model.unk_token", "%q is not in the vocabulary", *m.UnkToken)
		}
	}
	for c := range b.byteIDs {
		b.byteIDs[c] = -1
		spelled := string(byteRunes[c])
		if !b.byteLevel {
			spelled = fmt.Sprintf("<0x%02X>", c)
		}
		if id, ok := vocab(spelled); ok && (b.byteLevel || m.ByteFallback) {
			b.byteIDs[c] = id
		} else if b.byteLevel && m.ByteFallback {
			return fieldError(vocabularyFile, "model.byte_fallback", "is not supported for a byte-level vocabulary without %q", spelled)
		}
	}
	if !b.byteLevel {
		b.runeIDs = make(map[rune]int32)
		for token, id := range m.Vocab {
			if r, n := utf8.DecodeRuneInString(token); n > 0 && n == len(token) {
				b.runeIDs[r] = int32(id)
			}
		}
	}
	for rank, parts := range m.Merges {
		var ids [3]int32
		for k, token := range []string{parts[0], parts[1], parts[0] + parts[1]} {
			var ok bool
			if ids[k], ok = vocab(token); !ok {
				return fieldError(vocabularyFile, fmt.Sprintf("model.merges[%d]", rank), "%q is not in the vocabulary", token)
			}
		}
		b.merges[pair{ids[0], ids[1]}] = merge{int32(rank), ids[2]}
	}
	if m.IgnoreMerges {
		b.words = make(map[string]int32, len(m.Vocab))
		for token, id := range m.Vocab {
			if word, ok := t.word(token); ok {
				b.words[word] = int32(id)
			}
		}
	}
	t.model = b
	return nil
}

// setPostProcessor finds the token that the template puts before a text.
func (t *Tokenizer) setPostProcessor(v *vocabularyJSON) error {
	const field = "post_processor"
	for _, c := range v.PostProcessor.flatten() {
		switch c.Type {
		case "ByteLevel": // moves offsets only
		case "TemplateProcessing":
			var before []int64
			for _, piece := range c.Single {
				if piece.SpecialToken == nil {
					break
				}
				before = append(before, c.SpecialTokens[piece.SpecialToken.ID].IDs...)
			}
			if len(before) > 1 || len(before) == 1 && t.bos.ok {
				return fieldError(vocabularyFile, field, "more than one token before a text is not supported")
			}
			for _, id := range before {
				if id < 0 || id >= int64(len(t.tokens)) || t.tokens[id] == "" {
					return fieldError(vocabularyFile, field, "id %d is not in the vocabulary", id)
				}
				t.bos = tokenID{int32(id), true}
			}
		default:
			return fieldError(vocabularyFile, field, "type %q is not supported", c.Type)
		}
	}
	return nil
}
