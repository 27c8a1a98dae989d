package runconfig

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Bounds of a file. One of 1 MiB may stand for terabytes by its aliases, or for hours by its mappings: the YAML
// library compares each key of a mapping with each other.
const (
	maxValues = 100_000 // an alias counts as all that it stands for
	maxKeys   = 1000    // of one mapping
)

// beyondBounds says what of a document is too large, and where; "" when nothing is.
func beyondBounds(name string, root *yaml.Node) (problem string) {
	values := 0
	var walk func(n *yaml.Node) bool
	walk = func(n *yaml.Node) bool {
		values++
		switch {
		case values > maxValues:
			problem = fmt.Sprintf("%s:%d: more than %d values, with aliases written out", name, n.Line, maxValues)
			return false
		case n.Kind == yaml.MappingNode && len(n.Content) > 2*maxKeys:
			problem = fmt.Sprintf("%s:%d: a mapping of more than %d keys", name, n.Line, maxKeys)
			return false
		case n.Kind == yaml.AliasNode:
			return walk(n.Alias)
		}
		for _, c := range n.Content {
			if !walk(c) {
				return false
			}
		}
		return true
	}
	walk(root)
	return problem
}
