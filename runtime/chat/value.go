package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// A template's values are nil, bool, int64, float64, string, []any, *Dict and what follows. None is
// ever changed: the sandbox is immutable.

// Dict is a dictionary in the order its keys were set.
type Dict struct {
	keys   []any // string, int64, bool, float64 or nil
	values map[any]any
}

// NewDict returns a dictionary of alternating keys, which are strings, and values.
func NewDict(pairs ...any) *Dict {
	d := new(Dict)
	for i := 0; i+1 < len(pairs); i += 2 {
		d.Set(pairs[i].(string), pairs[i+1])
	}
	return d
}

// Set sets the value of a key.
func (d *Dict) Set(key string, value any) { d.set(key, value) }

// Get returns the value of a key; ok is false when there is none.
func (d *Dict) Get(key string) (value any, ok bool) { return d.get(key) }

func (d *Dict) set(key, value any) {
	if d.values == nil {
		d.values = make(map[any]any)
	}
	key = dictKey(key)
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = value
}

func (d *Dict) get(key any) (any, bool) {
	v, ok := d.values[dictKey(key)]
	return v, ok
}

// dictKey makes equal keys identical: in Python 1, 1.0 and True are one.
func dictKey(key any) any {
	switch k := key.(type) {
	case bool:
		if k {
			return int64(1)
		}
		return int64(0)
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<53 {
			return int64(k)
		}
	}
	return key
}

type (
	tuple []any
	view  struct {
		kind  string
		items []any
	} // of a dictionary: dict_items([...])
	undefined struct{ name string }
	namespace struct{ *Dict }
	function  func(r *renderer, args arguments) any
	arguments struct {
		positional []any
		named      *Dict
	}
)

// FromJSON reads JSON into values, with the keys of objects in their order.
func FromJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := decode(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

func decode(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			list := []any{}
			for d.More() {
				v, err := decode(d)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err := d.Token()
			return list, err
		}
		dict := new(Dict)
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decode(d)
			if err != nil {
				return nil, err
			}
			dict.set(key, v)
		}
		_, err := d.Token()
		return dict, err
	case json.Number:
		if n, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return n, nil
		}
		return t.Float64()
	}
	return t, nil
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case []any:
		return "list"
	case tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case undefined:
		return "Undefined"
	case view:
		return "dict view"
	case namespace:
		return "Namespace"
	case *loop:
		return "LoopContext"
	}
	return "function"
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case tuple:
		return len(v) > 0
	case view:
		return len(v.items) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

// items returns what iterating over v gives; ok is false when nothing can.
func items(v any) (list []any, ok bool) {
	switch v := v.(type) {
	case undefined:
		return nil, true
	case []any:
		return v, true
	case tuple:
		return v, true
	case view:
		return v.items, true
	case *Dict:
		return v.keys, true
	case string:
		list = make([]any, 0, len(v))
		for _, r := range v {
			list = append(list, string(r))
		}
		return list, true
	}
	return nil, false
}

func length(v any) (int, bool) {
	if s, ok := v.(string); ok {
		return utf8.RuneCountInString(s), true
	}
	list, ok := items(v)
	return len(list), ok
}

func number(v any) (f float64, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func integerOf(v any) (int64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return v, true
	}
	return 0, false
}

func equal(a, b any) bool {
	if x, ok := integerOf(a); ok {
		if y, ok := integerOf(b); ok {
			return x == y
		}
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	same := func(x, y []any) bool {
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equal(x[i], y[i]) {
				return false
			}
		}
		return true
	}
	switch x := a.(type) {
	case nil:
		return b == nil
	case string:
		y, ok := b.(string)
		return ok && x == y
	case undefined:
		_, ok := b.(undefined)
		return ok
	case []any:
		y, ok := b.([]any)
		return ok && same(x, y)
	case tuple:
		y, ok := b.(tuple)
		return ok && same(x, y)
	case view:
		y, ok := b.(view)
		return ok && same(x.items, y.items)
	case *Dict:
		y, ok := b.(*Dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for k, v := range x.values {
			if w, ok := y.values[k]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case namespace:
		y, ok := b.(namespace)
		return ok && x == y
	}
	return false
}

// less orders numbers, texts and lists; ok is false for what Python does not order.
func less(a, b any) (is, ok bool) {
	if x, isInt := integerOf(a); isInt {
		if y, isInt := integerOf(b); isInt {
			return x < y, true
		}
	}
	if x, isNumber := number(a); isNumber {
		y, ok := number(b)
		return x < y, ok
	}
	if x, isText := a.(string); isText {
		y, ok := b.(string)
		return x < y, ok // UTF-8 sorts as code points do
	}
	var x, y []any
	switch a := a.(type) {
	case []any:
		y, ok = b.([]any)
		x = a
	case tuple:
		y, ok = b.(tuple)
		x = a
	}
	if !ok {
		return false, false
	}
	for i := range min(len(x), len(y)) {
		if !equal(x[i], y[i]) {
			return less(x[i], y[i])
		}
	}
	return len(x) < len(y), true
}
