package chat

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// method returns a method of a value, bound to it.
func method(v any, name string) (function, bool) {
	var m func(*renderer, arguments) any
	switch v := v.(type) {
	case string:
		if f, ok := stringMethods[name]; ok {
			m = func(r *renderer, a arguments) any {
				r.spend(len(v) / 64)
				return f(r, v, a)
			}
		}
	case *Dict:
		m = dictMethod(v, name)
	case []any:
		m = listMethod(v, name)
	case tuple:
		if name == "index" || name == "count" {
			m = listMethod(v, name)
		}
	}
	if m == nil {
		return nil, false
	}
	return m, true
}

func dictMethod(d *Dict, name string) func(*renderer, arguments) any {
	all := func(kind string, of func() []any) func(*renderer, arguments) any {
		return func(r *renderer, a arguments) any {
			r.parameters(name, a, nil)
			return view{kind, r.made(of())}
		}
	}
	switch name {
	case "items":
		return all("dict_items", func() []any { return dictItems(d) })
	case "keys":
		return all("dict_keys", func() []any { return d.keys })
	case "values":
		return all("dict_values", func() []any {
			list := make([]any, len(d.keys))
			for i, k := range d.keys {
				list[i] = d.values[k]
			}
			return list
		})
	case "get":
		return func(r *renderer, a arguments) any {
			p := r.parameters("get", a, []string{"key", "default"}, nil)
			if v, ok := d.get(r.key(p[0])); ok {
				return v
			}
			return p[1]
		}
	case "copy":
		return func(r *renderer, _ arguments) any { return r.dict(arguments{positional: []any{d}, named: new(Dict)}) }
	case "update", "pop", "popitem", "clear", "setdefault":
		return immutable(name)
	}
	return nil
}

func immutable(name string) func(*renderer, arguments) any {
	return func(r *renderer, _ arguments) any { return r.fail("%s is not allowed: values cannot be changed", name) }
}

func listMethod(list []any, name string) func(*renderer, arguments) any {
	switch name {
	case "index", "count":
		return func(r *renderer, a arguments) any {
			x := r.parameters(name, a, []string{"value"})[0]
			r.spend(r.cost(list))
			n := int64(0)
			for i, y := range list {
				if equal(x, y) {
					if name == "index" {
						return int64(i)
					}
					n++
				}
			}
			if name == "index" {
				r.fail("index of what is not in the list")
			}
			return n
		}
	case "copy":
		return func(r *renderer, _ arguments) any { return slices.Clone(r.made(list)) }
	case "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse":
		return immutable(name)
	}
	return nil
}

// trimmed says which characters strip and trim take: white space, or those of a text.
func (r *renderer) trimmed(chars any) func(rune) bool {
	if chars == nil {
		return isSpace
	}
	set := r.strArg("strip", chars)
	return func(c rune) bool { return strings.ContainsRune(set, c) }
}

