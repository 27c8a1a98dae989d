package tokenizer

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder turns tokens into pieces of text; the text is all of them.
type decoder func(tokens []string) []string

// setDecoder takes ByteLevel alone, or the decoders of SentencePiece's tokenizers.
func (t *Tokenizer) setDecoder(v *vocabularyJSON) error {
	all := v.Decoder.flatten()
	if len(all) == 1 && all[0].Type == "ByteLevel" {
		return nil
	}
	if len(all) == 0 {
		return fieldError(vocabularyFile, "decoder", "is missing")
	}
	if err := v.Decoder.bounded(); err != nil {
		return fieldError(vocabularyFile, "decoder", "%w", err)
	}
	for _, c := range all {
		d, err := c.decoder()
		if err != nil {
			return fieldError(vocabularyFile, "decoder", "%w", err)
		}
		t.decode = append(t.decode, d)
	}
	return nil
}

func (c *component) decoder() (decoder, error) {
	each := func(f func(string) string) decoder {
		return func(tokens []string) []string {
			for i, s := range tokens {
				tokens[i] = f(s)
			}
			return tokens
		}
	}
	switch c.Type {
	case "Replace":
		f, err := c.replace()
		return each(f), err
	case "ByteFallback":
		return joinBytes, nil
	case "Fuse":
		return func(tokens []string) []string { return []string{strings.Join(tokens, "")} }, nil
	case "Strip":
		of, ok := c.text()
		if !ok || utf8.RuneCountInString(of) != 1 {
			return nil, c.errorf("content %q is not one character", of)
		}
		return each(func(s string) string {
			for n := 0; n < c.Start && strings.HasPrefix(s, of); n++ {
				s = s[len(of):]
			}
			for n := 0; n < c.Stop && strings.HasSuffix(s, of); n++ {
				s = s[:len(s)-len(of)]
			}
			return s
		}), nil
	case "Metaspace":
		if _, err := c.metaspace(); err != nil {
			return nil, err
		}
		always := c.PrependScheme == nil || *c.PrependScheme != "never"
		if c.PrependScheme == nil && c.AddPrefixSpace != nil {
			always = *c.AddPrefixSpace
		}
		return func(tokens []string) []string {
			for i, s := range tokens {
				space := " "
				if i == 0 && always {
					space = ""
				}
				tokens[i] = strings.ReplaceAll(s, c.Replacement, space)
			}
			return tokens
		}, nil
	case "ByteLevel":
		return nil, c.errorf("among other decoders is not supported")
	}
	return nil, c.unsupported()
}

// joinBytes reads runs of tokens "<0xE6>" as text; where one is none, each becomes U+FFFD.
func joinBytes(tokens []string) []string {
	out := make([]string, 0, len(tokens))
	var run []byte
	flush := func() {
		switch {
		case len(run) == 0:
		case utf8.Valid(run):
			out = append(out, string(run))
		default:
			out = append(out, strings.Repeat("\ufffd", len(run)))
		}
		run = run[:0]
	}
	for _, s := range tokens {
		if len(s) == 6 && strings.HasPrefix(s, "<0x") && s[5] == '>' {
			if b, err := strconv.ParseUint(s[3:5], 16, 8); err == nil {
				run = append(run, byte(b))
				continue
			}
		}
		flush()
		out = append(out, s)
	}
	flush()
	return out
}
