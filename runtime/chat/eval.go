package chat

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

func (r *renderer) eval(e expression) any {
	r.spend(1)
	switch e := e.(type) {
	case *constant:
		return e.value
	case *variable:
		if v, ok := r.scope.get(e.name); ok {
			return v
		}
		if f, ok := globals[e.name]; ok {
			return f
		}
		return undefined{e.name}
	case *attribute:
		return r.attribute(r.eval(e.of), e.name)
	case *item:
		return r.item(r.eval(e.of), r.eval(e.key))
	case *slice:
		return r.slice(e)
	case *call:
		f := r.eval(e.function)
		args := r.arguments(e.args, e.names, e.named)
		r.line = e.at()
		return r.call(f, args)
	case *filter:
		return r.filtered(e, nil)
	case *unary:
		return r.unary(e.op, r.eval(e.value))
	case *binary:
		left := r.eval(e.left)
		switch e.op {
		case "and":
			if !truth(left) {
				return left
			}
			return r.eval(e.right)
		case "or":
			if truth(left) {
				return left
			}
			return r.eval(e.right)
		}
		return r.binary(e.op, left, r.eval(e.right))
	case *compare:
		left := r.eval(e.first)
		for i, op := range e.ops {
			right := r.eval(e.rest[i])
			if !r.compare(op, left, right) {
				return false
			}
			left = right
		}
		return true
	case *conditional:
		switch {
		case truth(r.eval(e.condition)):
			return r.eval(e.then)
		case e.else_ != nil:
			return r.eval(e.else_)
		}
		return undefined{"the other side of an if without else"}
	case *listOf:
		list := make([]any, len(e.items))
		for i, x := range e.items {
			list[i] = r.eval(x)
		}
		r.made(list)
		if e.tuple {
			return tuple(list)
		}
		return list
	case *dictOf:
		d := new(Dict)
		for i := range e.keys {
			d.set(r.newKey(r.eval(e.keys[i])), r.eval(e.values[i]))
			r.make(64)
		}
		return d
	}
	return r.fail("an expression %T", e)
}

// key checks that v can be a key of a dictionary.
func (r *renderer) key(v any) any {
	switch v.(type) {
	case nil, bool, int64, float64, string:
		return v
	}
	return r.fail("a %s cannot be a key", typeName(v))
}

// newKey is key for a new dictionary, where Python would keep which of 1, 1.0 and True came first.
func (r *renderer) newKey(v any) any {
	switch v.(type) {
	case bool, float64:
		r.fail("a %s as a key is not supported", typeName(v))
	}
	return r.key(v)
}

func (r *renderer) arguments(args []expression, names []string, named []expression) arguments {
	a := arguments{named: new(Dict)}
	for _, x := range args {
		a.positional = append(a.positional, r.eval(x))
	}
	for i, name := range names {
		a.named.Set(name, r.eval(named[i]))
	}
	return a
}

func (r *renderer) call(f any, a arguments) any {
	if f, ok := f.(function); ok {
		r.scan(a.positional...)
		return f(r, a)
	}
	if u, ok := f.(undefined); ok {
		return r.fail("%s is undefined", u.name)
	}
	return r.fail("a %s cannot be called", typeName(f))
}

// attribute is v.name: a method, else an item of that name.
func (r *renderer) attribute(v any, name string) any {
	switch v := v.(type) {
	case undefined:
		return r.fail("%s is undefined", v.name)
	case *loop:
		if a, ok := v.attribute(name); ok {
			return a
		}
	case namespace:
		if a, ok := v.Get(name); ok {
			return a
		}
	}
	if m, ok := method(v, name); ok {
		return m
	}
	if d, ok := v.(*Dict); ok {
		if x, ok := d.Get(name); ok {
			return x
		}
	}
	return undefined{fmt.Sprintf("attribute %q of a %s", name, typeName(v))}
}

// item is v[key]: an item, else an attribute of that name.
func (r *renderer) item(v, key any) any {
	if u, ok := v.(undefined); ok {
		return r.fail("%s is undefined", u.name)
	}
	if d, ok := v.(*Dict); ok {
		switch key.(type) {
		case nil, bool, int64, float64, string:
			if x, ok := d.get(key); ok {
				return x
			}
		}
	}
	r.scan(v)
	if i, ok := integerOf(key); ok {
		if x, ok := at(v, i); ok {
			return x
		}
	}
	if name, ok := key.(string); ok {
		if m, ok := method(v, name); ok {
			return m
		}
		if n, ok := v.(namespace); ok {
			if x, ok := n.Get(name); ok {
				return x
			}
		}
	}
	return undefined{fmt.Sprintf("item %s of a %s", repr(shortened(key)), typeName(v))}
}

// shortened is v for a message.
func shortened(v any) any {
	if s, ok := v.(string); ok && len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "..."
	}
	if _, isNumber := number(v); isNumber {
		return v
	}
	if s, ok := v.(string); ok {
		return s
	}
	return typeName(v)
}

// at is an item of a sequence, counted from the end when negative.
func at(v any, i int64) (any, bool) {
	var list []any
	switch v := v.(type) {
	case string:
		if i < 0 {
			i += int64(utf8.RuneCountInString(v))
		}
		for _, c := range v {
			if i == 0 {
				return string(c), true
			}
			i--
		}
		return nil, false
	case []any:
		list = v
	case tuple:
		list = v
	default:
		return nil, false
	}
	if i < 0 {
		i += int64(len(list))
	}
	if i < 0 || i >= int64(len(list)) {
		return nil, false
	}
	return list[i], true
}

func (r *renderer) slice(e *slice) any {
	v := r.eval(e.of)
	bound := func(e expression) (int64, bool) {
		if e == nil {
			return 0, false
		}
		b := r.eval(e)
		if b == nil {
			return 0, false
		}
		n, ok := integerOf(b)
		if !ok {
			r.fail("a slice's bound is a %s, not a number", typeName(b))
		}
		return n, true
	}
	start, hasStart := bound(e.start)
	stop, hasStop := bound(e.stop)
	step, hasStep := bound(e.step)
	if !hasStep {
		step = 1
	}
	if step == 0 {
		r.fail("a slice's step is 0")
	}
	var list []any
	switch v := v.(type) {
	case undefined:
		r.fail("%s is undefined", v.name)
	case string:
		list, _ = r.iterate(v)
	case []any:
		list = v
	case tuple:
		list = v
	default:
		return undefined{"a slice of a " + typeName(v)}
	}
	n := int64(len(list))
	clamp := func(i int64, has bool, otherwise, low, high int64) int64 {
		if !has {
			return otherwise
		}
		if i < 0 {
			i += n
		}
		return max(low, min(i, high))
	}
	var out []any
	if step > 0 {
		from, to := clamp(start, hasStart, 0, 0, n), clamp(stop, hasStop, n, 0, n)
		for i := from; i < to; i += min(step, n) {
			out = append(out, list[i])
		}
	} else {
		from, to := clamp(start, hasStart, n-1, -1, n-1), clamp(stop, hasStop, -1, -1, n-1)
		for i := from; i > to; i += max(step, -n) {
			out = append(out, list[i])
		}
	}
	r.made(out)
	switch v.(type) {
	case string:
		return join(out, "")
	case tuple:
		return tuple(out)
	}
	if out == nil {
		out = []any{}
	}
	return out
}

func join(list []any, with string) string {
	parts := make([]string, len(list))
	for i, x := range list {
		parts[i] = text(x)
	}
	return strings.Join(parts, with)
}
