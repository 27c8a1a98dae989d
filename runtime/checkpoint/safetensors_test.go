package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// reference is what hack/goldens/safetensors/make.py gives the safetensors library.
var reference = []Tensor{
	{"bytes", "U8", []int64{3}, []byte{1, 2, 255}},
	{"empty", "F32", []int64{0, 4}, []byte{}},
	{"half", "F16", []int64{2, 1}, words16(0x3e00, 0xb400)}, // 1.5, -0.25
	{"model.embed.weight", "F32", []int64{2, 3}, floats(0, 1, 2, 3, 4, 5)},
	{"model.norm.weight", "F32", []int64{3}, floats(1, -2, 0.5)},
	{"näme <&>", "BOOL", []int64{2}, []byte{1, 0}},
	{"step", "I64", []int64{}, binary.LittleEndian.AppendUint64(nil, math.MaxUint64-6)}, // -7
	{"wide", "F64", []int64{1}, binary.LittleEndian.AppendUint64(nil, math.Float64bits(1.0/3))},
}

func floats(v ...float32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func words16(v ...uint16) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return b
}

func equal(a, b Tensor) bool {
	return a.Name == b.Name && a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && bytes.Equal(a.Data, b.Data)
}

func TestReadWhatTheLibraryWrites(t *testing.T) {
	s, err := OpenSafetensors("testdata/reference.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Metadata["format"] != "pt" {
		t.Errorf("metadata %v", s.Metadata)
	}
	var want []string
	for _, r := range reference {
		want = append(want, r.Name)
		got, err := s.Read(r.Name)
		if err != nil || !equal(got, r) {
			t.Errorf("%s: got %+v, %v; want %+v", r.Name, got, err, r)
		}
	}
	if got := s.Names(); !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if _, err := s.Read("none"); !errors.Is(err, ErrFormat) {
		t.Errorf("a missing tensor: %v", err)
	}
}

func TestWriteWhatTheLibraryWrites(t *testing.T) {
	want, err := os.ReadFile("testdata/reference.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	reversed := slices.Clone(reference)
	slices.Reverse(reversed)
	for _, tensors := range [][]Tensor{reference, reversed} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := WriteSafetensors(path, lazily(tensors), map[string]string{"format": "pt"}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("wrote\n%q, %v; want\n%q", got, err, want)
		}
	}
}

func TestWriteSafetensorsRefuses(t *testing.T) {
	for name, tensors := range map[string][]Tensor{
		"two of a name":     {{"a", "U8", nil, []byte{1}}, {"a", "I8", nil, []byte{1}}},
		"reserved name":     {{metadataKey, "U8", nil, []byte{1}}},
		"unknown dtype":     {{"a", "Q4", nil, []byte{1}}},
		"too few bytes":     {{"a", "F32", []int64{2}, make([]byte, 4)}},
		"negative shape":    {{"a", "F32", []int64{-1, -1}, make([]byte, 4)}},
		"overflowing shape": {{"a", "U8", []int64{math.MaxInt64, 2}, nil}},
	} {
		path := filepath.Join(t.TempDir(), "x")
		if err := WriteSafetensors(path, lazily(tensors), nil); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left a file", name)
		}
	}
	path := filepath.Join(t.TempDir(), "none")
	if err := WriteSafetensors(path, nil, nil); err != nil {
		t.Fatal(err)
	}
	if s, err := OpenSafetensors(path); err != nil || len(s.Names()) != 0 {
		t.Errorf("no tensors at all: %v", err)
	}
}

// file is a safetensors file of a header and n bytes of data.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

