package chat

import (
	"strings"
	"unicode/utf8"
)

type outcome uint8

const (
	goesOn outcome = iota
	breaks
	continues
)

func (r *renderer) run(body []statement) outcome {
	for _, s := range body {
		r.line = s.at()
		r.spend(1)
		if o := r.statement(s); o != goesOn {
			return o
		}
	}
	return goesOn
}

func (r *renderer) statement(s statement) outcome {
	switch s := s.(type) {
	case *textOf:
		r.write(s.text)
	case *output:
		r.write(r.text(r.eval(s.value)))
	case *ifElse:
		if truth(r.eval(s.condition)) {
			return r.run(s.then)
		}
		return r.run(s.else_)
	case *forIn:
		r.forIn(s)
	case *set:
		r.set(s)
	case *macroDef:
		r.scope.values[s.name] = r.macro(s)
	case *filterBlock:
		body := r.capture(func() { r.run(s.body) })
		r.write(r.text(r.filtered(s.filter, body)))
	case *callBlock:
		f := r.eval(s.call.function)
		args := r.arguments(s.call.args, s.call.names, s.call.named)
		args.named.Set("caller", r.macro(s.caller))
		r.write(r.text(r.call(f, args)))
	case *generation:
		// As in transformers, its place is what the output has so far, also within a macro.
		from := utf8.RuneCountInString(r.root.String())
		r.spend(r.root.Len() / 64)
		var text string
		r.nested(r.scope, func() { text = r.capture(func() { r.run(s.body) }) })
		r.write(text)
		r.generated = append(r.generated, [2]int{from, from + utf8.RuneCountInString(text)})
	case *jump:
		if s.continues {
			return continues
		}
		return breaks
	}
	return goesOn
}

// nested runs f with variables of its own.
func (r *renderer) nested(around *scope, f func()) {
	before := r.scope
	r.scope = &scope{values: make(map[string]any), around: around}
	defer func() { r.scope = before }()
	f()
}

func (r *renderer) assign(targets []string, unpack bool, v any) {
	if !unpack {
		r.scope.values[targets[0]] = v
		return
	}
	list, ok := r.iterate(v)
	if !ok {
		r.fail("a %s cannot be unpacked", typeName(v))
	}
	if len(list) != len(targets) {
		r.fail("%d values for %d names", len(list), len(targets))
	}
	for i, name := range targets {
		r.scope.values[name] = list[i]
	}
}

func (r *renderer) set(s *set) {
	var v any
	if s.body != nil {
		var body string
		r.nested(r.scope, func() { body = r.capture(func() { r.run(s.body) }) })
		v = body
		if s.filter != nil {
			v = r.filtered(s.filter, body)
		}
	} else {
		v = r.eval(s.value)
	}
	if s.attr == "" {
		r.assign(s.targets, s.unpack, v)
		return
	}
	ns, _ := r.scope.get(s.targets[0])
	n, ok := ns.(namespace)
	if !ok {
		r.fail("cannot set an attribute of %s, which is no namespace", s.targets[0])
	}
	if strings.HasPrefix(s.attr, "_") {
		r.fail("a namespace has no attribute %q", s.attr)
	}
	r.make(16)
	n.Set(s.attr, v)
}

// loop is the variable of that name.
type loop struct {
	list    []any
	i       int
	changed any
}

func (r *renderer) forIn(s *forIn) {
	v := r.eval(s.in)
	list, ok := r.iterate(v)
	if !ok {
		r.fail("a %s cannot be looped over", typeName(v))
	}
	if s.where != nil {
		var kept []any
		for _, x := range list {
			r.nested(r.scope, func() {
				r.assign(s.targets, s.unpack, x)
				if truth(r.eval(s.where)) {
					kept = append(kept, x)
				}
			})
		}
		list = kept
	}
	if len(list) == 0 {
		r.nested(r.scope, func() { r.run(s.else_) })
		return
	}
	l := &loop{list: list, changed: undefined{}}
	for i, x := range list {
		l.i = i
		o := goesOn
		r.nested(r.scope, func() {
			r.scope.values["loop"] = l
			r.line = s.at()
			r.assign(s.targets, s.unpack, x)
			o = r.run(s.body)
		})
		if o == breaks {
			return
		}
	}
}

func (l *loop) attribute(name string) (any, bool) {
	at := func(i int) any {
		if i < 0 || i >= len(l.list) {
			return undefined{"loop." + name}
		}
		return l.list[i]
	}
	n, i := int64(len(l.list)), int64(l.i)
	switch name {
	case "index":
		return i + 1, true
	case "index0":
		return i, true
	case "revindex":
		return n - i, true
	case "revindex0":
		return n - i - 1, true
	case "first":
		return i == 0, true
	case "last":
		return i == n-1, true
	case "length":
		return n, true
	case "depth": // of recursive loops
		return int64(1), true
	case "depth0":
		return int64(0), true
	case "previtem":
		return at(l.i - 1), true
	case "nextitem":
		return at(l.i + 1), true
	case "cycle":
		return function(func(r *renderer, a arguments) any {
			if len(a.positional) == 0 {
				r.fail("loop.cycle of nothing")
			}
			return a.positional[l.i%len(a.positional)]
		}), true
	case "changed":
		return function(func(r *renderer, a arguments) any {
			now := tuple(a.positional)
			changed := r.compare("!=", l.changed, now)
			l.changed = now
			return changed
		}), true
	}
	return nil, false
}

func (r *renderer) macro(m *macroDef) function {
	around := r.scope
	return func(r *renderer, a arguments) any {
		if r.calls++; r.calls > maxCalls {
			r.fail("macro %s: more than %d calls in each other", m.name, maxCalls)
		}
		line := r.line
		defer func() { r.calls--; r.line = line }()
		if len(a.positional) > len(m.params) {
			r.fail("macro %s takes %d arguments, got %d", m.name, len(m.params), len(a.positional))
		}
		used := 0
		var out string
		r.nested(around, func() {
			if caller, ok := a.named.Get("caller"); ok {
				r.scope.values["caller"] = caller
				used++
			} else if m.name != "caller" {
				r.scope.values["caller"] = undefined{"caller"}
			}
			for i, name := range m.params {
				v, named := a.named.Get(name)
				switch n := i - len(m.params) + len(m.defaults); {
				case i < len(a.positional):
					if named {
						r.fail("macro %s got two arguments %q", m.name, name)
					}
					v = a.positional[i]
				case named:
					used++
				case n >= 0:
					v = r.eval(m.defaults[n])
				default:
					v = undefined{name}
				}
				r.scope.values[name] = v
			}
			if used < len(a.named.keys) {
				r.fail("macro %s got an argument it does not have, of %s", m.name, repr(view{"names", a.named.keys}))
			}
			out = r.capture(func() { r.run(m.body) })
		})
		return out
	}
}
