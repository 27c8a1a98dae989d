package checkpoint

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// folder writes files into a new folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var published = Manifest{
	RunHash: "ab12",
	Method:  "DPO",
	Files:   []File{{Path: "model.safetensors"}, {Path: "config.json"}, {Path: "sub/x"}},
	Inputs:  []runconfig.Artifact{{Role: "train", URI: "pvc://data/a&b.jsonl", Digest: "sha256:00"}},
	Metrics: map[string]float64{"eval_loss": 0.25, "diverged": math.NaN(), "loss": 1},
}

func publish(t *testing.T) (dir, digest string) {
	t.Helper()
	dir = folder(t, map[string]string{"model.safetensors": "weights", "config.json": "{}", "sub/x": "", "result.json": "not part of it"})
	digest, err := Publish(dir, published)
	if err != nil {
		t.Fatal(err)
	}
	return dir, digest
}

// The manifest's bytes are what every digest in a chain hangs on: they must never change.
const wantManifest = `{
  "version": 1,
  "runHash": "ab12",
  "method": "DPO",
  "files": [
    {
      "path": "config.json",
      "size": 2,
      "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    },
    {
      "path": "model.safetensors",
      "size": 7,
      "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    },
    {
      "path": "sub/x",
      "size": 0,
      "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    }
  ],
  "inputs": [
    {
      "role": "train",
      "uri": "pvc://data/a&b.jsonl",
      "digest": "sha256:00"
    }
  ],
  "metrics": {
    "eval_loss": 0.25,
    "loss": 1
  }
}
`

func TestPublish(t *testing.T) {
	dir, digest := publish(t)
	b, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != wantManifest {
		t.Errorf("manifest:\n%s\nwant:\n%s", b, wantManifest)
	}
	if digest != storage.Digest(b) {
		t.Errorf("digest %s, the file's is %s", digest, storage.Digest(b))
	}
	if _, other := publish(t); other != digest {
		t.Errorf("the same content has the digests %s and %s", digest, other)
	}
	m, err := Verify(dir, digest)
	if err != nil {
		t.Fatal(err)
	}
	if m.Metrics["loss"] != 1 || !m.Has("sub/x") || m.Has("sub") || m.Inputs[0] != published.Inputs[0] {
		t.Errorf("read back %+v", m)
	}
	if published.Files[0].SHA256 != "" || len(published.Metrics) != 3 {
		t.Error("Publish changed its argument")
	}
}

func TestPublishShowsNothingUnlessWhole(t *testing.T) {
	for name, files := range map[string][]File{
		"missing file":     {{Path: "config.json"}, {Path: "none"}},
		"folder":           {{Path: "sub"}},
		"twice":            {{Path: "config.json"}, {Path: "config.json"}},
		"outside":          {{Path: "../x"}},
		"not clean":        {{Path: "sub/../config.json"}},
		"absolute":         {{Path: "/etc/hostname"}},
		"itself":           {{Path: ManifestFile}},
		"empty":            {{Path: ""}},
		"the folder's own": {{Path: "."}},
	} {
		dir := folder(t, map[string]string{"config.json": "{}", "sub/x": ""})
		if _, err := Publish(dir, Manifest{Files: files}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, _, err := ReadManifest(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the folder is published: %v", name, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
}

func TestVerifyNamesWhatChanged(t *testing.T) {
	const zero = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for name, c := range map[string]struct {
		digest string
		tamper func(dir string) error
		path   string
	}{
		"other manifest": {zero, func(string) error { return nil }, ManifestFile},
		"same size": {"", func(d string) error {
			return os.WriteFile(filepath.Join(d, "model.safetensors"), []byte("Weights"), 0o644)
		}, "model.safetensors"},
		"truncated":   {"", func(d string) error { return os.Truncate(filepath.Join(d, "model.safetensors"), 3) }, "model.safetensors"},
		"missing":     {"", func(d string) error { return os.Remove(filepath.Join(d, "sub/x")) }, "sub/x"},
		"smuggled in": {"", func(d string) error { return os.WriteFile(filepath.Join(d, "tokenizer.json"), nil, 0o644) }, "tokenizer.json"},
		"smuggled template": {"", func(d string) error {
			return os.WriteFile(filepath.Join(d, "chat_template.jinja"), nil, 0o644)
		}, "chat_template.jinja"},
		"smuggled model": {"", func(d string) error { return os.WriteFile(filepath.Join(d, "tokenizer.model"), nil, 0o644) }, "tokenizer.model"},
	} {
		dir, _ := publish(t)
		if err := c.tamper(dir); err != nil {
			t.Fatal(err)
		}
		_, err := Verify(dir, c.digest)
		var de *storage.DigestError
		if !errors.As(err, &de) || de.Path != filepath.Join(dir, c.path) {
			t.Errorf("%s: got %v, want a DigestError about %s", name, err, c.path)
		}
	}
}

func TestVerifyFolderWithGlobCharacters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a[b]*\?`)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(dir, Manifest{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.safetensors"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var de *storage.DigestError
	if _, err := Verify(dir, ""); !errors.As(err, &de) {
		t.Errorf("got %v, want the smuggled file to be found", err)
	}
}

func FuzzManifest(f *testing.F) {
	for _, s := range []string{wantManifest, `{}`, `{"version":1}`, `{"version":2}`, `{"version":1,"files":[{"path":"../x"}]}`, `{"version":1,"x":1}`, `{"version":1} {}`,
		`{"version":1,"lineage":[{"name":"a/b","uri":"x","digest":"sha256:` + strings.Repeat("0", 64) + `","inputs":[{"role":"train"}]}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("got %v, want ErrFormat", err)
			}
			return
		}
		for _, file := range m.Files {
			if !filepath.IsLocal(file.Path) {
				t.Fatalf("%q leads out of the folder", file.Path)
			}
		}
		if !slices.IsSortedFunc(m.Files, func(a, b File) int {
			if a.Path < b.Path {
				return -1
			}
			return 1
		}) {
			t.Fatalf("not sorted: %v", m.Files)
		}
	})
}

