package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dlclark/regexp2"
	"golang.org/x/text/unicode/norm"
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

	AddPrefixSpace bool  `json:"add_prefix_space"` // of ByteLevel
	UseRegex       *bool `json:"use_regex"`

	Pattern struct { // of Split
		String *string `json:"String"`
		Regex  *string `json:"Regex"`
	} `json:"pattern"`
	Behavior string `json:"behavior"`
	Invert   bool   `json:"invert"`

	IndividualDigits bool `json:"individual_digits"` // of Digits

	Single        []templatePiece `json:"single"` // of TemplateProcessing
	SpecialTokens map[string]struct {
		IDs []int64 `json:"ids"`
	} `json:"special_tokens"`
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
		t.setNormalizer, t.setVocabulary, t.setModel, t.setPreTokenizer, t.setDecoder, t.setPostProcessor,
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
	t.tokens, t.bytes, t.special = make([]string, size), make([]string, size), make([]bool, size)
	t.ids = make(map[string]int32, len(v.Model.Vocab)+len(v.AddedTokens))
	for token, id := range v.Model.Vocab {
		if was := t.tokens[id]; was != "" {
			return fieldError(vocabularyFile, "model.vocab", "%q and %q both have id %d", min(was, token), max(was, token), id)
		}
		t.tokens[id], t.bytes[id], t.ids[token] = token, unspell(token), int32(id)
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
		if t.bytes[a.ID] = a.Content; a.Normalized && t.normalize != nil {
			t.bytes[a.ID] = t.normalize(a.Content) // what it was found as
		}
		t.special[a.ID] = a.Special
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
	case m.ByteFallback:
		return fieldError(vocabularyFile, "model.byte_fallback", "is not supported (SentencePiece)")
	}
	b := &bpe{merges: make(map[pair]merge, len(m.Merges)), fuse: m.FuseUnk}
	vocab := func(token string) (int32, bool) { id, ok := m.Vocab[token]; return int32(id), ok }
	if m.UnkToken != nil {
		if b.unknown.id, b.unknown.ok = vocab(*m.UnkToken); !b.unknown.ok {
			return fieldError(vocabularyFile, "model.unk_token", "%q is not in the vocabulary", *m.UnkToken)
		}
	}
	for c := range b.byteIDs {
		b.byteIDs[c] = -1
		if id, ok := vocab(string(byteRunes[c])); ok {
			b.byteIDs[c] = id
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
			b.words[unspell(token)] = int32(id)
		}
	}
	t.model = b
	return nil
}

func (t *Tokenizer) setNormalizer(v *vocabularyJSON) error {
	for _, c := range v.Normalizer.flatten() {
		form := map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}
		f, ok := form[c.Type]
		if !ok {
			return fieldError(vocabularyFile, "normalizer", "type %q is not supported", c.Type)
		}
		if before := t.normalize; before != nil {
			t.normalize = func(s string) string { return f.String(before(s)) }
		} else {
			t.normalize = f.String
		}
	}
	return nil
}

// setPreTokenizer takes splitters and, last, the ByteLevel that makes the tokenizer byte-level.
func (t *Tokenizer) setPreTokenizer(v *vocabularyJSON) error {
	const field = "pre_tokenizer"
	all := v.PreTokenizer.flatten()
	if len(all) == 0 || all[len(all)-1].Type != "ByteLevel" {
		return fieldError(vocabularyFile, field, "has no ByteLevel at its end: only byte-level tokenizers are supported")
	}
	add := func(pattern string, removeMatches, removeGaps bool) error {
		s, err := byPattern(pattern, removeMatches, removeGaps)
		if err != nil {
			return fieldError(vocabularyFile, field, "%w", err)
		}
		t.splitters = append(t.splitters, s)
		return nil
	}
	for i, c := range all {
		var err error
		switch {
		case c.Type == "ByteLevel" && i == len(all)-1:
			if c.AddPrefixSpace && len(t.splitters) > 0 {
				return fieldError(vocabularyFile, field, "add_prefix_space after a splitter is not supported")
			}
			t.prefix = c.AddPrefixSpace
			if c.UseRegex == nil || *c.UseRegex {
				err = add(gpt2Pattern, false, false)
			}
		case c.Type == "Split":
			if !slices.Contains([]string{"Isolated", "Removed"}, c.Behavior) {
				return fieldError(vocabularyFile, field, "Split behavior %q is not supported", c.Behavior)
			}
			pattern, ok := c.pattern()
			if !ok {
				return fieldError(vocabularyFile, field, "Split has no pattern")
			}
			removed := c.Behavior == "Removed"
			err = add(pattern, removed && !c.Invert, removed && c.Invert)
		case c.Type == "Digits" && c.IndividualDigits:
			err = add(`\p{N}`, false, false)
		case c.Type == "Digits":
			err = add(`\p{N}+`, false, false)
		default:
			return fieldError(vocabularyFile, field, "type %q is not supported", c.Type)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Tokenizer) setDecoder(v *vocabularyJSON) error {
	all := v.Decoder.flatten()
	if len(all) != 1 || all[0].Type != "ByteLevel" {
		names := make([]string, len(all))
		for i, c := range all {
			names[i] = c.Type
		}
		return fieldError(vocabularyFile, "decoder", "got %q, only ByteLevel is supported", names)
	}
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
			if len(before) > 1 {
				return fieldError(vocabularyFile, field, "%d tokens before a text are not supported", len(before))
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

func (c *component) pattern() (string, bool) {
	switch {
	case c.Pattern.Regex != nil:
		return *c.Pattern.Regex, true
	case c.Pattern.String != nil:
		return regexp2.Escape(*c.Pattern.String), true
	}
	return "", false
}
