package runconfig

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	atLine    = regexp.MustCompile(`^line (\d+): (.*)$`)
	unknown   = regexp.MustCompile(`^field (.*) not found in type `)
	wrongType = regexp.MustCompile("(?s)^cannot unmarshal (!!\\w+)(?: `(.*)`)? into (.*)$")
)

// explain turns the YAML library's messages into file:line: field: message, without its Go
// type names.
func explain(name string, root *yaml.Node, err error) string {
	msgs := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		msgs = few(te.Errors)
	}
	for i, msg := range msgs {
		m := atLine.FindStringSubmatch(msg)
		if m == nil {
			msgs[i] = name + ": " + msg
			continue
		}
		line, _ := strconv.Atoi(m[1])
		field, msg := "", m[2]
		if u := unknown.FindStringSubmatch(msg); u != nil {
			field, msg = find(root, "", func(key, _ *yaml.Node) bool { return key.Line == line && key.Value == u[1] }), "unknown field"
			if field == "" {
				field = u[1]
			}
		} else if w := wrongType.FindStringSubmatch(msg); w != nil {
			tag, begin := w[1], strings.TrimSuffix(w[2], "...")
			field = find(root, "", func(_, value *yaml.Node) bool {
				return value.Line == line && value.ShortTag() == tag && (begin == "" || strings.HasPrefix(value.Value, begin))
			})
			msg = fmt.Sprintf("got %s, want %s", kindOf(tag, w[2]), typeWord(w[3]))
		}
		if field != "" {
			msg = field + ": " + msg
		}
		msgs[i] = fmt.Sprintf("%s:%d: %s", name, line, msg)
	}
	return strings.Join(msgs, "; ")
}

// maxProblems is how many problems of a file an error names.
const maxProblems = 20

// few are the first of many.
func few[T any](list []T) []T { return list[:min(len(list), maxProblems)] }

func kindOf(tag, value string) string {
	switch tag {
	case "!!seq":
		return "a list"
	case "!!map":
		return "a mapping"
	}
	return strconv.Quote(value)
}

func typeWord(goType string) string {
	switch {
	case goType == "int" || goType == "uint64":
		return "a whole number"
	case goType == "float64":
		return "a number"
	case goType == "bool":
		return "true or false"
	case goType == "string" || goType == "runconfig.Method":
		return "text"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	}
	return "a mapping"
}

// find is the dotted path of the first entry that matches; "" when none does. A list's
// entries have no key: theirs is the entry itself.
func find(n *yaml.Node, path string, match func(key, value *yaml.Node) bool) string {
	visit := func(key, value *yaml.Node, path string) string {
		if match(key, value) {
			return path
		}
		return find(value, path, match)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			return find(c, path, match)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if p := visit(n.Content[i], n.Content[i+1], join(path, n.Content[i].Value)); p != "" {
				return p
			}
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			if p := visit(c, c, fmt.Sprintf("%s[%d]", path, i)); p != "" {
				return p
			}
		}
	}
	return ""
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// fractions finds the whole-number fields of t whose value in the file is none: the YAML
// library would cut 1.5 down to 1, and a seed of 2^64 to another seed.
func fractions(n *yaml.Node, t reflect.Type, path string) (ps []problem) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		return fractions(n.Content[0], t, path)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return fractions(n, t.Elem(), path)
	case reflect.Int, reflect.Uint64:
		v, err := strconv.ParseFloat(n.Value, 64)
		if n.ShortTag() == "!!float" && (err != nil || v != math.Trunc(v) || math.Abs(v) > 1<<53) {
			return []problem{{path, fmt.Sprintf("got %q, want a whole number", n.Value)}}
		}
	case reflect.Slice:
		if n.Kind == yaml.SequenceNode {
			for i, c := range n.Content {
				ps = append(ps, fractions(c, t.Elem(), fmt.Sprintf("%s[%d]", path, i))...)
			}
		}
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous { // all of them are inline
				ps = append(ps, fractions(n, f.Type, path)...)
				continue
			}
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			for j := 0; n.Kind == yaml.MappingNode && j+1 < len(n.Content); j += 2 {
				if n.Content[j].Value == key {
					ps = append(ps, fractions(n.Content[j+1], f.Type, join(path, key))...)
				}
			}
		}
	}
	return ps
}