// TestHostileManifests: a folder may hold anything under the manifest's name.
func TestHostileManifests(t *testing.T) {
	file := func(path string) string {
		return `{"version":1,"files":[{"path":"` + path + `","size":1,"sha256":"` + strings.Repeat("0", 64) + `"}]}`
	}
	for name, text := range map[string]string{
		"empty":              "",
		"file above":         file("../x"),
		"file far above":     file("a/../../x"),
		"absolute":           file("/etc/passwd"),
		"not clean":          file("a//b"),
		"the manifest":       file("manifest.json"),
		"the folder":         file("."),
		"no name":            file(""),
		"negative size":      strings.Replace(file("x"), `"size":1`, `"size":-1`, 1),
		"endless size":       strings.Replace(file("x"), `"size":1`, `"size":9223372036854775808`, 1),
		"size in words":      strings.Replace(file("x"), `"size":1`, `"size":"1"`, 1),
		"deep":               strings.Repeat(`{"metrics":`, 100_000),
		"deep list":          `{"version":1,"files":` + strings.Repeat("[", 100_000),
		"unknown field":      `{"version":1,"files":[],"exec":"x"}`,
		"version of others":  `{"version":2,"files":[]}`,
		"two":                `{"version":1,"files":[]}{"version":1,"files":[]}`,
		"a list":             `[]`,
		"lineage of strings": `{"version":1,"files":[],"lineage":["x"]}`,
	} {
		dir := folder(t, map[string]string{ManifestFile: text})
		if _, _, err := ReadManifest(dir); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", name, err)
		}
		if _, err := Verify(dir, ""); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Verify: got %v, want ErrFormat", name, err)
		}
	}
	for name, put := range map[string]func(path string) error{
		"larger than a manifest": func(path string) error {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(path, 1<<33) // a hole: it takes no space
		},
		"a device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"a pipe":   func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o755) },
		"a link to a pipe": func(path string) error {
			return errors.Join(syscall.Mkfifo(path+"x", 0o644), os.Symlink(path+"x", path))
		},
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, ManifestFile)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ReadManifest(dir); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", name, err)
		}
	}
}

// TestVerifyReadsRegularFilesOnly: what the manifest names may have been replaced by a pipe or a device.
func TestVerifyReadsRegularFilesOnly(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"folder": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		dir, digest := publish(t)
		path := filepath.Join(dir, "model.safetensors")
		if err := errors.Join(os.Remove(path), put(path)); err != nil {
			t.Fatal(err)
		}
		var de *storage.DigestError
		if _, err := Verify(dir, digest); !errors.As(err, &de) || de.Path != path {
			t.Errorf("%s: got %v, want a DigestError about %s", name, err, path)
		}
		if _, err := OpenSafetensors(path); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: opened as weights: got %v, want ErrFormat", name, err)
		}
	}
}
