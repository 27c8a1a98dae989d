package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
)

// class reads what follows a [.
func (t *translator) class() error {
	t.out.WriteByte('[')
	if t.skip("^") {
		t.out.WriteByte('^')
	}
	if t.peek() == ']' {
		return fmt.Errorf("an empty class")
	}
	item := func() (r rune, named bool, err error) {
		switch r = t.next(); r {
		case endOfInput:
			return 0, false, fmt.Errorf("a [ without a ]")
		case '[':
			return 0, false, fmt.Errorf("a class in a class")
		case '&':
			if t.peek() == '&' {
				return 0, false, fmt.Errorf("&& in a class")
			}
		case '\\':
			name, not, ok, err := t.named()
			if err != nil {
				return 0, false, err
			}
			if ok {
				return 0, true, t.writeNamed(name, not, true)
			}
			if r, err = t.escaped(); err != nil {
				return 0, false, err
			}
		}
		if t.folds() && unicode.IsLetter(r) {
			return 0, false, fmt.Errorf("%q in a class in (?i:", r)
		}
		return r, false, nil
	}
	write := func(r rune) {
		if strings.ContainsRune(`\]^-[`, r) {
			t.out.WriteByte('\\')
		}
		t.out.WriteRune(r)
	}
	for {
		if t.skip("]") {
			t.out.WriteByte(']')
			return nil
		}
		first, named, err := item()
		if err != nil {
			return err
		}
		if named {
			continue
		}
		write(first)
		if !strings.HasPrefix(t.rest, "-") || strings.HasPrefix(t.rest, "-]") {
			continue
		}
		t.next()
		last, named, err := item()
		if err != nil {
			return err
		}
		if named || last < first || first == '-' {
			return fmt.Errorf("a range from %q", first)
		}
		if t.folds() {
			return fmt.Errorf("a range in (?i:")
		}
		t.out.WriteByte('-')
		write(last)
	}
}

// named reads a named class after its \: s, d, w, p{L} and their negations.
func (t *translator) named() (name string, not, ok bool, err error) {
	switch r := t.peek(); r {
	case 's', 'S', 'd', 'D', 'w', 'W':
		t.next()
		return string(unicode.ToLower(r)), unicode.IsUpper(r), true, nil
	case 'p', 'P':
		t.next()
		if !t.skip("{") {
			return "", false, false, fmt.Errorf(`a \%c without {`, r)
		}
		not = r == 'P'
		if t.skip("^") {
			not = !not
		}
		name, rest, found := strings.Cut(t.rest, "}")
		if !found {
			return "", false, false, fmt.Errorf(`a \%c{ without a }`, r)
		}
		t.rest = rest
		return name, not, true, nil
	}
	return "", false, false, nil
}

// namedClasses are the named classes in regexp2's syntax, without their [ ]. Go's tables come first:
// they are looked up fast.
var namedClasses = map[string]string{
	"s": `\s`, "d": `\p{Nd}` + members(differNd), "w": `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}` + members(differWord),
	"L": `\p{L}` + members(differL), "Lu": `\p{Lu}` + members(differLu), "Ll": `\p{Ll}` + members(differLl), "Lt": `\p{Lt}`,
	"Lm": `\p{Lm}` + members(differLm), "Lo": `\p{Lo}` + members(differLo), "M": `\p{M}` + members(differM),
	"N": `\p{N}` + members(differN), "Nd": `\p{Nd}` + members(differNd), "P": `\p{P}` + members(differP), "S": `\p{S}` + members(differS), "Z": `\p{Z}`,
	"Han": `\p{Han}` + members(differHan), "Hiragana": `\p{Hiragana}` + members(differHiragana), "Katakana": `\p{Katakana}` + members(differKatakana), "Hangul": `\p{Hangul}`,
}

// wordInClass is \w in a class: without the superscripts and fractions of Latin-1, which it has elsewhere.
var wordInClass = `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}` + members(differWordInClass)

// members are the characters that a class has more than Go's (it lacks none: TestClassesAsTokenizersHasThem).
func members(table *unicode.RangeTable) string {
	var b strings.Builder
	add := func(lo, hi rune) {
		b.WriteRune(lo)
		if hi > lo {
			b.WriteByte('-')
			b.WriteRune(hi)
		}
	}
	for _, r := range table.R16 {
		add(rune(r.Lo), rune(r.Hi))
	}
	for _, r := range table.R32 {
		add(rune(r.Lo), rune(r.Hi))
	}
	return b.String()
}

func (t *translator) writeNamed(name string, not, inClass bool) error {
	members, ok := namedClasses[name]
	if name == "w" && inClass {
		members = wordInClass
	}
	switch {
	case !ok:
		return fmt.Errorf(`the class \p{%s}`, name)
	case t.folds() && strings.HasPrefix(name, "L") && name != "L":
		return fmt.Errorf(`the class \p{%s} in (?i:`, name)
	case inClass && not && name == "s":
		t.out.WriteString(`\S`)
	case inClass && not:
		return fmt.Errorf("a negated class %s in a class", name)
	case inClass:
		t.out.WriteString(members)
	case not:
		t.out.WriteString("[^" + members + "]")
	default:
		t.out.WriteString("[" + members + "]")
	}
	return nil
}
