#!/usr/bin/env bash
# Writes docs/api.md from the Go types. What the tool escapes for another kind of Markdown is made readable again.
set -euo pipefail
cd "$(dirname "$0")/../../.."
go tool -modfile=hack/tools/apidocs/go.mod crd-ref-docs --log-level=ERROR --source-path=api/v1alpha1 \
  --config=hack/tools/apidocs/config.yaml --renderer=markdown --output-path=docs/api.md
sed -i -E '1s/.*/<!-- Generated from api\/v1alpha1 by `make generate`. -->\n# API reference/
  s/\\([{}])/\1/g
  s/Optional: \{\}/Optional/g
  s/ *<br \/> *\|/ |/g' docs/api.md
{ cat -s docs/api.md; go run ./hack/apirules config/crd/bases/*.yaml; } > docs/api.md.new && mv docs/api.md.new docs/api.md