var hostile = map[string][]byte{
	"empty":                {},
	"short":                {1, 0, 0},
	"no header":            file("", 0),
	"header beyond file":   append(binary.LittleEndian.AppendUint64(nil, 100), '{', '}'),
	"header beyond int64":  append(binary.LittleEndian.AppendUint64(nil, math.MaxUint64), '{', '}'),
	"header of 1 TB":       append(binary.LittleEndian.AppendUint64(nil, 1<<40), '{', '}'),
	"not an object":        file(`[]`, 0),
	"not JSON":             file(`{"a":`, 0),
	"two objects":          file(`{}{}`, 0),
	"leading space":        file(` {}`, 0),
	"bytes after the last": file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 2),
	"bytes without tensor": file(`{}`, 1),
	"truncated":            file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 3),
	"overlap":              file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3),
	"hole":                 file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3),
	"hole at the start":    file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2),
	"name twice":           file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2),
	"end before begin":     file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[2,1]}}`, 2),
	"negative offset":      file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`, 0),
	"one offset":           file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1]}}`, 1),
	"three offsets":        file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}`, 1),
	"fractional offset":    file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1.5]}}`, 1),
	"size disagrees":       file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4),
	"product overflows":    file(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0),
	"bytes overflow":       file(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`, 0),
	"negative dimensions":  file(`{"a":{"dtype":"U8","shape":[-1,-1],"data_offsets":[0,1]}}`, 1),
	"unknown dtype":        file(`{"a":{"dtype":"Q4","shape":[0],"data_offsets":[0,0]}}`, 0),
	"no shape":             file(`{"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1),
	"null tensor":          file(`{"a":null}`, 0),
	"metadata of numbers":  file(`{"__metadata__":{"a":1}}`, 0),
}

func TestOpenSafetensorsRefuses(t *testing.T) {
	for name, b := range hostile {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSafetensors(path); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", name, err)
		}
	}
	if _, err := OpenSafetensors(t.TempDir()); !errors.Is(err, ErrFormat) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := OpenSafetensors("testdata/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// FuzzSafetensors: whatever is accepted reads in full and survives writing and reading.
func FuzzSafetensors(f *testing.F) {
	for _, b := range hostile {
		f.Add(b)
	}
	ref, err := os.ReadFile("testdata/reference.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ref)
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "x")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := OpenSafetensors(path)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("got %v, want ErrFormat", err)
			}
			return
		}
		defer s.Close()
		var tensors []Tensor
		total := 0
		for _, name := range s.Names() {
			tensor, err := s.Read(name)
			if err != nil {
				t.Fatal(err)
			}
			tensors, total = append(tensors, tensor), total+len(tensor.Data)
		}
		if total > len(b) {
			t.Fatalf("%d bytes of tensors in a file of %d", total, len(b))
		}
		copied := filepath.Join(dir, "y")
		if err := WriteSafetensors(copied, lazily(tensors), s.Metadata); err != nil {
			t.Fatal(err)
		}
		again, err := OpenSafetensors(copied)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		for _, want := range tensors {
			if got, err := again.Read(want.Name); err != nil || !equal(got, want) {
				t.Fatalf("%s: %+v, %v; want %+v", want.Name, got, err, want)
			}
		}
	})
}

func TestOpenWeights(t *testing.T) {
	write := func(dir, name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shard := func(dir, name string, tensors ...Tensor) {
		t.Helper()
		if err := WriteSafetensors(filepath.Join(dir, name), lazily(tensors), nil); err != nil {
			t.Fatal(err)
		}
	}
	a, b := Tensor{"a", "U8", []int64{1}, []byte{1}}, Tensor{"b", "U8", []int64{2}, []byte{2, 3}}

	one, two := t.TempDir(), t.TempDir()
	shard(one, WeightsFile, a, b)
	shard(two, "model-00001-of-00002.safetensors", a)
	shard(two, "model-00002-of-00002.safetensors", b)
	write(two, IndexFile, `{"metadata":{"total_size":3},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`)
	for _, dir := range []string{one, two} {
		w, err := OpenWeights(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Names(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("names %q", got)
		}
		if got, err := w.Read("b"); err != nil || !equal(got, b) {
			t.Errorf("b: %+v, %v", got, err)
		}
		if _, err := w.Read("c"); !errors.Is(err, ErrFormat) {
			t.Errorf("a missing tensor: %v", err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}

	for _, index := range []string{
		`{`, `{}`, `{"weight_map":{}}`,
		`{"weight_map":{"a":"../` + filepath.Base(one) + `/model.safetensors"}}`,
		`{"weight_map":{"c":"model-00001-of-00002.safetensors"}}`,
		`{"weight_map":{"a":1}}`,
	} {
		write(two, IndexFile, index)
		if _, err := OpenWeights(two); !errors.Is(err, ErrFormat) {
			t.Errorf("index %s: %v", index, err)
		}
	}
	write(two, IndexFile, `{"weight_map":{"a":"none.safetensors"}}`)
	for _, dir := range []string{two, t.TempDir()} {
		if _, err := OpenWeights(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("missing files: %v", err)
		}
	}
}

func TestAMissingTensorNamesTheNearest(t *testing.T) {
	dir := t.TempDir()
	var tensors []Tensor
	for _, name := range []string{"transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_proj.weight", "transformer.wte.weight", "lm_head.weight"} {
		tensors = append(tensors, Tensor{Name: name, DType: "F32", Shape: []int64{1}, Data: make([]byte, 4)})
	}
	if err := WriteSafetensors(filepath.Join(dir, WeightsFile), lazily(tensors), nil); err != nil {
		t.Fatal(err)
	}
	w, err := OpenWeights(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_, err = w.Read("transformer.h.0.attn.c_attn.bias")
	var missing *MissingError
	if !errors.As(err, &missing) || !errors.Is(err, ErrFormat) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	want := []string{"transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_proj.weight", "transformer.wte.weight"}
	if missing.Name != "transformer.h.0.attn.c_attn.bias" || !slices.Equal(missing.Nearest, want) {
		t.Errorf("got %+v, want nearest %q", missing, want)
	}
}
