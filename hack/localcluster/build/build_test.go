package build

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEnsure(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "go.mod", "module hello\n\ngo 1.26\n")
	write(t, dir, "main.go", "package main\n\nvar greeting = \"hi\"\n\nfunc main() { print(greeting) }\n")
	var out bytes.Buffer
	builder := &Builder{Cache: t.TempDir(), Out: &out, Now: time.Now}
	program := Program{Name: "hello", Dir: dir, LDFlags: "-X main.greeting=hallo", Links: []string{"alias"}, Note: "a moment"}
	ensure := func() string {
		t.Helper()
		path, err := builder.Ensure(context.Background(), program)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}

	first := ensure()
	got, err := exec.Command(filepath.Join(filepath.Dir(first), "alias")).CombinedOutput()
	if err != nil || string(got) != "hallo" {
		t.Errorf("alias printed %q, %v; want hallo", got, err)
	}
	if !strings.Contains(out.String(), "building hello (a moment)\n") {
		t.Errorf("nothing was said about the build:\n%s", out.String())
	}

	out.Reset()
	if again := ensure(); again != first || out.Len() > 0 {
		t.Errorf("unchanged sources were built again: %s, %q", again, out.String())
	}

	write(t, dir, "main.go", "package main\n\nvar greeting string\n\nfunc main() { print(greeting, 2) }\n")
	if changed := ensure(); changed == first {
		t.Error("changed sources were not built again")
	}

	write(t, dir, "main.go", "package main\n\nfunc main() { undefinedName() }\n")
	if _, err := builder.Ensure(context.Background(), program); err == nil || !strings.Contains(err.Error(), "undefinedName") {
		t.Errorf("error %v does not carry the compiler's message", err)
	}
}

func TestCountPackages(t *testing.T) {
	said := "go: downloading example.org/a v1.0.0\nexample.org/a\nexample.org/a/b\n# example.org/c\nc.go:1:2: undefined: x\n"
	var compiled atomic.Int64
	messages := countPackages(strings.NewReader(said), &compiled)
	if compiled.Load() != 2 {
		t.Errorf("%d packages counted, want 2", compiled.Load())
	}
	if want := "# example.org/c\nc.go:1:2: undefined: x\n"; messages != want {
		t.Errorf("messages = %q, want %q", messages, want)
	}
}
