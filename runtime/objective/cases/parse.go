package cases

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// mostDepth bounds the nesting of a case: an object of an object of a list of lists.
const mostDepth = 6

// parse reads a line, an object. Its own walk, instead of json.Unmarshal, so that every error can name its
// field, what Python writes for NaN included, and so that neither null nor a field given twice passes for
// a number.
func parse(line []byte) (*object, error) {
	p := parser{json.NewDecoder(bytes.NewReader(line)), line}
	p.UseNumber()
	v, err := p.value("", 0)
	if err != nil {
		return nil, err
	}
	values, ok := v.(map[string]any)
	if !ok {
		return nil, &Error{Message: fmt.Sprintf("got %s, want an object", kind(v))}
	}
	if _, err := p.Token(); !errors.Is(err, io.EOF) {
		return nil, &Error{Message: "something follows the object"}
	}
	return &object{values: values, wrong: &fault{}}, nil
}

type parser struct {
	*json.Decoder
	line []byte
}

// notFinite is how Python and JavaScript print what JSON cannot say.
var notFinite = regexp.MustCompile(`^[\s,:]*(NaN|[+-]?Infinity)\b`)

// value is a map[string]any, a []any, a json.Number, a string, a bool or nil.
func (p parser) value(path string, depth int) (any, error) {
	if depth > mostDepth {
		return nil, &Error{Field: path, Message: "is nested too deep"}
	}
	token, err := p.next(path)
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for p.More() {
			name, err := p.next(path)
			if err != nil {
				return nil, err
			}
			field := join(path, fmt.Sprint(name))
			if _, twice := object[fmt.Sprint(name)]; twice {
				return nil, &Error{Field: field, Message: "is given twice"}
			}
			if object[fmt.Sprint(name)], err = p.value(field, depth+1); err != nil {
				return nil, err
			}
		}
		_, err = p.next(path)
		return object, err
	case json.Delim('['):
		list := []any{}
		for p.More() {
			v, err := p.value(fmt.Sprintf("%s[%d]", path, len(list)), depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = p.next(path)
		return list, err
	}
	return token, nil
}

func (p parser) next(path string) (json.Token, error) {
	token, err := p.Token()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, &Error{Field: path, Message: "the line ends too early"}
	}
	if err != nil {
		if m := notFinite.FindSubmatch(p.line[p.InputOffset():]); m != nil {
			return nil, &Error{Field: path, Message: fmt.Sprintf("got %s, want a finite number", m[1])}
		}
		return nil, &Error{Field: path, Message: err.Error()}
	}
	return token, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// kind says in words what a parsed value is.
func kind(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case json.Number:
		return "a number"
	case string:
		return "a string"
	case bool:
		return "true or false"
	}
	return "null"
}
