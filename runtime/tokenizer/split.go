package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A splitter cuts s into pieces and hands each to emit, in order. A piece may begin with what was not
// in s (Metaspace); start says that s, or the piece, begins the text.
type splitter func(s string, start bool, emit func(s string, start bool))

// split applies splitters one after another: each cuts the pieces of the one before.
func split(s string, start bool, splitters []splitter, emit func(string)) {
	switch {
	case s == "":
	case len(splitters) == 0:
		emit(s)
	default:
		splitters[0](s, start, func(piece string, start bool) { split(piece, start, splitters[1:], emit) })
	}
}

// The patterns that nearly every byte-level tokenizer has. They have scanners of their own, some
// twenty times faster than the regular expression, and tested against it.
const (
	gpt2Pattern   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Pattern  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// behavior is what becomes of the matches of a Split, and of what lies between them.
type behavior string

const (
	removed            behavior = "Removed"
	isolated           behavior = "Isolated" // pieces of their own
	mergedWithPrevious behavior = "MergedWithPrevious"
	mergedWithNext     behavior = "MergedWithNext"
	contiguous         behavior = "Contiguous" // adjacent matches are one piece
)

// byPattern splits at the matches of a regular expression or, with invert, at what lies between them.
func byPattern(pattern string, b behavior, invert bool) (splitter, error) {
	if b == isolated || b == removed && invert { // these patterns leave nothing between them
		switch pattern {
		case gpt2Pattern:
			return scan(gpt2Piece), nil
		case llama3Pattern:
			return scan(func(s string) int { return llama3Piece(s, 3) }), nil
		case qwen2Pattern:
			return scan(func(s string) int { return llama3Piece(s, 1) }), nil
		}
	}
	re, err := compile(pattern)
	if err != nil {
		return nil, err
	}
	return splitAt(re.matches, b, invert), nil
}

// byClass splits at the characters of a class; with runs, at runs of them.
func byClass(has func(rune) bool, runs bool, b behavior) splitter {
	return splitAt(func(s string, found func(from, to int)) {
		from := -1
		for i, r := range s {
			in := has(r)
			if from >= 0 && (!in || !runs) {
				found(from, i)
				from = -1
			}
			if in && from < 0 {
				from = i
			}
		}
		if from >= 0 {
			found(from, len(s))
		}
	}, b, false)
}

// splitAt is the splitter of what matches finds.
func splitAt(matches func(s string, found func(from, to int)), b behavior, invert bool) splitter {
	return func(s string, start bool, emit func(string, bool)) {
		// A piece is held back until it is known whether the next one joins it.
		from, to := 0, 0
		flush := func() {
			if from < to {
				emit(s[from:to], start && from == 0)
			}
			from = to
		}
		joins := false // the piece held back joins the next one
		matched := false
		add := func(end int, match bool) {
			switch {
			case to == end:
				return
			case match && b == removed:
				flush()
				from, to, matched = end, end, true
				return
			case joins && !match, // mergedWithNext
				match && !matched && b == mergedWithPrevious,
				match == matched && b == contiguous:
			default:
				flush()
			}
			to, matched, joins = end, match, match && b == mergedWithNext
		}
		matches(s, func(from, to int) {
			add(from, invert)
			add(to, !invert)
		})
		add(len(s), invert)
		flush()
	}
}

// metaspace writes spaces as mark, puts one before a text, and splits before each.
func metaspace(mark string, prepend string, split bool) splitter {
	return func(s string, start bool, emit func(string, bool)) {
		s = strings.ReplaceAll(s, " ", mark)
		if (prepend == "always" || prepend == "first" && start) && !strings.HasPrefix(s, mark) {
			s = mark + s
		}
		for split {
			n := strings.Index(s[1:], mark) + 1
			if n == 0 {
				break
			}
			emit(s[:n], start)
			s, start = s[n:], false
		}
		emit(s, start)
	}
}

// prefixSpace puts a space before each piece that has none.
func prefixSpace(s string, start bool, emit func(string, bool)) {
	if !strings.HasPrefix(s, " ") {
		s = " " + s
	}
	emit(s, start)
}

// scan is the splitter of piece, which returns the length of the first piece of a non-empty text.
func scan(piece func(string) int) splitter {
	return func(s string, start bool, emit func(string, bool)) {
		for s != "" {
			n := piece(s)
			emit(s[:n], start)
			s, start = s[n:], false
		}
	}
}

type class uint8

const (
	other class = iota
	letter
	number
	space
)

var asciiClasses = func() (c [utf8.RuneSelf]class) {
	for r := range c {
		c[r] = unicodeClass(rune(r))
	}
	return c
}()

func unicodeClass(r rune) class {
	switch {
	case isLetter(r):
		return letter
	case isNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// first returns the class and the length in bytes of s's first rune; an invalid byte is an other
// of length 1, the end an other of length 0.
func first(s string) (class, int) {
	if s != "" && s[0] < utf8.RuneSelf {
		return asciiClasses[s[0]], 1
	}
	r, n := utf8.DecodeRuneInString(s)
	return unicodeClass(r), n
}

// run returns where the runes of class c that begin at s[i] end, at most limit of them.
func run(s string, i int, c class, limit int) int {
	for ; limit > 0; limit-- {
		got, n := first(s[i:])
		if n == 0 || got != c {
			break
		}
		i += n
	}
	return i
}

// gpt2Piece matches gpt2Pattern.
func gpt2Piece(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	if c, n := first(s[start:]); n > 0 && c != space {
		return run(s, start, c, len(s))
	}
	return spaces(s, run(s, 0, space, len(s)))
}

// llama3Piece matches llama3Pattern with digits 3, qwen2Pattern with digits 1.
func llama3Piece(s string, digits int) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	c, n := first(s)
	switch {
	case c == letter:
		return run(s, 0, letter, len(s))
	case c == number:
		return run(s, 0, number, digits)
	case s[0] != '\r' && s[0] != '\n':
		if next, _ := first(s[n:]); next == letter {
			return run(s, n, letter, len(s))
		}
	}
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	if end := run(s, start, other, len(s)); end > start {
		return end + newlines(s[end:])
	}
	end := run(s, 0, space, len(s))
	for i := end; i > 0; i-- {
		if s[i-1] == '\n' || s[i-1] == '\r' {
			return i
		}
	}
	return spaces(s, end)
}

// spaces is \s+(?!\S)|\s+ for the white space s[:end]: a word after it keeps the last character,
// if it is not the only one.
func spaces(s string, end int) int {
	if end < len(s) {
		if _, last := utf8.DecodeLastRuneInString(s[:end]); last < end {
			return end - last
		}
	}
	return end
}

func newlines(s string) int {
	i := 0
	for i < len(s) && (s[i] == '\n' || s[i] == '\r') {
		i++
	}
	return i
}

// contraction returns the length of the 's, 't, 're, 've, 'm, 'll or 'd that s begins with, or 0. Of
// what folds to their letters, only ſ, to s, is not ASCII.
func contraction(s string, ignoreCase bool) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	if ignoreCase && strings.HasPrefix(s[1:], "\u017f") {
		return 3
	}
	lower := func(i int) byte {
		if i < len(s) && ignoreCase && s[i] >= 'A' && s[i] <= 'Z' {
			return s[i] + 'a' - 'A'
		}
		if i < len(s) {
			return s[i]
		}
		return 0
	}
	switch a, b := lower(1), lower(2); {
	case a == 's', a == 't', a == 'm', a == 'd':
		return 2
	case a == 'r' && b == 'e', a == 'v' && b == 'e', a == 'l' && b == 'l':
		return 3
	}
	return 0
}
