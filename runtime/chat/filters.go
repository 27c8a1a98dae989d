package chat

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// filters and tests are named as in Jinja.
var (
	filters map[string]func(r *renderer, v any, a arguments) any
	tests   map[string]func(r *renderer, v any, a arguments) bool
)

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
