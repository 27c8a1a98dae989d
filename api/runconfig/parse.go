package runconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ErrInvalid is what every error of Parse and Validate wraps.
var ErrInvalid = errors.New("invalid run config")

// Load reads, defaults and validates a file.
func Load(path string) (*RunConfig, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return Parse(path, b)
}

// Parse reads, defaults and validates a RunConfig. name stands for the file in errors,
// which name line and field. An unknown field is an error, and so are a second document
// and another version.
func Parse(name string, b []byte) (*RunConfig, error) {
	if len(b) > 1<<20 {
		return nil, fmt.Errorf("%w: %s: larger than 1 MiB", ErrInvalid, name)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(b, &root); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, explain(name, &root, err))
	}
	if problem := beyondBounds(name, &root); problem != "" {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, problem)
	}
	var v struct {
		Version int `yaml:"version"`
	}
	if ps := fractions(&root, reflect.TypeFor[RunConfig](), ""); len(ps) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, locate(name, &root, ps))
	}
	if err := root.Decode(&v); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, explain(name, &root, err))
	}
	if v.Version != Version {
		return nil, fmt.Errorf("%w: %s:%d: version: got %d, this trainer reads %d", ErrInvalid, name, lineOf(&root, "version"), v.Version, Version)
	}
	var c RunConfig
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, explain(name, &root, err))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %s: more than one YAML document", ErrInvalid, name)
	}
	c.SetDefaults()
	if ps := c.problems(); len(ps) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, locate(name, &root, ps))
	}
	return &c, nil
}

// locate is file:line: field: message of each problem.
func locate(name string, root *yaml.Node, ps []problem) string {
	var lines []string
	for _, p := range few(ps) {
		lines = append(lines, fmt.Sprintf("%s:%d: %s: %s", name, lineOf(root, p.field), p.field, p.message))
	}
	return strings.Join(lines, "; ")
}

// Marshal writes a RunConfig as the YAML that Parse reads; equal values give equal bytes.
func Marshal(c *RunConfig) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// lineOf is the line of a dotted path such as data.train[0].uri, or of its nearest
// ancestor that the file has.
func lineOf(n *yaml.Node, path string) int {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	line := max(n.Line, 1)
	for _, key := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == key {
					line, next = n.Content[i].Line, n.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			var i int
			if _, err := fmt.Sscanf(key, "%d", &i); err == nil && i < len(n.Content) {
				line, next = n.Content[i].Line, n.Content[i]
			}
		}
		if next == nil {
			return line
		}
		n = next
	}
	return line
}
