// Package depcheck holds the import rules of the project.
package depcheck

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/alignment-dev/alignment-operator/"

// pkg is what go list says of one of our packages.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// rules are held by every package below from. Of ours, it may import only what allow
// lists; nothing it imports may begin with deny.
var rules = []struct {
	from   string
	allow  []string
	deny   []string
	reason string
}{
	{"api/runconfig", []string{}, []string{"k8s.io/", "sigs.k8s.io/"}, "the contract belongs to both sides, so it depends on neither"},
	{"api/v1alpha1", []string{}, nil, "clients of the API must not get the operator with it"},
	{"controllers", []string{"api/", "controllers"}, nil, "the operator builds without cgo and talks to the trainer through the contract alone"},
	{"images/operator", []string{"api/", "controllers"}, nil, "the operator builds without cgo and talks to the trainer through the contract alone"},
	{"runtime", []string{"api/runconfig", "runtime/"}, []string{"k8s.io/", "sigs.k8s.io/"}, "the trainer knows nothing of Kubernetes"},
	{"runtime/objective", []string{"runtime/objective", "runtime/tensor"}, nil, "an objective is a pure function of tensors"},
	{"runtime/tensor", []string{"runtime/tensor"}, nil, "everything else builds on it"},
	{"runtime/tokenizer", []string{}, nil, "it is pure Go, to be used without libtorch"},
	{"runtime/chat", []string{}, nil, "it is pure Go, to be used without libtorch"},
	{"runtime/data", []string{"api/runconfig", "runtime/chat", "runtime/data", "runtime/tokenizer"}, nil, "it is pure Go, to be used without libtorch"},
	{"runtime/storage", []string{"runtime/storage"}, nil, "it is pure Go, to be used without libtorch"},
	{"runtime/checkpoint", []string{"api/runconfig", "runtime/storage"}, nil, "it is pure Go, to be used without libtorch"},
	{"runtime/distributed", []string{"api/runconfig", "runtime/distributed", "runtime/tensor"}, nil, "it knows no model and no loss"},
	{"runtime/model", []string{"runtime/distributed", "runtime/tensor"}, nil, "a model knows no data, no loss and no optimiser"},
	{"runtime/train", []string{"api/runconfig", "runtime/checkpoint", "runtime/data", "runtime/distributed", "runtime/evaluate", "runtime/model", "runtime/objective", "runtime/optim", "runtime/rollout", "runtime/tensor"}, nil, "publishing is run's"},
	{"runtime/evaluate", []string{"runtime/data", "runtime/distributed", "runtime/model", "runtime/rollout", "runtime/tensor", "runtime/tokenizer"}, nil, "train uses it"},
	{"runtime/run", []string{"api/runconfig", "runtime/"}, []string{module + "runtime/storage/remote", "gocloud.dev"}, "the object stores' clients are large: the trainer's main passes them in"},
	{"images/trainer", []string{"api/runconfig", "runtime/"}, []string{"k8s.io/", "sigs.k8s.io/"}, "the trainer knows nothing of Kubernetes"},
}

func TestImportRules(t *testing.T) {
	packages := list(t)
	for _, rule := range rules {
		var found bool
		for _, p := range packages {
			from := strings.TrimPrefix(p.ImportPath, module)
			if from != rule.from && !strings.HasPrefix(from, rule.from+"/") {
				continue
			}
			found = true
			for _, i := range p.Imports {
				ours, isOurs := strings.CutPrefix(i, module)
				if isOurs && !slices.ContainsFunc(rule.allow, func(a string) bool { return strings.HasPrefix(ours+"/", strings.TrimSuffix(a, "/")+"/") }) {
					t.Errorf("%s imports %s: %s", from, ours, rule.reason)
				}
				if slices.ContainsFunc(rule.deny, func(d string) bool { return strings.HasPrefix(i, d) }) {
					t.Errorf("%s imports %s: %s", from, i, rule.reason)
				}
			}
		}
		if !found {
			t.Errorf("no package below %s: the rule is out of date", rule.from)
		}
	}
}

func TestNothingImportsHack(t *testing.T) {
	for _, p := range list(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(from, "hack/") {
			continue
		}
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if strings.HasPrefix(i, module+"hack/") {
				t.Errorf("%s imports %s: hack is for developers, not part of the product", from, i)
			}
		}
	}
}

// list asks the go command for our packages; it does not build them.
func list(t *testing.T) (out []pkg) {
	t.Helper()
	c := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...")
	b, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	for {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
}
