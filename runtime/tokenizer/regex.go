package tokenizer

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// regex is a regular expression as tokenizers has them: Oniguruma's Ruby syntax.
type regex struct{ re *regexp2.Regexp }

// compile translates a pattern to regexp2's syntax. What the two read differently is written out;
// what has no equal is refused.
func compile(pattern string) (regex, error) {
	t := translator{rest: pattern}
	out, err := t.translate()
	if err != nil {
		return regex{}, fmt.Errorf("unsupported regular expression %q: at byte %d: %w", pattern, len(pattern)-len(t.rest), err)
	}
	re, err := regexp2.Compile(out, regexp2.None)
	if err != nil {
		return regex{}, fmt.Errorf("unsupported regular expression: %w", err)
	}
	return regex{re}, nil
}

// matches calls found with each match, in order. An empty one right after another is none.
func (x regex) matches(s string, found func(from, to int)) {
	// regexp2 counts in runes; an invalid byte is one rune here as there.
	offsets := make([]int, 0, len(s)+1)
	for i := range s {
		offsets = append(offsets, i)
	}
	offsets = append(offsets, len(s))
	last := -1
	m, err := x.re.FindStringMatch(s)
	for ; m != nil && err == nil; m, err = x.re.FindNextMatch(m) { // an error can only be a timeout, and none is set
		from, to := offsets[m.Index], offsets[m.Index+m.Length]
		if from < to || from != last {
			found(from, to)
		}
		last = to
	}
}

// translator reads a pattern, and writes what it has read to out.
type translator struct {
	rest string
	out  strings.Builder
	fold []bool // of the groups that are open: (?i:
}

const endOfInput = utf8.RuneError

func (t *translator) peek() rune {
	r, _ := utf8.DecodeRuneInString(t.rest)
	return r
}

func (t *translator) next() rune {
	r, n := utf8.DecodeRuneInString(t.rest)
	t.rest = t.rest[n:]
	return r
}

func (t *translator) skip(prefix string) bool {
	rest, ok := strings.CutPrefix(t.rest, prefix)
	t.rest = rest
	return ok
}

func (t *translator) folds() bool { return len(t.fold) > 0 && t.fold[len(t.fold)-1] }

func (t *translator) translate() (string, error) {
	if !utf8.ValidString(t.rest) {
		return "", fmt.Errorf("it is not UTF-8")
	}
	var starts []int // of the groups that are open, in what is written
	atom := -1       // where the last atom begins, -1 when there is none to repeat
	before := rune(0)
	written := func() int { return t.out.Len() }
	for t.rest != "" {
		start := written()
		literal := rune(0)
		switch r := t.next(); r {
		case '(':
			if err := t.open(); err != nil {
				return "", err
			}
			starts, atom = append(starts, start), -1
		case ')':
			if len(starts) == 0 {
				return "", fmt.Errorf("a ) without a (")
			}
			t.out.WriteByte(')')
			atom, starts, t.fold = starts[len(starts)-1], starts[:len(starts)-1], t.fold[:len(t.fold)-1]
		case '|':
			t.out.WriteByte('|')
			atom = -1
		case '^': // after a line feed, but not after the last one
			t.out.WriteString(`(?:\A|(?<=\n)(?!\z))`)
			atom = -1
		case '$':
			t.out.WriteString(`(?=\n|\z)`)
			atom = -1
		case '.':
			t.out.WriteString(`[^\n]`)
			atom = start
		case '[':
			if err := t.class(); err != nil {
				return "", err
			}
			atom = start
		case '*', '+', '?', '{':
			if atom < 0 {
				return "", fmt.Errorf("%q repeats nothing", r)
			}
			if err := t.repeat(r, atom); err != nil {
				return "", err
			}
			atom = -1
		case ']', '}':
			return "", fmt.Errorf("%q without its other half", r)
		case '\\':
			if name, not, ok, err := t.named(); err != nil {
				return "", err
			} else if ok {
				if err := t.writeNamed(name, not, false); err != nil {
					return "", err
				}
				atom = start
				break
			}
			if t.skip("A") {
				t.out.WriteString(`\A`)
				atom = -1
				break
			}
			if t.skip("z") {
				t.out.WriteString(`\z`)
				atom = -1
				break
			}
			e, err := t.escaped()
			if err != nil {
				return "", err
			}
			literal = e
		default:
			literal = r
		}
		if literal != 0 {
			if err := t.literal(literal, before); err != nil {
				return "", err
			}
			atom = start
		}
		before = literal
	}
	if len(starts) > 0 {
		return "", fmt.Errorf("a ( without a )")
	}
	return t.out.String(), nil
}

