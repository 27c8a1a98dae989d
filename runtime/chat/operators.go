package chat

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

func (r *renderer) unary(op string, v any) any {
	switch op {
	case "not":
		return !truth(v)
	case "-":
		switch v := v.(type) {
		case float64:
			return -v
		case bool, int64:
			n, _ := integerOf(v)
			if n == math.MinInt64 {
				r.fail("a number is too large")
			}
			return -n
		}
	case "+":
		switch v := v.(type) {
		case float64:
			return v
		case bool, int64:
			n, _ := integerOf(v)
			return n
		}
	}
	return r.undefinedOr([]any{v}, "%s of a %s", op, typeName(v))
}

// undefinedOr fails because of the one of values that is undefined, or else as told.
func (r *renderer) undefinedOr(values []any, format string, args ...any) any {
	for _, v := range values {
		if u, ok := v.(undefined); ok {
			return r.fail("%s is undefined", u.name)
		}
	}
	return r.fail(format, args...)
}

func (r *renderer) compare(op string, a, b any) bool {
	r.spend(r.cost(a) + r.cost(b))
	switch op {
	case "==":
		return equal(a, b)
	case "!=":
		return !equal(a, b)
	case "in":
		return r.contains(b, a)
	case "not in":
		return !r.contains(b, a)
	case ">", "<=":
		a, b = b, a
	}
	is, ok := less(a, b)
	if !ok {
		r.undefinedOr([]any{a, b}, "%s of a %s and a %s", op, typeName(a), typeName(b))
	}
	switch op {
	case "<", ">":
		return is
	}
	if x, ok := number(a); ok && math.IsNaN(x) {
		return false
	}
	if y, ok := number(b); ok && math.IsNaN(y) {
		return false
	}
	return !is
}

// cost of comparing a value, in steps.
func (r *renderer) cost(v any) int {
	switch text := v.(type) {
	case []any, tuple, view, *Dict:
		return r.size(v, 0)
	case string:
		return len(text) / 64
	}
	return 0
}

func (r *renderer) contains(in, v any) bool {
	switch in := in.(type) {
	case string:
		s, ok := v.(string)
		if !ok {
			r.undefinedOr([]any{v}, "in of a %s and a text", typeName(v))
		}
		return strings.Contains(in, s)
	case *Dict:
		_, ok := in.get(r.key(v))
		return ok
	}
	list, ok := r.iterate(in)
	if !ok {
		r.fail("in of a %s", typeName(in))
	}
	for _, x := range list {
		if equal(x, v) {
			return true
		}
	}
	return false
}

func (r *renderer) binary(op string, a, b any) any {
	if op == "~" {
		return r.madeText(r.text(a) + r.text(b))
	}
	if x, ok := integerOf(a); ok {
		if y, ok := integerOf(b); ok {
			return r.integers(op, x, y)
		}
	}
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return r.floats(op, x, y)
		}
	}
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok && op == "+" {
			return r.madeText(x + y)
		}
		if op == "%" {
			return r.format(x, b)
		}
	case []any:
		if y, ok := b.([]any); ok && op == "+" {
			return r.made(append(append(make([]any, 0, len(x)+len(y)), x...), y...))
		}
	case tuple:
		if y, ok := b.(tuple); ok && op == "+" {
			return tuple(r.made(append(append(make([]any, 0, len(x)+len(y)), x...), y...)))
		}
	}
	if op == "*" {
		if _, ok := integerOf(a); ok {
			a, b = b, a
		}
		if n, ok := integerOf(b); ok {
			n = max(n, 0)
			if length, _ := length(a); length == 0 {
				n = min(n, 1)
			}
			switch x := a.(type) {
			case string:
				r.make(int(min(n, maxBytes+1)) * min(len(x), maxBytes+1))
				return strings.Repeat(x, int(n))
			case []any:
				r.make(16 * int(min(n, maxBytes+1)) * min(len(x), maxBytes+1))
				return append([]any{}, slices.Repeat(x, int(n))...)
			}
		}
	}
	return r.undefinedOr([]any{a, b}, "%s of a %s and a %s", op, typeName(a), typeName(b))
}

func (r *renderer) integers(op string, x, y int64) any {
	large := func(f float64) {
		if math.Abs(f) >= 1<<62 {
			r.fail("a number is too large")
		}
	}
	switch op {
	case "+":
		large(float64(x) + float64(y))
		return x + y
	case "-":
		large(float64(x) - float64(y))
		return x - y
	case "*":
		large(float64(x) * float64(y))
		return x * y
	case "**":
		if y < 0 {
			return r.floats(op, float64(x), float64(y))
		}
		large(math.Pow(float64(x), float64(y)))
		n := int64(1)
		for ; y > 0; y >>= 1 {
			if y&1 == 1 {
				n *= x
			}
			x *= x
		}
		return n
	}
	if y == 0 {
		r.fail("division by 0")
	}
	switch op {
	case "/":
		return float64(x) / float64(y)
	case "//":
		n := x / y
		if x%y != 0 && (x < 0) != (y < 0) {
			n--
		}
		return n
	}
	n := x % y
	if n != 0 && (n < 0) != (y < 0) {
		n += y
	}
	return n
}

func (r *renderer) floats(op string, x, y float64) any {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "**":
		f := math.Pow(x, y)
		if math.IsInf(f, 0) || math.IsNaN(f) {
			r.fail("a power of %s is no number", floatText(x))
		}
		return f
	}
	if y == 0 {
		r.fail("division by 0")
	}
	switch op {
	case "/":
		return x / y
	case "//":
		return math.Floor(x / y)
	}
	n := math.Mod(x, y)
	if n != 0 && (n < 0) != (y < 0) {
		n += y
	}
	return n
}

// format is Python's text % values, of %s, %r, %d, %i, %f and %%, with a width.
func (r *renderer) format(format string, values any) any {
	args, ok := values.(tuple)
	if !ok {
		args = tuple{values}
	}
	var b strings.Builder
	for format != "" {
		before, rest, found := strings.Cut(format, "%")
		b.WriteString(before)
		if !found {
			break
		}
		spec := rest[:len(rest)-len(strings.TrimLeft(rest, "-+0123456789."))]
		rest = rest[len(spec):]
		verb, n := utf8.DecodeRuneInString(rest)
		format = rest[n:]
		if verb == '%' && spec == "" {
			b.WriteByte('%')
			continue
		}
		if len(spec) > 4 {
			r.fail("a format %%%s is not supported", spec)
		}
		if len(args) == 0 {
			r.fail("a format has more than its values")
		}
		v := args[0]
		args = args[1:]
		switch x, isNumber := number(v); {
		case verb == 's' && !strings.ContainsAny(spec, "0."):
			fmt.Fprintf(&b, "%"+spec+"s", r.text(v))
		case verb == 'r' && !strings.ContainsAny(spec, "0."):
			r.spend(r.size(v, 0))
			fmt.Fprintf(&b, "%"+spec+"s", repr(v))
		case (verb == 'd' || verb == 'i') && isNumber && math.Abs(x) < 1<<62:
			n, ok := integerOf(v)
			if !ok {
				n = int64(x)
			}
			fmt.Fprintf(&b, "%"+spec+"d", n)
		case verb == 'f' && isNumber:
			fmt.Fprintf(&b, "%"+spec+"f", x)
		default:
			r.fail("a format %%%s%c of a %s is not supported", spec, verb, typeName(v))
		}
	}
	if len(args) > 0 && ok {
		r.fail("a format has fewer than its values")
	}
	return r.madeText(b.String())
}
