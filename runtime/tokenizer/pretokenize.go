package tokenizer

import (
	"slices"
	"strings"
	"unicode"
)

// setPreTokenizer takes splitters and, last of all, the ByteLevel that makes the tokenizer byte-level.
func (t *Tokenizer) setPreTokenizer(v *vocabularyJSON) error {
	all := v.PreTokenizer.flatten()
	for i, c := range all {
		var err error
		switch {
		case c.Type != "ByteLevel":
			var s splitter
			if s, err = c.splitter(); err == nil {
				t.splitters = append(t.splitters, s)
			}
			if err == nil && c.PrependScheme != nil && *c.PrependScheme == "first" && v.Normalizer.shortens() {
				err = c.errorf("prepend_scheme first after a normalizer that removes text is not supported")
			}
		case i < len(all)-1:
			err = c.errorf("is not supported but at the end")
		default:
			t.byteLevel = true
			var prefix bool
			if prefix, err = c.flag("add_prefix_space", c.AddPrefixSpace); prefix {
				t.splitters = append(t.splitters, prefixSpace)
			}
			if c.UseRegex == nil || *c.UseRegex {
				t.splitters = append(t.splitters, scan(gpt2Piece))
			}
		}
		if err != nil {
			return fieldError(vocabularyFile, "pre_tokenizer", "%w", err)
		}
	}
	return nil
}

// shortens says that a normalizer may remove the beginning of a text.
func (c *component) shortens() bool {
	return slices.ContainsFunc(c.flatten(), func(c component) bool {
		return slices.Contains([]string{"Strip", "StripAccents", "Replace"}, c.Type)
	})
}

func (c *component) splitter() (splitter, error) {
	switch c.Type {
	case "Split":
		b, err := c.behavior()
		if err != nil {
			return nil, err
		}
		switch {
		case c.Pattern.Regex != nil:
			s, err := byPattern(*c.Pattern.Regex, b, c.Invert)
			if err != nil {
				return nil, c.errorf("%w", err)
			}
			return s, nil
		case c.Pattern.String != nil:
			return splitAt(occurrences(*c.Pattern.String), b, c.Invert), nil
		}
		return nil, c.errorf("has no pattern")
	case "Metaspace":
		return c.metaspace()
	case "Digits":
		return byClass(isDigit, !c.IndividualDigits, isolated), nil
	case "Punctuation":
		if c.Behavior == "" {
			c.Behavior = isolated
		}
		b, err := c.behavior()
		return byClass(isPunctuation, false, b), err
	case "Whitespace":
		return splitAt(wordsAndSigns, removed, true), nil
	case "WhitespaceSplit":
		return byClass(unicode.IsSpace, false, removed), nil
	}
	return nil, c.unsupported()
}

func (c *component) behavior() (behavior, error) {
	if !slices.Contains([]behavior{removed, isolated, mergedWithPrevious, mergedWithNext, contiguous}, c.Behavior) {
		return "", c.errorf("behavior %q is not supported", c.Behavior)
	}
	return c.Behavior, nil
}

func (c *component) metaspace() (splitter, error) {
	scheme := "always"
	if c.PrependScheme != nil {
		scheme = *c.PrependScheme
	}
	prefix := c.AddPrefixSpace == nil || *c.AddPrefixSpace // older files have this, for always and never
	switch {
	case len([]rune(c.Replacement)) != 1:
		return nil, c.errorf("replacement %q is not one character", c.Replacement)
	case !slices.Contains([]string{"always", "first", "never"}, scheme):
		return nil, c.errorf("prepend_scheme %q is not supported", scheme)
	case !prefix && c.PrependScheme == nil:
		scheme = "never"
	case !prefix && scheme != "never":
		return nil, c.errorf("add_prefix_space does not agree with prepend_scheme %q", scheme)
	}
	return metaspace(c.Replacement, scheme, c.Split == nil || *c.Split), nil
}

// occurrences finds a text.
func occurrences(of string) func(string, func(from, to int)) {
	return func(s string, found func(from, to int)) {
		if of == "" {
			for i := range s {
				found(i, i)
			}
			return
		}
		for from := 0; ; {
			n := strings.Index(s[from:], of)
			if n < 0 {
				return
			}
			found(from+n, from+n+len(of))
			from += n + len(of)
		}
	}
}

// wordsAndSigns finds \w+|[^\w\s]+, of Rust's regular expressions.
func wordsAndSigns(s string, found func(from, to int)) {
	const none, word, sign = 0, 1, 2
	from, in := 0, none
	for i, r := range s {
		kind := sign
		switch {
		case isWord(r):
			kind = word
		case unicode.IsSpace(r):
			kind = none
		}
		if kind != in {
			if in != none {
				found(from, i)
			}
			from, in = i, kind
		}
	}
	if in != none {
		found(from, len(s))
	}
}
