package chat

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// text is Python's str.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case undefined:
		return ""
	}
	return repr(v)
}

// repr is Python's repr.
func repr(v any) string {
	var b strings.Builder
	writeRepr(&b, v)
	return b.String()
}

func writeRepr(b *strings.Builder, v any) {
	list := func(open string, items []any, end string) {
		b.WriteString(open)
		for i, x := range items {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, x)
		}
		b.WriteString(end)
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case undefined:
		b.WriteString("Undefined")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		b.WriteString(floatText(v))
	case string:
		quote(b, v)
	case []any:
		list("[", v, "]")
	case tuple:
		end := ")"
		if len(v) == 1 {
			end = ",)"
		}
		list("(", v, end)
	case view:
		list(v.kind+"([", v.items, "])")
	case *Dict:
		b.WriteByte('{')
		for i, k := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, k)
			b.WriteString(": ")
			writeRepr(b, v.values[k])
		}
		b.WriteByte('}')
	default:
		fmt.Fprintf(b, "<%s>", typeName(v))
	}
}

func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	_, e, _ := strings.Cut(s, "e")
	if exponent, _ := strconv.Atoi(e); exponent >= -4 && exponent < 16 {
		s = strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
	}
	return s
}

// quote writes a text as Python's repr does.
func quote(b *strings.Builder, s string) {
	q := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	b.WriteByte(q)
	for _, r := range s {
		switch {
		case r == rune(q) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteByte(q)
}

// isSpace is Python's str.isspace of a character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// jsonOptions are those of transformers' tojson.
type jsonOptions struct {
	indent   string // of a level, when lines
	lines    bool
	item     string
	key      string
	ascii    bool
	sortKeys bool
}

// writeJSON is Python's json.dumps.
func (o jsonOptions) write(b *strings.Builder, v any, depth int) error {
	newline := func(depth int) {
		if o.lines {
			b.WriteByte('\n')
			b.WriteString(strings.Repeat(o.indent, depth))
		}
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		switch s := floatText(v); s {
		case "nan":
			b.WriteString("NaN")
		case "inf":
			b.WriteString("Infinity")
		case "-inf":
			b.WriteString("-Infinity")
		default:
			b.WriteString(s)
		}
	case string:
		o.quote(b, v)
	case []any:
		return o.list(b, v, depth, newline)
	case tuple:
		return o.list(b, v, depth, newline)
	case *Dict:
		if len(v.keys) == 0 {
			b.WriteString("{}")
			return nil
		}
		keys := v.keys
		if o.sortKeys {
			var err error
			if keys, err = sortedKeys(keys); err != nil {
				return err
			}
		}
		b.WriteByte('{')
		for i, k := range keys {
			if i > 0 {
				b.WriteString(o.item)
			}
			newline(depth + 1)
			if s, ok := k.(string); ok {
				o.quote(b, s)
			} else {
				b.WriteByte('"')
				if err := o.write(b, k, depth); err != nil {
					return err
				}
				b.WriteByte('"')
			}
			b.WriteString(o.key)
			if err := o.write(b, v.values[k], depth+1); err != nil {
				return err
			}
		}
		newline(depth)
		b.WriteByte('}')
	default:
		return fmt.Errorf("object of type %s is not JSON serializable", typeName(v))
	}
	return nil
}

func (o jsonOptions) list(b *strings.Builder, v []any, depth int, newline func(int)) error {
	if len(v) == 0 {
		b.WriteString("[]")
		return nil
	}
	b.WriteByte('[')
	for i, x := range v {
		if i > 0 {
			b.WriteString(o.item)
		}
		newline(depth + 1)
		if err := o.write(b, x, depth+1); err != nil {
			return err
		}
	}
	newline(depth)
	b.WriteByte(']')
	return nil
}

func (o jsonOptions) quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strings.ContainsRune("\b\f\n\r\t", r):
			b.WriteByte('\\')
			b.WriteByte("bfnrt"[strings.IndexRune("\b\f\n\r\t", r)])
		case r < 0x20, o.ascii && r > 0x7e && r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		case o.ascii && r >= 0x10000:
			fmt.Fprintf(b, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

func tojson(r *renderer, v any, a arguments) any {
	p := r.parameters("tojson", a, []string{"ensure_ascii", "indent", "separators", "sort_keys"}, false, nil, nil, false)
	o := jsonOptions{ascii: truth(p[0]), item: ", ", key: ": ", sortKeys: truth(p[3])}
	switch indent := p[1].(type) {
	case nil:
	case string:
		o.lines, o.indent = true, indent
	default:
		n := r.intArg("indent", indent)
		if n > 100 {
			r.fail("indent of %d", n)
		}
		o.lines, o.indent = true, strings.Repeat(" ", int(max(n, 0)))
	}
	if o.lines {
		o.item = ","
	}
	if p[2] != nil {
		pair := r.listArg("separators", p[2])
		if len(pair) != 2 {
			r.fail("separators are not two")
		}
		o.item, o.key = r.strArg("separators", pair[0]), r.strArg("separators", pair[1])
	}
	n := r.size(v, 0)
	r.spend(n)
	r.make(n * (len(o.item) + len(o.key) + 8))
	var b strings.Builder
	if err := o.write(&b, v, 0); err != nil {
		r.fail("tojson: %s", err)
	}
	return r.madeText(b.String())
}
