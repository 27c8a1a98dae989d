package tokenizer

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is an entry of tokenizer.json's added_tokens: text that becomes one token before
// any splitting.
type addedToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only between non-word characters
	LStrip     bool   `json:"lstrip"`      // with the white space before it
	RStrip     bool   `json:"rstrip"`      // with the white space after it
	Normalized bool   `json:"normalized"`  // looked for in the normalized text
	Special    bool   `json:"special"`     // a control token: left out of decoded text
}

// addedTokens are looked for in the text as it is, then in the normalized text between those found.
type addedTokens struct {
	verbatim, normalized *matcher
}

// matcher finds added tokens in a text: the leftmost, the longest of those that begin there.
type matcher struct {
	byFirst [256][]addedToken // by the first byte, longest first
	plain   *matcher          // the same without special tokens; nil when there are none
}

func newAddedTokens(tokens []addedToken, normalize func(string) string) addedTokens {
	var verbatim, normalized []addedToken
	for _, t := range tokens {
		switch {
		case !t.Normalized:
			verbatim = append(verbatim, t)
		case normalize != nil:
			t.Content = normalize(t.Content)
			fallthrough
		default:
			normalized = append(normalized, t)
		}
	}
	return addedTokens{newMatcher(verbatim), newMatcher(normalized)}
}

func newMatcher(tokens []addedToken) *matcher {
	m := new(matcher)
	ordinary := make([]addedToken, 0, len(tokens))
	for _, t := range tokens {
		if t.Content == "" {
			continue
		}
		m.byFirst[t.Content[0]] = append(m.byFirst[t.Content[0]], t)
		if !t.Special {
			ordinary = append(ordinary, t)
		}
	}
	for _, list := range m.byFirst {
		slices.SortStableFunc(list, func(a, b addedToken) int { return cmp.Compare(len(b.Content), len(a.Content)) })
	}
	if len(ordinary) < len(tokens) {
		m.plain = newMatcher(ordinary)
	}
	return m
}

// ordinary returns the matcher of the tokens that are not special.
func (m *matcher) ordinary() *matcher {
	if m.plain != nil {
		return m.plain
	}
	return m
}

// split hands the tokens found in s to token and the text between them to text, in order.
func (m *matcher) split(s string, token func(int32), text func(string)) {
	done := 0 // s[:done] has been handed over
	for i := 0; i < len(s); {
		t := m.match(s, i)
		if t == nil {
			i++
			continue
		}
		start, end := i, i+len(t.Content)
		if t.LStrip {
			start = done + len(strings.TrimRightFunc(s[done:start], unicode.IsSpace))
		}
		if t.RStrip {
			end = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
		}
		if start > done {
			text(s[done:start])
		}
		token(int32(t.ID))
		i, done = end, end
	}
	if done < len(s) {
		text(s[done:])
	}
}

func (m *matcher) match(s string, i int) *addedToken {
	for k := range m.byFirst[s[i]] {
		t := &m.byFirst[s[i]][k]
		if !strings.HasPrefix(s[i:], t.Content) {
			continue
		}
		if t.SingleWord {
			before, _ := utf8.DecodeLastRuneInString(s[:i])
			after, _ := utf8.DecodeRuneInString(s[i+len(t.Content):])
			if isWord(before) || isWord(after) {
				continue
			}
		}
		return t
	}
	return nil
}

// isWord is the regular expressions' \w; utf8.RuneError, the end of a text, is not.
func isWord(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}
