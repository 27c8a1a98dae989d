package chat

import (
	"errors"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// globals are the functions that a template has.
var globals map[string]function

// filters and tests are named as in Jinja.
var (
	filters map[string]func(r *renderer, v any, a arguments) any
	tests   map[string]func(r *renderer, v any, a arguments) bool
)

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

// filtered evaluates a filter or test; input is what a filter without a value is applied to.
func (r *renderer) filtered(e expression, input any) any {
	f, ok := e.(*filter)
	if !ok {
		return r.eval(e)
	}
	v := input
	if f.value != nil {
		v = r.filtered(f.value, input)
	}
	a := r.arguments(f.args, f.names, f.named)
	r.line = f.at()
	r.spend(1)
	r.scan(v)
	r.scan(a.positional...)
	if f.test {
		return tests[f.name](r, v, a)
	}
	return filters[f.name](r, v, a)
}

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

	texts := func(f func(string) string) func(*renderer, any, arguments) any {
		return func(r *renderer, v any, a arguments) any {
			r.parameters("a filter", a, nil)
			return r.madeText(f(r.text(v)))
		}
	}
	end := func(name string, at int64) func(*renderer, any, arguments) any {
		return func(r *renderer, v any, a arguments) any {
			r.parameters(name, a, nil)
			list := r.listArg(name, v)
			if len(list) == 0 {
				return undefined{"the " + name + " item of nothing"}
			}
			if at < 0 {
				return list[len(list)-1]
			}
			return list[0]
		}
	}
	size := func(r *renderer, v any, a arguments) any {
		r.parameters("length", a, nil)
		n, ok := length(v)
		if !ok {
			r.fail("length of a %s", typeName(v))
		}
		return int64(n)
	}
	otherwise := func(r *renderer, v any, a arguments) any {
		p := r.parameters("default", a, []string{"default_value", "boolean"}, "", false)
		if _, ok := v.(undefined); ok || truth(p[1]) && !truth(v) {
			return p[0]
		}
		return v
	}
	choose := func(keep, byAttribute bool) func(*renderer, any, arguments) any {
		return func(r *renderer, v any, a arguments) any {
			rest := a.positional
			value := func(x any) any { return x }
			if byAttribute {
				if len(rest) == 0 {
					r.fail("selectattr has no attribute")
				}
				path := rest[0]
				rest = rest[1:]
				value = func(x any) any { return r.path(x, path) }
			}
			test := func(x any) bool { return truth(x) }
			if len(rest) > 0 {
				name := r.strArg("a test", rest[0])
				t, ok := tests[name]
				if !ok {
					r.fail("a test %q is not supported", name)
				}
				args := arguments{rest[1:], a.named}
				test = func(x any) bool { return t(r, x, args) }
			}
			out := []any{}
			for _, x := range r.listArg("select", v) {
				r.spend(1)
				r.scan(x)
				if test(value(x)) == keep {
					out = append(out, x)
				}
			}
			return out
		}
	}
	extreme := func(name string, largest bool) func(*renderer, any, arguments) any {
		return func(r *renderer, v any, a arguments) any {
			p := r.parameters(name, a, []string{"case_sensitive", "attribute"}, false, nil)
			list := r.listArg(name, v)
			if len(list) == 0 {
				return undefined{name + " of nothing"}
			}
			best := list[0]
			for _, x := range list[1:] {
				a, b := r.sortKey(x, p[1], truth(p[0])), r.sortKey(best, p[1], truth(p[0]))
				if largest && r.compare(">", a, b) || !largest && r.compare("<", a, b) {
					best = x
				}
			}
			return best
		}
	}
	filters = map[string]func(r *renderer, v any, a arguments) any{
		"abs": func(r *renderer, v any, a arguments) any {
			r.parameters("abs", a, nil)
			if f, ok := v.(float64); ok {
				return math.Abs(f)
			}
			n := r.intArg("abs", v)
			return max(n, -n)
		},
		"attr": func(r *renderer, v any, a arguments) any {
			name := r.strArg("attr", r.parameters("attr", a, []string{"name"})[0])
			if _, ok := v.(*Dict); ok {
				if m, ok := method(v, name); ok {
					return m
				}
				return undefined{name}
			}
			return r.attribute(v, name)
		},
		"capitalize": texts(capitalize),
		"count":      size, "length": size,
		"d": otherwise, "default": otherwise,
		"dictsort": func(r *renderer, v any, a arguments) any {
			p := r.parameters("dictsort", a, []string{"case_sensitive", "by", "reverse"}, false, "key", false)
			d, ok := v.(*Dict)
			if !ok {
				r.undefinedOr([]any{v}, "dictsort of a %s", typeName(v))
			}
			by := slices.Index([]string{"key", "value"}, r.text(p[1]))
			if by < 0 {
				r.fail("dictsort by %s", r.text(p[1]))
			}
			pairs := dictItems(d)
			return r.sort("dictsort", pairs, func(x any) any { return r.sortKey(x.(tuple)[by], nil, truth(p[0])) }, truth(p[2]))
		},
		"first": end("first", 0), "last": end("last", -1),
		"float": func(r *renderer, v any, a arguments) any {
			p := r.parameters("float", a, []string{"default"}, 0.0)
			if f, ok := number(v); ok {
				return f
			}
			if s, ok := v.(string); ok {
				if f, err := strconv.ParseFloat(strings.TrimFunc(s, isSpace), 64); err == nil {
					return f
				}
			}
			return p[0]
		},
		"format": func(r *renderer, v any, a arguments) any {
			return r.format(r.strArg("format", v), tuple(a.positional))
		},
		"indent": func(r *renderer, v any, a arguments) any {
			p := r.parameters("indent", a, []string{"width", "first", "blank"}, int64(4), false, false)
			with, ok := p[0].(string)
			if !ok {
				n := r.intArg("indent", p[0])
				if n > 1000 {
					r.fail("indent of %d", n)
				}
				with = strings.Repeat(" ", int(max(n, 0)))
			}
			lines := splitLines(r.text(v)+"\n", false)
			r.make(len(lines) * len(with))
			for i, line := range lines {
				if i == 0 && truth(p[1]) || i > 0 && (line != "" || truth(p[2])) {
					lines[i] = with + line
				}
			}
			return r.madeText(strings.Join(lines, "\n"))
		},
		"int": func(r *renderer, v any, a arguments) any {
			p := r.parameters("int", a, []string{"default", "base"}, int64(0), int64(10))
			base := r.intArg("int", p[1])
			switch v := v.(type) {
			case bool, int64:
				n, _ := integerOf(v)
				return n
			case float64:
				if math.Abs(v) < 1<<62 {
					return int64(v)
				}
			case string:
				s := strings.ReplaceAll(strings.TrimFunc(v, isSpace), "_", "")
				if n, err := strconv.ParseInt(s, int(min(max(base, 2), 36)), 64); err == nil {
					return n
				}
				if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 1<<62 {
					return int64(f)
				}
			}
			return p[0]
		},
		"items": func(r *renderer, v any, a arguments) any {
			r.parameters("items", a, nil)
			switch v := v.(type) {
			case undefined:
				return []any{}
			case *Dict:
				return r.made(dictItems(v))
			}
			return r.fail("items of a %s", typeName(v))
		},
		"join": func(r *renderer, v any, a arguments) any {
			p := r.parameters("join", a, []string{"d", "attribute"}, "", nil)
			list, with := r.listArg("join", v), r.text(p[0])
			var b strings.Builder
			for i, x := range list {
				if i > 0 {
					r.make(len(with))
					b.WriteString(with)
				}
				if p[1] != nil {
					x = r.path(x, p[1])
				}
				s := r.text(x)
				r.make(len(s))
				b.WriteString(s)
			}
			return b.String()
		},
		"list": func(r *renderer, v any, a arguments) any {
			r.parameters("list", a, nil)
			return slices.Clone(append([]any{}, r.listArg("list", v)...))
		},
		"lower": texts(lower),
		"map": func(r *renderer, v any, a arguments) any {
			list := r.listArg("map", v)
			out := make([]any, 0, len(list))
			path, byAttribute := a.named.Get("attribute")
			otherwise, hasDefault := a.named.Get("default")
			if len(a.positional) > 0 {
				name := r.strArg("map", a.positional[0])
				f, ok := filters[name]
				if !ok {
					r.fail("a filter %q is not supported", name)
				}
				args := arguments{a.positional[1:], a.named}
				for _, x := range list {
					r.spend(1)
					r.scan(x)
					out = append(out, f(r, x, args))
				}
				return out
			}
			if !byAttribute {
				r.fail("map has neither a filter nor an attribute")
			}
			for _, x := range list {
				r.spend(1)
				y := r.path(x, path)
				if _, none := y.(undefined); none && hasDefault {
					y = otherwise
				}
				out = append(out, y)
			}
			return out
		},
		"max": extreme("max", true), "min": extreme("min", false),
		"reject": choose(false, false), "rejectattr": choose(false, true), "select": choose(true, false), "selectattr": choose(true, true),
		"replace": func(r *renderer, v any, a arguments) any {
			p := r.parameters("replace", a, []string{"old", "new", "count"}, nil)
			return r.replace(r.text(v), r.text(p[0]), r.text(p[1]), p[2])
		},
		"reverse": func(r *renderer, v any, a arguments) any {
			r.parameters("reverse", a, nil)
			list := slices.Clone(r.listArg("reverse", v))
			slices.Reverse(list)
			if _, ok := v.(string); ok {
				return join(list, "")
			}
			return list
		},
		"round": func(r *renderer, v any, a arguments) any {
			p := r.parameters("round", a, []string{"precision", "method"}, int64(0), "common")
			f, ok := number(v)
			if !ok {
				r.undefinedOr([]any{v}, "round of a %s", typeName(v))
			}
			precision := r.intArg("round", p[0])
			if precision < 0 || precision > 100 {
				r.fail("round to %d digits", precision)
			}
			scale := math.Pow(10, float64(precision))
			switch r.text(p[1]) {
			case "common":
				f, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(precision), 64), 64)
				return f
			case "ceil":
				return math.Ceil(f*scale) / scale
			case "floor":
				return math.Floor(f*scale) / scale
			}
			return r.fail("round by %s", r.text(p[1]))
		},
		"sort": func(r *renderer, v any, a arguments) any {
			p := r.parameters("sort", a, []string{"reverse", "case_sensitive", "attribute"}, false, false, nil)
			list := slices.Clone(r.listArg("sort", v))
			return r.sort("sort", list, func(x any) any { return r.sortKey(x, p[2], truth(p[1])) }, truth(p[0]))
		},
		"string": texts(func(s string) string { return s }),
		"sum": func(r *renderer, v any, a arguments) any {
			p := r.parameters("sum", a, []string{"attribute", "start"}, nil, int64(0))
			total := p[1]
			for _, x := range r.listArg("sum", v) {
				if p[0] != nil {
					x = r.path(x, p[0])
				}
				total = r.binary("+", total, x)
			}
			return total
		},
		"title":  texts(titleFilter),
		"tojson": tojson,
		"trim": func(r *renderer, v any, a arguments) any {
			p := r.parameters("trim", a, []string{"chars"}, nil)
			return strings.TrimFunc(r.text(v), r.trimmed(p[0]))
		},
		"unique": func(r *renderer, v any, a arguments) any {
			p := r.parameters("unique", a, []string{"case_sensitive", "attribute"}, false, nil)
			out := []any{}
			seen := new(Dict)
			for _, x := range r.listArg("unique", v) {
				k := r.key(r.sortKey(x, p[1], truth(p[0])))
				if _, ok := seen.get(k); !ok {
					seen.set(k, nil)
					out = append(out, x)
				}
			}
			return out
		},
		"upper": texts(upper),
		"wordcount": func(r *renderer, v any, a arguments) any {
			r.parameters("wordcount", a, nil)
			return int64(len(strings.FieldsFunc(r.text(v), func(c rune) bool { return !isNamePart(c) })))
		},
	}

	is := func(f func(v any) bool) func(*renderer, any, arguments) bool {
		return func(r *renderer, v any, a arguments) bool {
			r.parameters("a test", a, nil)
			return f(v)
		}
	}
	compares := func(op string) func(*renderer, any, arguments) bool {
		return func(r *renderer, v any, a arguments) bool {
			return r.compare(op, v, r.parameters("a test", a, []string{"other"})[0])
		}
	}
	divides := func(r *renderer, v any, by int64) bool {
		return equal(r.binary("%", v, by), int64(0))
	}
	tests = map[string]func(r *renderer, v any, a arguments) bool{
		"boolean":   is(func(v any) bool { _, ok := v.(bool); return ok }),
		"callable":  is(func(v any) bool { _, ok := v.(function); return ok }),
		"defined":   is(func(v any) bool { _, ok := v.(undefined); return !ok }),
		"undefined": is(func(v any) bool { _, ok := v.(undefined); return ok }),
		"none":      is(func(v any) bool { return v == nil }),
		"true":      is(func(v any) bool { return v == true }),
		"false":     is(func(v any) bool { return v == false }),
		"integer":   is(func(v any) bool { _, ok := v.(int64); return ok }),
		"float":     is(func(v any) bool { _, ok := v.(float64); return ok }),
		"number":    is(func(v any) bool { _, ok := number(v); return ok }),
		"string":    is(func(v any) bool { _, ok := v.(string); return ok }),
		"mapping":   is(func(v any) bool { _, ok := v.(*Dict); return ok }),
		"iterable":  is(func(v any) bool { _, ok := items(v); return ok }),
		"sequence": is(func(v any) bool {
			_, isView := v.(view)
			_, ok := items(v)
			return ok && !isView
		}),
		"lower": func(r *renderer, v any, _ arguments) bool { s := r.text(v); return isCased(s) && lower(s) == s },
		"upper": func(r *renderer, v any, _ arguments) bool { s := r.text(v); return isCased(s) && upper(s) == s },
		"even":  func(r *renderer, v any, _ arguments) bool { return divides(r, v, 2) },
		"odd":   func(r *renderer, v any, _ arguments) bool { return !divides(r, v, 2) },
		"divisibleby": func(r *renderer, v any, a arguments) bool {
			return divides(r, v, r.intArg("divisibleby", r.parameters("divisibleby", a, []string{"num"})[0]))
		},
		"sameas": func(r *renderer, v any, a arguments) bool {
			other := r.parameters("sameas", a, []string{"other"})[0]
			return typeName(v) == typeName(other) && r.compare("==", v, other)
		},
		"in": compares("in"),
		"eq": compares("=="), "equalto": compares("=="), "==": compares("=="), "ne": compares("!="), "!=": compares("!="),
		"lt": compares("<"), "lessthan": compares("<"), "<": compares("<"), "le": compares("<="), "<=": compares("<="),
		"gt": compares(">"), "greaterthan": compares(">"), ">": compares(">"), "ge": compares(">="), ">=": compares(">="),
	}
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

