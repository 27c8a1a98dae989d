// Command apirules prints, as a Markdown table, the rules of the CRDs that it is given which are more than one field's
// schema: `make generate` puts them below the fields in docs/api.md.
package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// schema is the part of an OpenAPI schema in which rules are.
type schema struct {
	Properties           map[string]schema `json:"properties"`
	Items                *schema           `json:"items"`
	AdditionalProperties *schema           `json:"additionalProperties"`
	Rules                []rule            `json:"x-kubernetes-validations"`
}

type rule struct {
	Rule      string `json:"rule"`
	Message   string `json:"message"`
	FieldPath string `json:"fieldPath"`
}

// row is a rule and where it holds.
type row struct{ path, message, rule string }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "apirules:", err)
		os.Exit(1)
	}
}

func run(files []string) error {
	kinds := map[row][]string{} // that have the rule
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct{ OpenAPIV3Schema schema }
				}
			}
		}
		if err := yaml.Unmarshal(b, &crd); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		for _, v := range crd.Spec.Versions {
			collect(v.Schema.OpenAPIV3Schema, "", func(r row) { kinds[r] = append(kinds[r], crd.Spec.Names.Kind) })
		}
	}
	rows := slices.SortedFunc(maps.Keys(kinds), func(a, b row) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.message, b.message), cmp.Compare(a.rule, b.rule))
	})
	fmt.Print("\n## Rules\n\nWhat is refused beyond a field's own type and bounds, with the message that one gets.\n\n| Field | Message | Rule, in CEL | Kinds |\n| --- | --- | --- | --- |\n")
	for _, r := range rows {
		in := "all"
		if len(kinds[r]) < len(files) {
			in = strings.Join(kinds[r], ", ")
		}
		fmt.Printf("| `%s` | %s | `%s` | %s |\n", r.path, cell(r.message), cell(r.rule), in)
	}
	return nil
}

// collect gives the rules of a schema at a path, and of all below it.
func collect(s schema, path string, found func(row)) {
	for _, r := range s.Rules {
		found(row{cmp.Or(strings.TrimPrefix(path+r.FieldPath, "."), "metadata.name"), r.Message, r.Rule}) // the root's rule may look at no other field
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		collect(s.Properties[name], path+"."+name, found)
	}
	if s.Items != nil {
		collect(*s.Items, path+"[]", found)
	}
	if s.AdditionalProperties != nil {
		collect(*s.AdditionalProperties, path+".*", found)
	}
}

func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
