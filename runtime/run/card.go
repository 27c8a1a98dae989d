package run

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"text/template"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
)

// modelCard is the README.md of a published folder. Like all files of the manifest it has
// no time and not the run's name in it: equal runs publish equal bytes.
func (r *run) modelCard(metrics map[string]float64) []byte {
	type row struct{ Name, Value string }
	card := struct {
		Library string
		Method  runconfig.Method
		Hash    string
		Inputs  []runconfig.Artifact
		Lineage []checkpoint.Ancestor
		Metrics []row
	}{"transformers", r.config.Method, r.hash, r.inputs, r.lineage, nil}
	if r.config.Training.PublishesAdapter() {
		card.Library = "peft"
	}
	for _, k := range slices.Sorted(maps.Keys(metrics)) {
		card.Metrics = append(card.Metrics, row{k, fmt.Sprintf("%.6g", metrics[k])})
	}
	var b bytes.Buffer
	if err := cardTemplate.Execute(&b, card); err != nil {
		panic(err) // the template is constant, and a buffer takes every write
	}
	return b.Bytes()
}

var cardTemplate = template.Must(template.New("card").Parse(`---
library_name: {{.Library}}
tags: [alignment, {{.Method}}]
---
# A model trained by {{.Method}}

Run hash ` + "`{{.Hash}}`" + `. manifest.json has the digest of every file.

## Inputs
| role | digest |
|---|---|
{{range .Inputs}}| {{.Role}} | {{.Digest}} |
{{end}}{{if .Lineage}}
## Lineage
The checkpoints behind it, the oldest first; manifest.json has their inputs.
{{range .Lineage}}
- {{or .Method "checkpoint"}}{{with .Name}} {{.}}{{end}} ` + "`{{.Digest}}`" + `{{end}}
{{end}}
## Metrics
| metric | value |
|---|---|
{{range .Metrics}}| {{.Name}} | {{.Value}} |
{{end}}`))
