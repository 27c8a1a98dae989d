package chat

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// padding is how many characters s lacks to be width wide.
func (r *renderer) padding(s string, width any) int {
	n := r.intArg("a width", width)
	if n > 10_000 {
		r.fail("a width of %d", n)
	}
	r.make(len(s) + 4*int(max(n, 0)))
	return max(0, int(n)-utf8.RuneCountInString(s))
}

func (r *renderer) separator(v any) string {
	sep := r.strArg("split", v)
	if sep == "" {
		r.fail("an empty separator")
	}
	return sep
}

func (r *renderer) split(s string, p []any, right bool) any {
	most := r.intArg("split", p[1])
	if most < 0 || most > int64(len(s)) {
		most = int64(len(s)) + 1
	}
	out := []string{}
	if p[0] == nil {
		trim, next := strings.TrimLeftFunc, strings.IndexFunc
		if right {
			trim, next = strings.TrimRightFunc, strings.LastIndexFunc
		}
		for s = trim(s, isSpace); s != ""; s = trim(s, isSpace) {
			i := next(s, isSpace)
			if i < 0 || most == 0 {
				out = append(out, s)
				break
			}
			most--
			if !right {
				out, s = append(out, s[:i]), s[i:]
				continue
			}
			_, n := utf8.DecodeRuneInString(s[i:])
			out, s = append(out, s[i+n:]), s[:i]
		}
	} else {
		sep := r.separator(p[0])
		for ; most > 0; most-- {
			i := strings.Index(s, sep)
			if right {
				i = strings.LastIndex(s, sep)
			}
			if i < 0 {
				break
			}
			before, after := s[:i], s[i+len(sep):]
			if right {
				out, s = append(out, after), before
			} else {
				out, s = append(out, before), after
			}
		}
		out = append(out, s)
	}
	if right {
		slices.Reverse(out)
	}
	return r.made(anys(out))
}

func (r *renderer) replace(s, old, with string, count any) string {
	n := -1
	if count != nil {
		n = int(min(max(r.intArg("replace", count), 0), maxBytes))
	}
	times := strings.Count(s, old)
	if n >= 0 {
		times = min(times, n)
	}
	if grows := len(with) - len(old); grows > 0 && times > maxBytes/grows {
		r.fail("makes texts of more than %d bytes", maxBytes)
	}
	r.make(len(s) + times*max(0, len(with)-len(old)))
	return strings.Replace(s, old, with, n)
}

// splitLines is Python's str.splitlines.
func splitLines(s string, keepEnds bool) []string {
	out := []string{}
	for s != "" {
		i := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if i < 0 {
			return append(out, s)
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		if strings.HasPrefix(s[i:], "\r\n") {
			n = 2
		}
		if keepEnds {
			out = append(out, s[:i+n])
		} else {
			out = append(out, s[:i])
		}
		s = s[i+n:]
	}
	return out
}

func upper(s string) string { return cases.Upper(language.Und).String(s) }
func lower(s string) string { return cases.Lower(language.Und).String(s) }

// isCased says that a text has a letter of some case.
func isCased(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return unicode.IsUpper(c) || unicode.IsLower(c) || unicode.IsTitle(c) }) >= 0
}

func titleOf(c rune) string {
	return cases.Title(language.Und, cases.NoLower).String(string(c))
}

func capitalize(s string) string {
	c, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return titleOf(c) + lower(s[n:])
}

// title is Python's str.title: a letter after one that is none is large, the others small.
func title(s string) string {
	var b strings.Builder
	inWord := false
	for _, c := range s {
		if inWord {
			b.WriteString(lower(string(c)))
		} else {
			b.WriteString(titleOf(c))
		}
		inWord = isCased(string(c))
	}
	return b.String()
}

// titleFilter is Jinja's: words begin after white space and -({[<.
func titleFilter(s string) string {
	var b strings.Builder
	begins := true
	for _, c := range s {
		if begins {
			b.WriteString(upper(string(c)))
		} else {
			b.WriteString(lower(string(c)))
		}
		begins = isSpace(c) || strings.ContainsRune("-({[<", c)
	}
	return b.String()
}
