package tokenizer

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// A splitter cuts s into pieces and hands each to emit, in order.
type splitter func(s string, emit func(string))

// split applies splitters one after another: each cuts the pieces of the one before.
func split(s string, splitters []splitter, emit func(string)) {
	switch {
	case s == "":
	case len(splitters) == 0:
		emit(s)
	default:
		splitters[0](s, func(piece string) { split(piece, splitters[1:], emit) })
	}
}

// The patterns that nearly every byte-level tokenizer has. They have scanners of their own, some
// twenty times faster than the regular expression, and tested against it.
const (
	gpt2Pattern   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Pattern  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// byPattern splits at the matches of a regular expression: they are pieces, and so is what lies
// between them, unless removed.
func byPattern(pattern string, removeMatches, removeGaps bool) (splitter, error) {
	if !removeMatches { // these patterns leave no gaps
		switch pattern {
		case gpt2Pattern:
			return scan(gpt2Piece), nil
		case llama3Pattern:
			return scan(func(s string) int { return llama3Piece(s, 3) }), nil
		case qwen2Pattern:
			return scan(func(s string) int { return llama3Piece(s, 1) }), nil
		}
	}
	return byRegexp(pattern, removeMatches, removeGaps)
}

func byRegexp(pattern string, removeMatches, removeGaps bool) (splitter, error) {
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("unsupported regular expression: %w", err)
	}
	return func(s string, emit func(string)) {
		// regexp2 counts in runes; an invalid byte is one rune here as there.
		offsets := make([]int, 0, len(s)+1)
		for i := range s {
			offsets = append(offsets, i)
		}
		offsets = append(offsets, len(s))
		end := 0
		gap := func(to int) {
			if to > end && !removeGaps {
				emit(s[end:to])
			}
		}
		m, err := re.FindStringMatch(s)
		for ; m != nil && err == nil; m, err = re.FindNextMatch(m) {
			from, to := offsets[m.Index], offsets[m.Index+m.Length]
			gap(from)
			if to > from && !removeMatches {
				emit(s[from:to])
			}
			end = to
		}
		gap(len(s)) // an error can only be a timeout, and none is set
	}, nil
}

// scan is the splitter of piece, which returns the length of the first piece of a non-empty text.
func scan(piece func(string) int) splitter {
	return func(s string, emit func(string)) {
		for s != "" {
			n := piece(s)
			emit(s[:n])
			s = s[n:]
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
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
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

// contraction returns the length of the 's, 't, 're, 've, 'm, 'll or 'd that s begins with, or 0.
// (Case is ASCII's: 'ſ, which Unicode folds to 's, is left out.)
func contraction(s string, ignoreCase bool) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
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
