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
}

func newAddedTokens(tokens []addedToken, normalize func(string) string) addedTokens {
	var verbatim, normalized []addedToken
	for _, special := range []bool{true, false} { // of two that are alike, the special one
		for _, t := range tokens {
			switch {
			case t.Special != special || t.Content == "":
			case !t.Normalized:
				verbatim = append(verbatim, t)
			case normalize != nil:
				t.Content = normalize(t.Content)
				fallthrough
			default:
				normalized = append(normalized, t)
			}
		}
	}
	return addedTokens{newMatcher(verbatim), newMatcher(normalized)}
}

func newMatcher(tokens []addedToken) *matcher {
	m := new(matcher)
	for _, t := range tokens {
		if t.Content != "" {
			m.byFirst[t.Content[0]] = append(m.byFirst[t.Content[0]], t)
		}
	}
	for _, list := range m.byFirst {
		slices.SortStableFunc(list, func(a, b addedToken) int { return cmp.Compare(len(b.Content), len(a.Content)) })
	}
	return m
}

// where says whether the text of a special token counts as the token at a place.
type where func(from, to int) bool

func everywhere(int, int) bool { return true }
func nowhere(int, int) bool    { return false }

// split hands the tokens found in s to token with where they end, and the text between them to text
// with its offset, in order.
func (m *matcher) split(s string, special where, token func(id int32, end int), text func(s string, at int)) {
	done := 0 // s[:done] has been handed over
	for i := 0; i < len(s); {
		t := m.longest(s[i:])
		if t == nil {
			i++
			continue
		}
		start, end := i, i+len(t.Content)
		i = end // also after a token that does not count here: what it covers is not looked at again
		if t.Special && !special(start, end) || t.SingleWord && (endsWithWord(s[:start]) || beginsWithWord(s[end:])) {
			continue
		}
		if t.LStrip {
			start = max(done, len(strings.TrimRightFunc(s[:start], unicode.IsSpace)))
		}
		if t.RStrip {
			end = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
		}
		if start > done {
			text(s[done:start], done)
		}
		token(int32(t.ID), end)
		done = end
	}
	if done < len(s) {
		text(s[done:], done)
	}
}

func (m *matcher) longest(s string) *addedToken {
	list := m.byFirst[s[0]]
	for k := range list {
		if strings.HasPrefix(s, list[k].Content) {
			return &list[k]
		}
	}
	return nil
}

func endsWithWord(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return isWord(r)
}

func beginsWithWord(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return isWord(r)
}
