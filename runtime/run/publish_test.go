package run_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
)

// What is published has the tokenizer's files as they were, whichever there are, and its manifest names them.
func TestPublishKeepsTheTokenizersFiles(t *testing.T) {
	dir := t.TempDir()
	f := words(t, dir)
	b, err := os.ReadFile("../tokenizer/testdata/trained/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	config := []byte(`{"eos_token": "<|endoftext|>"}`)
	for name, files := range map[string]map[string][]byte{
		"all": {"tokenizer.json": b, "tokenizer_config.json": config, "chat_template.jinja": []byte("mine"), "tokenizer.model": []byte("scores")},
		"two": {"tokenizer.json": b, "tokenizer_config.json": config},
	} {
		from, out := filepath.Join(dir, name), filepath.Join(dir, name+"-out")
		if err := os.Mkdir(from, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, b := range files {
			if err := os.WriteFile(filepath.Join(from, file), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := sftConfig(f.sft, out)
		c.Model.Tokenizer = &runconfig.Tokenizer{Source: runconfig.Source{URI: "file://" + from}}
		c.Training.MaxSteps = 1
		mustPublish(t, c)
		m, err := checkpoint.Verify(out, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model"} {
			got, err := os.ReadFile(filepath.Join(out, file))
			if want, ok := files[file]; m.Has(file) != ok || (err == nil) != ok || string(got) != string(want) {
				t.Errorf("%s: %s: in the manifest: %t, read: %v, %d bytes of %d", name, file, m.Has(file), err, len(got), len(want))
			}
		}
	}
}
