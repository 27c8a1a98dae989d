package chart

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	root      = "../.."
	chartDir  = root + "/charts/alignment-operator"
	namespace = "alignment-system" // config/default's
)

// need is what an environment variable names; without it a test is skipped, but not in CI.
func need(t *testing.T, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" && os.Getenv("CI") == "true" {
		t.Fatalf("%s is not set, and CI is: these tests must run", variable)
	}
	if err := readInputs(); err != nil {
		t.Fatal(err)
	}
	if value == "" {
		t.Skipf("%s is not set: `make test` sets it", variable)
	}
	return value
}

// readInputs opens what helm and kubectl read, so that go test, which sees this process alone, does not take an earlier
// result for one of today's files.
var readInputs = sync.OnceValue(func() error {
	for _, dir := range []string{chartDir, root + "/config", root + "/hack/deploy.sh"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			return f.Close()
		})
		if err != nil {
			return err
		}
	}
	return nil
})

// helm runs helm and returns its output; the error has what it complained of.
func helm(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	return output(exec.Command(need(t, "HELM"), args...))
}

func kubectl(t *testing.T, stdin []byte, args ...string) ([]byte, error) {
	t.Helper()
	c := exec.Command(filepath.Join(need(t, "KUBEBUILDER_ASSETS"), "kubectl"), args...)
	c.Stdin = bytes.NewReader(stdin)
	return output(c)
}

func output(c *exec.Cmd) ([]byte, error) {
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}

// template renders the chart; flags set values.
func template(t *testing.T, flags ...string) []byte {
	t.Helper()
	out, err := helm(t, append([]string{"template", "alignment-operator", chartDir, "--namespace", namespace}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kustomize renders a folder of config/.
func kustomize(t *testing.T, folder string) []byte {
	t.Helper()
	out, err := kubectl(t, nil, "kustomize", filepath.Join(root, "config", folder))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// objects are the documents of a stream, by kind, namespace and name.
func objects(t *testing.T, streams ...[]byte) map[string]*unstructured.Unstructured {
	t.Helper()
	all := map[string]*unstructured.Unstructured{}
	for _, stream := range streams {
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
		for {
			o := &unstructured.Unstructured{}
			if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if len(o.Object) == 0 {
				continue // comments alone
			}
			key := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
			if all[key] != nil {
				t.Errorf("there are two of %s", key)
			}
			all[key] = o
		}
	}
	return all
}
