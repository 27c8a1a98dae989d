// Command crds takes the descriptions of Kubernetes' own types out of the CRDs of a folder: they are most of
// the text, `kubectl explain pod.spec` has them, and `kubectl apply` has no room for them.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crds FOLDER")
		os.Exit(2)
	}
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*.yaml"))
	for _, f := range files {
		if err == nil {
			err = shorten(f)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "crds:", err)
		os.Exit(1)
	}
}

func shorten(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(b, &crd); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, v := range crd["spec"].(map[string]any)["versions"].([]any) {
		at := v
		for _, k := range []string{"schema", "openAPIV3Schema", "properties", "spec", "properties", "podTemplate", "properties", "spec", "properties"} {
			m, ok := at.(map[string]any)
			if !ok {
				return fmt.Errorf("%s: no %s on the way to spec.podTemplate.spec", file, k)
			}
			at = m[k]
		}
		for _, field := range at.(map[string]any) {
			for k, v := range field.(map[string]any) {
				if k != "description" {
					strip(v)
				}
			}
		}
	}
	if b, err = yaml.Marshal(crd); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, append([]byte("---\n"), b...), 0o644)
}

// strip keeps a property that is called description: only a schema's own is text.
func strip(at any) {
	switch v := at.(type) {
	case map[string]any:
		if _, text := v["description"].(string); text {
			delete(v, "description")
		}
		for _, child := range v {
			strip(child)
		}
	case []any:
		for _, child := range v {
			strip(child)
		}
	}
}
