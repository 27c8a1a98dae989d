package storage

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestExpand(t *testing.T) {
	root := t.TempDir()
	mount := filepath.Join(root, "claim")
	for _, name := range []string{
		"claim/data/b.jsonl", "claim/data/a 1.parquet", "claim/data/deep/c.jsonl.gz", "claim/data/d.json", "claim/data/README.md", "claim/data/.hidden.jsonl",
		"claim/data/.git/e.jsonl", "claim/x/part-1.jsonl", "claim/x/part-2.jsonl", "claim/x/other.txt", "claim/x/part-3.jsonl/f", "outside.jsonl",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"claim/leads/out.jsonl": filepath.Join(root, "outside.jsonl"), "claim/stays/in.jsonl": filepath.Join(mount, "data/b.jsonl"), "claim/none/x": mount} {
		path := filepath.Join(root, link)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	r := Resolver{Mounts: map[string]string{"c": mount}}
	for uri, want := range map[string][]string{
		"pvc://c/data":               {"pvc://c/data/a%201.parquet", "pvc://c/data/b.jsonl", "pvc://c/data/d.json", "pvc://c/data/deep/c.jsonl.gz"},
		"pvc://c/data/":              {"pvc://c/data/a%201.parquet", "pvc://c/data/b.jsonl", "pvc://c/data/d.json", "pvc://c/data/deep/c.jsonl.gz"},
		"file://" + mount + "/x/*":   {"file://" + mount + "/x/other.txt", "file://" + mount + "/x/part-1.jsonl", "file://" + mount + "/x/part-2.jsonl"},
		"pvc://c/x/part-*.jsonl":     {"pvc://c/x/part-1.jsonl", "pvc://c/x/part-2.jsonl"},
		"pvc://c/x/part-1.jsonl":     {"pvc://c/x/part-1.jsonl"},
		"pvc://c/x/missing.jsonl":    {"pvc://c/x/missing.jsonl"},
		"pvc://c/stays":              {"pvc://c/stays/in.jsonl"},
		"pvc://c/data/.hidden.jsonl": {"pvc://c/data/.hidden.jsonl"},
	} {
		got, err := r.Expand(uri)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v; want %q", uri, got, err, want)
		}
		for _, one := range got {
			if _, err := r.Path(one); err != nil {
				t.Error(err)
			}
		}
	}
	for uri, want := range map[string]error{
		"pvc://c/x/*.parquet": ErrNoFiles, "pvc://c/none": ErrNoFiles, "pvc://c/missing/*": ErrNoFiles,
		"pvc://c/*/b.jsonl": ErrURI, "pvc://c/leads": ErrURI, "pvc://c/leads/*": ErrURI, "pvc://other/*": ErrURI,
	} {
		if got, err := r.Expand(uri); !errors.Is(err, want) {
			t.Errorf("%s: got %q, %v; want %v", uri, got, err, want)
		}
	}
}