// open reads what follows a (.
func (t *translator) open() error {
	fold := t.folds()
	for _, kind := range []string{"?:", "?=", "?!", "?>", "?<=", "?<!", "?i:", "?-i:"} {
		if t.skip(kind) {
			switch kind {
			case "?i:", "?-i:":
				fold, kind = kind == "?i:", "?:"
			}
			t.out.WriteString("(" + kind)
			t.fold = append(t.fold, fold)
			return nil
		}
	}
	if strings.HasPrefix(t.rest, "?") || strings.HasPrefix(t.rest, "*") {
		return fmt.Errorf("a group (%.3s", t.rest)
	}
	t.out.WriteString("(?:")
	t.fold = append(t.fold, fold)
	return nil
}

// repeat reads a quantifier of what is written from atom on.
func (t *translator) repeat(r rune, atom int) error {
	quantifier := string(r)
	if r == '{' {
		inside, rest, ok := strings.Cut(t.rest, "}")
		low, high, comma := strings.Cut(inside, ",")
		if !ok || !isCount(low, comma) || !isCount(high, true) || low == "" && high == "" {
			return fmt.Errorf("a { that is not a quantifier")
		}
		t.rest = rest
		if low == "" {
			low = "0"
		}
		quantifier = "{" + low
		if comma {
			quantifier += "," + high
		}
		quantifier += "}"
		if !comma && strings.HasPrefix(rest, "?") || strings.HasPrefix(rest, "+") {
			return fmt.Errorf("a quantifier %s%c", quantifier, rest[0])
		}
	}
	switch {
	case t.skip("?"):
		t.out.WriteString(quantifier + "?")
	case t.skip("+"): // possessive
		all := t.out.String()
		t.out.Reset()
		t.out.WriteString(all[:atom] + "(?>" + all[atom:] + quantifier + ")")
	default:
		t.out.WriteString(quantifier)
	}
	return nil
}

func isCount(s string, empty bool) bool {
	if s == "" {
		return empty
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n <= 1000
}

// escaped reads the character of what follows a \.
func (t *translator) escaped() (rune, error) {
	r := t.next()
	hex := func(digits string) (rune, error) {
		n, err := strconv.ParseUint(digits, 16, 32)
		if err != nil || n > unicode.MaxRune || n == 0 {
			return 0, fmt.Errorf("a character \\%c%s", r, digits)
		}
		return rune(n), nil
	}
	take := func(n int) string {
		n = min(n, len(t.rest))
		digits := t.rest[:n]
		t.rest = t.rest[n:]
		return digits
	}
	switch r {
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'f':
		return '\f', nil
	case 'v':
		return '\v', nil
	case 'x':
		if t.skip("{") {
			digits, rest, ok := strings.Cut(t.rest, "}")
			if !ok {
				return 0, fmt.Errorf(`a \x{ without a }`)
			}
			t.rest = rest
			return hex(digits)
		}
		c, err := hex(take(2))
		if err == nil && c >= utf8.RuneSelf { // a byte, in Oniguruma
			return 0, fmt.Errorf(`a byte \x%02X`, c)
		}
		return c, err
	case 'u':
		return hex(take(4))
	}
	if r == endOfInput || r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
		return 0, fmt.Errorf(`\%c`, r)
	}
	return r, nil
}

// literal writes a character, in (?i: with those that fold to it; before is the literal before it.
func (t *translator) literal(r, before rune) error {
	if !t.folds() || !unicode.IsLetter(r) {
		if r >= utf8.RuneSelf && t.folds() {
			return fmt.Errorf("%q in (?i:", r)
		}
		t.out.WriteString(regexp2.Escape(string(r)))
		return nil
	}
	lower := unicode.ToLower(r)
	switch string([]rune{unicode.ToLower(before), lower}) {
	case "ss", "ff", "fi", "fl", "st": // ß and the ligatures
		return fmt.Errorf("%q after %q in (?i:", r, before)
	}
	if r >= utf8.RuneSelf {
		return fmt.Errorf("%q in (?i:", r)
	}
	t.out.WriteByte('[')
	t.out.WriteRune(lower)
	for c := unicode.SimpleFold(lower); c != lower; c = unicode.SimpleFold(c) {
		t.out.WriteRune(c)
	}
	t.out.WriteByte(']')
	return nil
}
