package cases

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// object reads the fields of a parsed object. The first thing found wrong is kept, and what is read after
// it means nothing.
type object struct {
	path   string
	values map[string]any
	taken  []string
	wrong  *fault // shared by the objects of a case
}

type fault struct{ first error }

// fail reports a field of the object.
func (o *object) fail(name, format string, args ...any) {
	o.failAt(join(o.path, name), format, args...)
}

func (o *object) failAt(path, format string, args ...any) {
	if o.wrong.first == nil {
		o.wrong.first = &Error{Field: path, Message: fmt.Sprintf(format, args...)}
	}
}

// take is a field's value, once; ok is false when it is not there.
func (o *object) take(name string) (v any, ok bool) {
	o.taken = append(o.taken, name)
	v, ok = o.values[name]
	return v, ok
}

func (o *object) has(name string) bool { _, ok := o.values[name]; return ok }

// noMore refuses fields that nobody asked for: a gamma that is silently ignored would be a wrong number.
func (o *object) noMore(objective string) {
	var unknown []string
	for name := range o.values {
		if !slices.Contains(o.taken, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		slices.Sort(o.taken)
		o.fail(unknown[0], "%s has no such field; it has: %s", objective, strings.Join(o.taken, ", "))
	}
}

// wants reads a field of type T, which must be there.
func wants[T any](o *object, name, what string) (value T) {
	v, ok := o.take(name)
	if !ok {
		o.fail(name, "is missing")
		return value
	}
	return as[T](o, join(o.path, name), what, v)
}

func as[T any](o *object, path, what string, v any) (value T) {
	value, ok := v.(T)
	if !ok {
		o.failAt(path, "got %s, want %s", kind(v), what)
	}
	return value
}

func (o *object) text(name string) string { return wants[string](o, name, "a string") }

// object is a field that is an object; an optional one that is missing is empty.
func (o *object) object(name string, optional bool) *object {
	child := &object{path: join(o.path, name), wrong: o.wrong}
	if optional && !o.has(name) {
		o.taken = append(o.taken, name)
		return child
	}
	child.values = wants[map[string]any](o, name, "an object")
	return child
}

func (o *object) number(path string, v any) float64 {
	n := as[json.Number](o, path, "a number", v)
	f, err := n.Float64()
	if err != nil {
		o.failAt(path, "%s is beyond float64", n)
	}
	return f
}

// one is a required number.
func (o *object) one(name string) float64 {
	v, ok := o.take(name)
	if !ok {
		o.fail(name, "is missing")
		return 0
	}
	return o.number(join(o.path, name), v)
}

// list is a required list of numbers.
func (o *object) list(name string) []float64 {
	return o.numbers(join(o.path, name), wants[[]any](o, name, "a list of numbers"))
}

func (o *object) numbers(path string, list []any) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = o.number(fmt.Sprintf("%s[%d]", path, i), v)
	}
	return out
}

// lists is a required list of at least one list of numbers, which may be empty: a response's tokens.
func (o *object) lists(name string) [][]float64 {
	outer := wants[[]any](o, name, "a list of lists of numbers")
	if len(outer) == 0 {
		o.fail(name, "is empty")
	}
	out := make([][]float64, len(outer))
	for i, v := range outer {
		path := fmt.Sprintf("%s[%d]", join(o.path, name), i)
		out[i] = o.numbers(path, as[[]any](o, path, "a list of numbers", v))
	}
	return out
}

// between is an optional number from low to high.
func (o *object) between(name string, byDefault, low, high float64) float64 {
	v, ok := o.take(name)
	if !ok {
		return byDefault
	}
	n := o.number(join(o.path, name), v)
	if !(n >= low && n <= high) {
		if high == math.MaxFloat64 {
			o.fail(name, "got %g, want %g or more", n, low)
		} else {
			o.fail(name, "got %g, want %g to %g", n, low, high)
		}
	}
	return n
}

// orMore is an optional number of 0 or more.
func (o *object) orMore(name string, byDefault float64) float64 {
	return o.between(name, byDefault, 0, math.MaxFloat64)
}

// positive is an optional number above 0.
func (o *object) positive(name string, byDefault float64) float64 {
	n := o.orMore(name, byDefault)
	if n == 0 {
		o.fail(name, "got 0, want more")
	}
	return n
}

// is is an optional true or false.
func (o *object) is(name string, byDefault bool) bool {
	if v, ok := o.take(name); ok {
		return as[bool](o, join(o.path, name), "true or false", v)
	}
	return byDefault
}

// mean is an optional "sum" (the default) or "mean".
func (o *object) mean(name string) bool {
	v, ok := o.take(name)
	if !ok {
		return false
	}
	s := as[string](o, join(o.path, name), `"sum" or "mean"`, v)
	if s != "sum" && s != "mean" {
		o.fail(name, `got %q, want "sum" or "mean"`, s)
	}
	return s == "mean"
}

// sameLength refuses a list that is not as long as another.
func (o *object) sameLength(name string, got int, other string, want int) {
	if got != want {
		o.fail(name, "has %d elements, %s has %d", got, other, want)
	}
}

// sameShape refuses lists that are not as long as another's.
func (o *object) sameShape(name string, got [][]float64, other string, want [][]float64) {
	o.sameLength(name, len(got), other, len(want))
	for i := range min(len(got), len(want)) {
		o.sameLength(fmt.Sprintf("%s[%d]", name, i), len(got[i]), fmt.Sprintf("%s[%d]", other, i), len(want[i]))
	}
}
