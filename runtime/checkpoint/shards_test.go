package checkpoint

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unsafe"
)

func lazily(tensors []Tensor) (out []LazyTensor) {
	for _, t := range tensors {
		out = append(out, LazyTensor{t.Name, t.DType, t.Shape, func() []byte { return t.Data }})
	}
	return out
}

func weights(names ...string) []LazyTensor {
	var tensors []Tensor
	for i, name := range names {
		tensors = append(tensors, Tensor{name, "F32", []int64{int64(i + 1), 2}, bytes.Repeat([]byte{byte(i + 1)}, 8*(i+1))})
	}
	return lazily(tensors)
}

func TestWriteWeights(t *testing.T) {
	dir := t.TempDir()
	names := []string{"e", "b", "a", "d", "c"} // of 8, 16, 24, 32, 40 bytes
	for _, c := range []struct {
		maxShard int64
		files    []string
		of       map[string]string
	}{
		{30, []string{
			"model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors", "model-00003-of-00004.safetensors",
			"model-00004-of-00004.safetensors", "model.safetensors.index.json",
		}, map[string]string{"e": "1", "b": "1", "a": "2", "d": "3", "c": "4"}},
		{80, []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"},
			map[string]string{"e": "1", "b": "1", "a": "1", "d": "1", "c": "2"}},
		{120, []string{"model.safetensors"}, nil},
	} {
		files, err := WriteWeights(dir, weights(names...), c.maxShard)
		if err != nil || !slices.Equal(files, c.files) {
			t.Fatalf("shards of %d: got %q, %v, want %q", c.maxShard, files, err, c.files)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != len(files) {
			t.Errorf("shards of %d: %d files are left, %v", c.maxShard, len(entries), err)
		}
		for _, e := range entries {
			if !IsWeights(e.Name()) {
				t.Errorf("%s is not known as a file of weights", e.Name())
			}
		}
		w, err := OpenWeights(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			got, err := w.Read(name)
			if err != nil || !bytes.Equal(got.Data, bytes.Repeat([]byte{byte(i + 1)}, 8*(i+1))) {
				t.Errorf("shards of %d: %s: got %v, %v", c.maxShard, name, got.Data, err)
			}
			if c.of != nil && filepath.Base(w.by[name].path)[len("model-0000"):][:1] != c.of[name] {
				t.Errorf("shards of %d: %s is in %s", c.maxShard, name, w.by[name].path)
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWriteWeightsRefuses(t *testing.T) {
	for what, tensors := range map[string][]LazyTensor{
		"dtype": {{"a", "F33", []int64{1}, nil}},
		"bytes": {{"a", "F32", []int64{2}, func() []byte { return make([]byte, 7) }}},
		"names": weights("a", "a"),
	} {
		dir := t.TempDir()
		if _, err := WriteWeights(dir, tensors, 1<<20); err == nil {
			t.Errorf("%s: written", what)
		}
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("%s: %s is left", what, entries[0].Name())
		}
	}
}

func TestReadCopiesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := WriteSafetensors(path, lazily(reference), nil); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range reference {
		a, err := s.Read(want.Name)
		b, _ := s.Read(want.Name)
		if err != nil || unsafe.SliceData(a.Data) != unsafe.SliceData(b.Data) || cap(a.Data) != len(want.Data) {
			t.Errorf("%s: %v, or two reads have memory of their own, or more than the tensor's", want.Name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
