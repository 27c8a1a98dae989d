package chat

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is an error of a template, or one that it raised.
type Error struct {
	Line    int // of the template, from 1
	Message string
	Raised  bool // by raise_exception
}

func (e *Error) Error() string { return fmt.Sprintf("chat template: line %d: %s", e.Line, e.Message) }

type kind uint8

const (
	endOfTemplate kind = iota
	data               // text between tags
	blockBegin
	blockEnd
	variableBegin
	variableEnd
	name
	str
	integer
	float
	operator
)

type token struct {
	kind kind
	text string // of str, what it means
	line int
}

func (t token) is(kind kind, text string) bool { return t.kind == kind && t.text == text }

func (t token) String() string {
	switch t.kind {
	case endOfTemplate:
		return "the end of the template"
	case data:
		return "text"
	case blockEnd:
		return "%}"
	case variableEnd:
		return "}}"
	}
	return strconv.Quote(t.text)
}

var (
	newlines    = regexp.MustCompile(`\r\n|\r`)
	rawBegin    = regexp.MustCompile(`^\{%[-+]?\s*raw\s*(?:(-)%\}|%\})`)
	rawEnd      = regexp.MustCompile(`\{%([-+]?)\s*endraw\s*([-+]?)%\}`)
	floats      = regexp.MustCompile(`^(?i:(\d+_)*\d+((\.(\d+_)*\d+)?e[+-]?(\d+_)*\d+|\.(\d+_)*\d+))`)
	integers    = regexp.MustCompile(`^(?i:0b(_?[01])+|0o(_?[0-7])+|0x(_?[\da-f])+|[1-9](_?\d)*|0(_?0)*)`)
	operatorsOf = []string{"**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}
)

// lexer cuts a template into tokens.
type lexer struct {
	source string // what is left
	line   int
	tokens []token
	starts bool // the text that comes begins a line
}

func lex(source string) (tokens []token, err error) {
	source = strings.TrimSuffix(newlines.ReplaceAllString(source, "\n"), "\n")
	l := &lexer{source: source, line: 1, starts: true}
	for l.source != "" {
		if err := l.text(); err != nil {
			return nil, err
		}
	}
	l.emit(endOfTemplate, "")
	return l.tokens, nil
}

func (l *lexer) errorf(format string, args ...any) error {
	return &Error{Line: l.line, Message: fmt.Sprintf(format, args...)}
}

func (l *lexer) emit(k kind, text string) { l.tokens = append(l.tokens, token{k, text, l.line}) }

// take moves on by n bytes.
func (l *lexer) take(n int) string {
	s := l.source[:n]
	l.source = l.source[n:]
	l.line += strings.Count(s, "\n")
	if n > 0 {
		l.starts = s[n-1] == '\n'
	}
	return s
}

func (l *lexer) takeSpace() {
	l.take(len(l.source) - len(strings.TrimLeftFunc(l.source, isSpace)))
}

// text reads the text up to the next tag, and the tag.
func (l *lexer) text() error {
	n, tag := len(l.source), byte(0)
	for i := 0; i+1 < len(l.source); i++ {
		if c := l.source[i+1]; l.source[i] == '{' && (c == '{' || c == '%' || c == '#') {
			n, tag = i, c
			break
		}
	}
	starts := l.starts
	text := l.source[:n]
	if tag != 0 {
		text = l.before(text, l.source[n+2:], tag != '{', starts)
	}
	if text != "" {
		l.emit(data, text)
	}
	l.take(n)
	switch tag {
	case '{':
		l.emit(variableBegin, "{{")
		l.takeTagBegin()
		return l.code(variableEnd, "}}", false)
	case '%':
		if m := rawBegin.FindStringSubmatch(l.source); m != nil {
			return l.raw(m)
		}
		l.emit(blockBegin, "{%")
		l.takeTagBegin()
		return l.code(blockEnd, "%}", true)
	case '#':
		n := strings.Index(l.source[2:], "#}")
		if n < 0 {
			return l.errorf("a comment {# without #}")
		}
		minus, plus := l.source[2+n-1] == '-' && n > 0, l.source[2+n-1] == '+' && n > 0
		l.take(2 + n)
		l.end(2, minus, plus, true)
	}
	return nil
}

func (l *lexer) takeTagBegin() {
	l.take(2)
	if strings.HasPrefix(l.source, "-") || strings.HasPrefix(l.source, "+") {
		l.take(1)
	}
}

// before is the text before a tag, of which rest comes after its {% or {{: - takes all white space,
// and a block the indentation before it (lstrip_blocks).
func (l *lexer) before(text, rest string, block, starts bool) string {
	switch {
	case strings.HasPrefix(rest, "-"):
		return strings.TrimRightFunc(text, isSpace)
	case strings.HasPrefix(rest, "+") || !block:
		return text
	}
	begin := strings.LastIndexByte(text, '\n') + 1
	if (begin > 0 || starts) && strings.TrimLeftFunc(text[begin:], isSpace) == "" {
		return text[:begin]
	}
	return text
}

// end takes the n bytes of a tag's end and the white space that goes with it (trim_blocks).
func (l *lexer) end(n int, minus, plus, block bool) {
	l.take(n)
	switch {
	case minus:
		l.takeSpace()
	case block && !plus && strings.HasPrefix(l.source, "\n"):
		l.take(1)
	}
}

func (l *lexer) raw(begin []string) error {
	l.take(len(begin[0]))
	if begin[1] == "-" {
		l.takeSpace()
	}
	at := rawEnd.FindStringSubmatchIndex(l.source)
	if at == nil {
		return l.errorf("{%% raw %%} without {%% endraw %%}")
	}
	text := l.before(l.source[:at[0]], l.source[at[2]:], true, l.starts)
	if text != "" {
		l.emit(data, text)
	}
	sign := l.source[at[4]:at[5]]
	l.take(at[0])
	l.end(at[1]-at[0], sign == "-", sign == "+", true)
	return nil
}

// code reads the tokens of a tag up to its end.
func (l *lexer) code(end kind, closing string, block bool) error {
	var open []byte
	for {
		if len(open) == 0 {
			for _, sign := range []string{"", "-", "+"} {
				if strings.HasPrefix(l.source, sign+closing) && (sign != "+" || block) {
					l.emit(end, closing)
					l.end(len(sign)+2, sign == "-", sign == "+", block)
					return nil
				}
			}
		}
		r, _ := utf8.DecodeRuneInString(l.source)
		switch {
		case l.source == "":
			return l.errorf("%s is missing", closing)
		case isSpace(r):
			l.takeSpace()
			continue
		case r == '\'' || r == '"':
			if err := l.string(byte(r)); err != nil {
				return err
			}
			continue
		}
		if m := floats.FindString(l.source); m != "" && !l.after(".") {
			l.emit(float, strings.ReplaceAll(l.take(len(m)), "_", ""))
			continue
		}
		if m := integers.FindString(l.source); m != "" {
			l.emit(integer, strings.ReplaceAll(l.take(len(m)), "_", ""))
			continue
		}
		if n := len(l.source) - len(strings.TrimLeftFunc(l.source, isNamePart)); n > 0 {
			l.emit(name, l.take(n))
			continue
		}
		op := ""
		for _, o := range operatorsOf {
			if strings.HasPrefix(l.source, o) {
				op = o
				break
			}
		}
		switch op {
		case "":
			return l.errorf("unexpected character %q", r)
		case "(", "[", "{":
			open = append(open, map[string]byte{"(": ')', "[": ']', "{": '}'}[op])
		case ")", "]", "}":
			if len(open) == 0 || open[len(open)-1] != op[0] {
				return l.errorf("unexpected %q", op)
			}
			open = open[:len(open)-1]
		}
		l.emit(operator, l.take(len(op)))
	}
}

func (l *lexer) after(op string) bool {
	return len(l.tokens) > 0 && l.tokens[len(l.tokens)-1].is(operator, op)
}

func isNamePart(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// string reads a string constant, with Python's escapes.
func (l *lexer) string(quote byte) error {
	var b strings.Builder
	s := l.source
	for i := 1; i < len(s); {
		switch s[i] {
		case quote:
			l.emit(str, b.String())
			l.take(i + 1)
			return nil
		case '\\':
			n, err := unescape(&b, s[i:])
			if err != nil {
				return l.errorf("%s", err)
			}
			i += n
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return l.errorf("a string without its end")
}

// unescape writes what the escape that s begins with means, and returns its length.
func unescape(b *strings.Builder, s string) (int, error) {
	if len(s) < 2 {
		return 1, nil
	}
	hex := func(digits int) (int, error) {
		if len(s) < 2+digits {
			return 0, fmt.Errorf("a broken escape %q", s)
		}
		n, err := strconv.ParseUint(s[2:2+digits], 16, 32)
		if err != nil || n > unicode.MaxRune || n >= 0xD800 && n < 0xE000 {
			return 0, fmt.Errorf("a broken escape %q", s[:2+digits])
		}
		b.WriteRune(rune(n))
		return 2 + digits, nil
	}
	if simple := strings.IndexByte(`abfnrtv\'"`, s[1]); simple >= 0 {
		b.WriteByte("\a\b\f\n\r\t\v\\'\""[simple])
		return 2, nil
	}
	switch s[1] {
	case '\n':
		return 2, nil
	case 'x':
		return hex(2)
	case 'u':
		return hex(4)
	case 'U':
		return hex(8)
	case 'N':
		return 0, fmt.Errorf(`an escape \N`)
	}
	if n := len(s[1:]) - len(strings.TrimLeft(s[1:min(len(s), 4)], "01234567")) - (len(s[1:]) - len(s[1:min(len(s), 4)])); n > 0 {
		octal, _ := strconv.ParseUint(s[1:1+n], 8, 32)
		b.WriteRune(rune(octal))
		return 1 + n, nil
	}
	b.WriteByte('\\')
	return 1, nil
}
