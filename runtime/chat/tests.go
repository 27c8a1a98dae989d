package chat

func init() { // the tests look at values with functions that refer to them
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
