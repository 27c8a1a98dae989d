package chat

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// globals are the functions that a template has.
var globals map[string]function

func init() { // the tables refer to the functions that look into them
	globals = map[string]function{
		"raise_exception": func(r *renderer, a arguments) any {
			message := r.text(r.parameters("raise_exception", a, []string{"message"})[0])
			panic(&Error{Line: r.line, Message: message, Raised: true})
		},
		"range": func(r *renderer, a arguments) any {
			p := r.parameters("range", a, []string{"start", "stop", "step"}, nil, nil)
			start, stop, step := int64(0), r.intArg("range", p[0]), int64(1)
			if p[1] != nil {
				start, stop = stop, r.intArg("range", p[1])
			}
			if p[2] != nil {
				step = r.intArg("range", p[2])
			}
			if step == 0 {
				r.fail("range with a step of 0")
			}
			if n := (float64(stop) - float64(start)) / float64(step); n > maxRange {
				r.fail("range of more than %d numbers", maxRange)
			}
			list := []any{}
			for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
				list = append(list, i)
			}
			return r.made(list)
		},
		"namespace": func(r *renderer, a arguments) any {
			d := r.dict(a)
			for _, k := range d.keys {
				if name, ok := k.(string); !ok || strings.HasPrefix(name, "_") {
					r.fail("a namespace has no attribute %s", repr(shortened(k)))
				}
			}
			return namespace{d}
		},
		"dict": func(r *renderer, a arguments) any { return r.dict(a) },
		"strftime_now": func(r *renderer, a arguments) any {
			return r.strftime(r.strArg("strftime_now", r.parameters("strftime_now", a, []string{"format"})[0]))
		},
	}
}

// parameters takes the arguments of a function, in the order of its names; defaults are of the last.
func (r *renderer) parameters(of string, a arguments, names []string, defaults ...any) []any {
	if len(a.positional) > len(names) {
		r.fail("%s takes %d arguments, got %d", of, len(names), len(a.positional))
	}
	out := slices.Clone(a.positional)
	used := 0
	for i := len(out); i < len(names); i++ {
		v, ok := a.named.Get(names[i])
		if ok {
			used++
		} else if d := i - len(names) + len(defaults); d >= 0 {
			v = defaults[d]
		} else {
			r.fail("%s has no argument %q", of, names[i])
		}
		out = append(out, v)
	}
	if used < len(a.named.keys) {
		r.fail("%s takes %q, got another argument", of, names)
	}
	return out
}

func (r *renderer) intArg(of string, v any) int64 {
	n, ok := integerOf(v)
	if !ok {
		r.undefinedOr([]any{v}, "%s of a %s, not a number", of, typeName(v))
	}
	return n
}

func (r *renderer) strArg(of string, v any) string {
	s, ok := v.(string)
	if !ok {
		r.undefinedOr([]any{v}, "%s of a %s, not a text", of, typeName(v))
	}
	return s
}

func (r *renderer) listArg(of string, v any) []any {
	list, ok := r.iterate(v)
	if !ok {
		r.fail("%s of a %s", of, typeName(v))
	}
	r.make(16 * len(list))
	return list
}

func dictItems(d *Dict) []any {
	list := make([]any, len(d.keys))
	for i, k := range d.keys {
		list[i] = tuple{k, d.values[k]}
	}
	return list
}

// dict is Python's dict(mapping, name=value...).
func (r *renderer) dict(a arguments) *Dict {
	d := new(Dict)
	if len(a.positional) > 1 {
		r.fail("dict takes 1 argument, got %d", len(a.positional))
	}
	if len(a.positional) == 1 {
		from, ok := a.positional[0].(*Dict)
		if !ok {
			for _, pair := range r.listArg("dict", a.positional[0]) {
				kv := r.listArg("dict", pair)
				if len(kv) != 2 {
					r.fail("dict of an item that is no pair")
				}
				d.set(r.newKey(kv[0]), kv[1])
			}
			from = new(Dict)
		}
		for _, k := range from.keys {
			d.set(k, from.values[k])
		}
	}
	for _, k := range a.named.keys {
		d.set(k, a.named.values[k])
	}
	r.make(64 * len(d.keys))
	return d
}

// strftime writes the time as C's strftime does.
func (r *renderer) strftime(format string) string {
	if r.now.IsZero() {
		r.fail("strftime_now: there is no time")
	}
	layouts := map[rune]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'm': "01", 'y': "06", 'Y': "2006", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM",
		'j': "002", 'f': "000000", 'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'c': time.ANSIC, 'x': "01/02/06", 'X': "15:04:05", 'z': "", 'Z': "",
	}
	var b strings.Builder
	for i := 0; i < len(format); {
		c, n := utf8.DecodeRuneInString(format[i:])
		i += n
		if c != '%' || i == len(format) {
			b.WriteString(format[i-n : i])
			continue
		}
		unpadded := strings.HasPrefix(format[i:], "-")
		if unpadded {
			i++
		}
		c, n = utf8.DecodeRuneInString(format[i:])
		i += n
		layout, ok := layouts[c]
		switch {
		case c == '%':
			b.WriteByte('%')
			continue
		case !ok:
			r.fail("strftime_now: %%%c is not supported", c)
		}
		s := ""
		if layout != "" {
			s = r.now.Format(layout)
			if c == 'f' {
				s = strings.TrimPrefix(r.now.Format("x.000000"), "x.")
			}
		}
		if unpadded {
			s = strings.TrimLeft(s[:len(s)-1], "0 ") + s[len(s)-1:]
		}
		b.WriteString(s)
	}
	return b.String()
}
