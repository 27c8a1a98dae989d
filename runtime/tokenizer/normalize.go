package tokenizer

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// setNormalizer chains the normalizers, in order.
func (t *Tokenizer) setNormalizer(v *vocabularyJSON) error {
	if err := v.Normalizer.bounded(); err != nil {
		return fieldError(vocabularyFile, "normalizer", "%w", err)
	}
	for _, c := range v.Normalizer.flatten() {
		f, err := c.normalizer()
		if err != nil {
			return fieldError(vocabularyFile, "normalizer", "%w", err)
		}
		if before := t.normalize; before != nil {
			t.normalize = func(s string) string { return f(before(s)) }
		} else {
			t.normalize = f
		}
	}
	return nil
}

// maxGrowth bounds how much longer normalizers or decoders can make a text.
const maxGrowth = 4096

func (c *component) bounded() error {
	growth := 1
	for _, c := range c.flatten() {
		from, to := 1, len(c.Content)
		if c.Pattern.String != nil {
			from = max(1, len(*c.Pattern.String))
		}
		if c.Type == "Prepend" {
			to = len(c.Prepend)
		}
		if growth *= 1 + to/from; growth > maxGrowth {
			return c.errorf("makes a text more than %d times as long", maxGrowth)
		}
	}
	return nil
}

func (c *component) normalizer() (func(string) string, error) {
	switch c.Type {
	case "NFC":
		return normalForm(norm.NFC), nil
	case "NFD":
		return normalForm(norm.NFD), nil
	case "NFKC":
		return normalForm(norm.NFKC), nil
	case "NFKD":
		return normalForm(norm.NFKD), nil
	case "Lowercase":
		return lowercaseAll, nil
	case "StripAccents":
		return func(s string) string {
			return strings.Map(func(r rune) rune {
				if isAccent(r) {
					return -1
				}
				return r
			}, s)
		}, nil
	case "Strip":
		left, err := c.flag("strip_left", c.StripLeft)
		if err != nil {
			return nil, err
		}
		right, err := c.flag("strip_right", c.StripRight)
		if err != nil {
			return nil, err
		}
		return func(s string) string {
			if left {
				s = strings.TrimLeftFunc(s, unicode.IsSpace)
			}
			if right {
				s = strings.TrimRightFunc(s, unicode.IsSpace)
			}
			return s
		}, nil
	case "Prepend":
		return func(s string) string {
			if s == "" {
				return s
			}
			return c.Prepend + s
		}, nil
	case "Replace":
		return c.replace()
	}
	return nil, c.unsupported()
}

// replace is a Replace normalizer, or decoder.
func (c *component) replace() (func(string) string, error) {
	with, ok := c.text()
	if !ok {
		return nil, c.errorf("has no content")
	}
	if c.Pattern.String != nil {
		return func(s string) string { return strings.ReplaceAll(s, *c.Pattern.String, with) }, nil
	}
	if c.Pattern.Regex == nil {
		return nil, c.errorf("has no pattern")
	}
	re, err := compile(*c.Pattern.Regex)
	if err != nil {
		return nil, c.errorf("%w", err)
	}
	return func(s string) string {
		var b strings.Builder
		end := 0
		re.matches(s, func(from, to int) {
			b.WriteString(s[end:from])
			b.WriteString(with)
			end = to
		})
		b.WriteString(s[end:])
		return b.String()
	}, nil
}

// normalForm is a Unicode normal form as tokenizers has it. That is not quite norm's: it knows the
// characters of Unicode 9 only (tables.go has the later ones, which stay as they are and in their
// place), and knows no limit of 30 marks on a character (UAX 15-D4, Stream-Safe Text).
func normalForm(f norm.Form) func(string) string {
	known := func(s string) string {
		if f.QuickSpanString(s) == len(s) {
			return s
		}
		if tooManyMarks(s) {
			return normalizeMarks(f, s)
		}
		return f.String(s)
	}
	return func(s string) string {
		if !hasUnnormalized(s) {
			return known(s)
		}
		var b strings.Builder
		for s != "" {
			n := strings.IndexFunc(s, isUnnormalized)
			if n < 0 {
				n = len(s)
			}
			b.WriteString(known(s[:n]))
			s = s[n:]
			n = strings.IndexFunc(s, func(r rune) bool { return !isUnnormalized(r) })
			if n < 0 {
				n = len(s)
			}
			b.WriteString(s[:n])
			s = s[n:]
		}
		return b.String()
	}
}

func isUnnormalized(r rune) bool { return r >= firstUnnormalized && unicode.Is(unnormalized, r) }

func hasUnnormalized(s string) bool {
	for _, r := range s {
		if r >= firstUnnormalized && unicode.Is(unnormalized, r) {
			return true
		}
	}
	return false
}

// tooManyMarks says that norm might break a run of marks: none decomposes into more than three.
func tooManyMarks(s string) bool {
	marks := 0
	for i := range s {
		if p := norm.NFKD.PropertiesString(s[i:]); p.CCC() == 0 && p.TrailCCC() == 0 {
			marks = 0
		} else if marks++; marks >= 10 {
			return true
		}
	}
	return false
}

// normalizeMarks is the definition of a normal form (UAX 15): decompose, sort runs of marks by class,
// compose. Pairs are composed by norm.
func normalizeMarks(f norm.Form, s string) string {
	type char struct {
		r   rune
		ccc uint8
	}
	full := norm.NFD
	if f == norm.NFKC || f == norm.NFKD {
		full = norm.NFKD
	}
	var chars []char
	for _, r := range s {
		for _, d := range full.String(string(r)) {
			chars = append(chars, char{d, full.PropertiesString(string(d)).CCC()})
		}
	}
	for i := 0; i < len(chars); i++ {
		from := i
		for i < len(chars) && chars[i].ccc != 0 {
			i++
		}
		slices.SortStableFunc(chars[from:i], func(a, b char) int { return int(a.ccc) - int(b.ccc) })
	}
	if f == norm.NFC || f == norm.NFKC {
		out := chars[:0]
		starter := -1 // in out
		for _, c := range chars {
			if starter >= 0 {
				last := out[len(out)-1]
				blocked := len(out)-1 > starter && (last.ccc == 0 || last.ccc >= c.ccc)
				if joined := []rune(norm.NFC.String(string([]rune{out[starter].r, c.r}))); !blocked && len(joined) == 1 {
					out[starter].r = joined[0]
					continue
				}
			}
			if c.ccc == 0 {
				starter = len(out)
			}
			out = append(out, c)
		}
		chars = out
	}
	var b strings.Builder
	for _, c := range chars {
		b.WriteRune(c.r)
	}
	return b.String()
}

// lowercaseAll is Rust's, character by character; only U+0130 becomes two.
func lowercaseAll(s string) string {
	return strings.Map(lowercase, strings.ReplaceAll(s, "\u0130", "i\u0307"))
}