var stringMethods = map[string]func(r *renderer, s string, a arguments) any{
	"strip":  stripper(strings.TrimFunc),
	"lstrip": stripper(strings.TrimLeftFunc),
	"rstrip": stripper(strings.TrimRightFunc),
	"removeprefix": func(r *renderer, s string, a arguments) any {
		return strings.TrimPrefix(s, r.strArg("removeprefix", r.parameters("removeprefix", a, []string{"prefix"})[0]))
	},
	"removesuffix": func(r *renderer, s string, a arguments) any {
		return strings.TrimSuffix(s, r.strArg("removesuffix", r.parameters("removesuffix", a, []string{"suffix"})[0]))
	},
	"upper":      changer(upper),
	"lower":      changer(lower),
	"title":      changer(title),
	"capitalize": changer(capitalize),
	"startswith": affix("startswith", strings.HasPrefix),
	"endswith":   affix("endswith", strings.HasSuffix),
	"split": func(r *renderer, s string, a arguments) any {
		return r.split(s, r.parameters("split", a, []string{"sep", "maxsplit"}, nil, int64(-1)), false)
	},
	"rsplit": func(r *renderer, s string, a arguments) any {
		return r.split(s, r.parameters("rsplit", a, []string{"sep", "maxsplit"}, nil, int64(-1)), true)
	},
	"splitlines": func(r *renderer, s string, a arguments) any {
		p := r.parameters("splitlines", a, []string{"keepends"}, false)
		return r.made(anys(splitLines(s, truth(p[0]))))
	},
	"partition": func(r *renderer, s string, a arguments) any {
		sep := r.separator(r.parameters("partition", a, []string{"sep"})[0])
		before, after, found := strings.Cut(s, sep)
		if !found {
			return tuple{s, "", ""}
		}
		return tuple{before, sep, after}
	},
	"rpartition": func(r *renderer, s string, a arguments) any {
		sep := r.separator(r.parameters("rpartition", a, []string{"sep"})[0])
		i := strings.LastIndex(s, sep)
		if i < 0 {
			return tuple{"", "", s}
		}
		return tuple{s[:i], sep, s[i+len(sep):]}
	},
	"replace": func(r *renderer, s string, a arguments) any {
		p := r.parameters("replace", a, []string{"old", "new", "count"}, int64(-1))
		count := p[2]
		if n := r.intArg("replace", count); n < 0 {
			count = nil
		}
		return r.replace(s, r.strArg("replace", p[0]), r.strArg("replace", p[1]), count)
	},
	"join": func(r *renderer, s string, a arguments) any {
		list := r.listArg("join", r.parameters("join", a, []string{"iterable"})[0])
		size := 0
		for _, x := range list {
			size += len(r.strArg("join", x)) + len(s)
		}
		r.make(size)
		return join(list, s)
	},
	"find":  finder("find", strings.Index, false),
	"rfind": finder("rfind", strings.LastIndex, false),
	"index": finder("index", strings.Index, true),
	"count": func(r *renderer, s string, a arguments) any {
		return int64(strings.Count(s, r.strArg("count", r.parameters("count", a, []string{"sub"})[0])))
	},
	"isdigit": all(unicode.IsDigit),
	"isalpha": all(unicode.IsLetter),
	"isalnum": all(func(c rune) bool { return unicode.IsLetter(c) || unicode.IsNumber(c) }),
	"isspace": all(isSpace),
	"isupper": func(r *renderer, s string, _ arguments) any { return isCased(s) && upper(s) == s },
	"islower": func(r *renderer, s string, _ arguments) any { return isCased(s) && lower(s) == s },
	"ljust":   justifier("ljust"),
	"rjust":   justifier("rjust"),
	"zfill": func(r *renderer, s string, a arguments) any {
		n := r.padding(s, r.parameters("zfill", a, []string{"width"})[0])
		if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
			return s[:1] + strings.Repeat("0", n) + s[1:]
		}
		return strings.Repeat("0", n) + s
	},
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func stripper(trim func(string, func(rune) bool) string) func(*renderer, string, arguments) any {
	return func(r *renderer, s string, a arguments) any {
		return trim(s, r.trimmed(r.parameters("strip", a, []string{"chars"}, nil)[0]))
	}
}

func changer(f func(string) string) func(*renderer, string, arguments) any {
	return func(r *renderer, s string, a arguments) any {
		r.parameters("a method", a, nil)
		return r.madeText(f(s))
	}
}

func affix(name string, has func(s, part string) bool) func(*renderer, string, arguments) any {
	return func(r *renderer, s string, a arguments) any {
		v := r.parameters(name, a, []string{"part"})[0]
		if several, ok := v.(tuple); ok {
			return slices.ContainsFunc(several, func(v any) bool { return has(s, r.strArg(name, v)) })
		}
		return has(s, r.strArg(name, v))
	}
}

func finder(name string, find func(s, part string) int, must bool) func(*renderer, string, arguments) any {
	return func(r *renderer, s string, a arguments) any {
		i := find(s, r.strArg(name, r.parameters(name, a, []string{"sub"})[0]))
		if i < 0 {
			if must {
				r.fail("%s of what is not in the text", name)
			}
			return int64(-1)
		}
		return int64(utf8.RuneCountInString(s[:i]))
	}
}

func all(is func(rune) bool) func(*renderer, string, arguments) any {
	return func(_ *renderer, s string, _ arguments) any {
		return s != "" && strings.IndexFunc(s, func(c rune) bool { return !is(c) }) < 0
	}
}

func justifier(name string) func(*renderer, string, arguments) any {
	return func(r *renderer, s string, a arguments) any {
		p := r.parameters(name, a, []string{"width", "fillchar"}, " ")
		fill := strings.Repeat(r.strArg(name, p[1]), r.padding(s, p[0]))
		if name == "ljust" {
			return s + fill
		}
		return fill + s
	}
}