// path follows an attribute such as "function.name" or 0.
func (r *renderer) path(v, path any) any {
	name, ok := path.(string)
	if !ok {
		return r.item(v, path)
	}
	for _, part := range strings.Split(name, ".") {
		var key any = part
		if n, err := strconv.ParseInt(part, 10, 64); err == nil {
			key = n
		}
		v = r.item(v, key)
	}
	return v
}

// sortKey is what a value is sorted by.
func (r *renderer) sortKey(v, path any, caseSensitive bool) any {
	if path != nil {
		v = r.path(v, path)
	}
	if s, ok := v.(string); ok && !caseSensitive {
		return lower(s)
	}
	return v
}

func (r *renderer) sort(of string, list []any, key func(any) any, reverse bool) []any {
	type keyed struct{ key, value any }
	all := make([]keyed, len(list))
	for i, v := range list {
		all[i] = keyed{key(v), v}
		r.spend(20 * (1 + r.cost(all[i].key))) // as often as it may be compared
	}
	ordered := true
	sort.SliceStable(all, func(i, j int) bool {
		a, b := all[i].key, all[j].key
		if reverse {
			a, b = b, a
		}
		is, ok := less(a, b)
		ordered = ordered && ok
		return is
	})
	if !ordered {
		r.fail("%s of values that have no order", of)
	}
	out := make([]any, len(all))
	for i := range all {
		out[i] = all[i].value
	}
	return out
}

// sortedKeys are the keys of a dictionary in order.
func sortedKeys(keys []any) ([]any, error) {
	keys = slices.Clone(keys)
	ordered := true
	sort.SliceStable(keys, func(i, j int) bool {
		is, ok := less(keys[i], keys[j])
		ordered = ordered && ok
		return is
	})
	if !ordered {
		return nil, errors.New("keys that have no order")
	}
	return keys, nil
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
