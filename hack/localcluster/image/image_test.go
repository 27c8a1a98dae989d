package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// entries reads a tar into "mode name" -> content.
func entries(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	got := map[string]string{}
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.ModTime.Unix() != 0 || header.Uid != 0 || header.Gid != 0 {
			t.Errorf("%s belongs to %d:%d of %s", header.Name, header.Uid, header.Gid, header.ModTime)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		got[fmt.Sprintf("%04o %s", header.Mode, header.Name)] = string(content)
	}
}

func TestLayer(t *testing.T) {
	source := t.TempDir()
	write(t, filepath.Join(source, "bin", "tool"), "ELF", 0o700)
	write(t, filepath.Join(source, "bin", "sub", "data"), "rows", 0o600)
	if err := os.Symlink("tool", filepath.Join(source, "bin", "link")); err != nil {
		t.Fatal(err)
	}
	files, err := Expand(filepath.Join(source, "bin") + "=/usr/bin")
	if err != nil {
		t.Fatal(err)
	}
	layer, err := LayerCache{Dir: t.TempDir()}.Layer(append(files, Skeleton()...))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(layer.Tar)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"0755 etc/":             "",
		"0644 etc/group":        "root:x:0:\nnonroot:x:65532:\n",
		"0644 etc/passwd":       "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n",
		"1777 tmp/":             "",
		"0755 usr/":             "",
		"0755 usr/bin/":         "",
		"0755 usr/bin/link":     "ELF",
		"0755 usr/bin/sub/":     "",
		"0644 usr/bin/sub/data": "rows",
		"0755 usr/bin/tool":     "ELF",
	}
	if got := entries(t, bytes.NewReader(content)); !reflect.DeepEqual(got, want) {
		t.Errorf("layer holds %q\nwant %q", got, want)
	}
	if digest := fmt.Sprintf("%x", sha256.Sum256(content)); digest != layer.Digest || layer.Size != int64(len(content)) {
		t.Errorf("layer says %s of %d bytes, its tar is %s of %d", layer.Digest, layer.Size, digest, len(content))
	}
}

func TestSameFilesSameBytes(t *testing.T) {
	save := func(modified time.Time, mode os.FileMode) []byte {
		dir := t.TempDir()
		binary := filepath.Join(dir, "tool")
		write(t, binary, "ELF", mode)
		if err := os.Chtimes(binary, modified, modified); err != nil {
			t.Fatal(err)
		}
		files, err := Expand(binary + "=/bin/tool")
		if err != nil {
			t.Fatal(err)
		}
		layer, err := LayerCache{Dir: filepath.Join(dir, "layers")}.Layer(files)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(dir, "image.tar")
		image := Image{Tag: "localhost/tool:1", Entrypoint: []string{"/bin/tool"}, Layers: []Layer{layer}, Labels: map[string]string{"b": "2", "a": "1"}}
		if _, err := image.Save(out); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	first := save(time.Unix(1e9, 0), 0o755)
	if second := save(time.Unix(2e9, 0), 0o711); !bytes.Equal(first, second) {
		t.Error("the same content gave another archive")
	}
}

func TestLayerCache(t *testing.T) {
	source := filepath.Join(t.TempDir(), "tool")
	write(t, source, "one", 0o755)
	cache := LayerCache{Dir: t.TempDir()}
	layer := func() Layer {
		t.Helper()
		got, err := cache.Layer([]File{{Path: "/tool", Source: source, Mode: 0o755}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := layer()
	before, err := os.Stat(first.Tar)
	if err != nil {
		t.Fatal(err)
	}
	if again := layer(); again != first {
		t.Errorf("%+v, then %+v", first, again)
	}
	if after, err := os.Stat(first.Tar); err != nil || !os.SameFile(before, after) {
		t.Errorf("an unchanged layer was written again (%v)", err)
	}
	write(t, source, "three", 0o755)
	changed := layer()
	if changed.Digest == first.Digest {
		t.Error("a changed file gave the cached layer")
	}
	if err := os.Truncate(changed.Tar, 1); err != nil {
		t.Fatal(err)
	}
	if repaired := layer(); repaired != changed {
		t.Errorf("torn layer %+v became %+v", changed, repaired)
	}
	if info, err := os.Stat(changed.Tar); err != nil || info.Size() != changed.Size {
		t.Errorf("torn layer was not written again (%v)", err)
	}
}

func TestSaveManifest(t *testing.T) {
	layer, err := LayerCache{Dir: t.TempDir()}.Layer(Skeleton())
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "image.tar")
	id, err := Image{Tag: "localhost/x:1", Entrypoint: []string{"/x"}, Env: []string{"A=b"}, User: "65532:65532", Layers: []Layer{layer}}.Save(out)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got := entries(t, file)
	var manifest []manifestEntry
	if err := json.Unmarshal([]byte(got["0644 manifest.json"]), &manifest); err != nil {
		t.Fatal(err)
	}
	var config imageConfig
	if err := json.Unmarshal([]byte(got["0644 "+manifest[0].Config]), &config); err != nil {
		t.Fatal(err)
	}
	if "sha256:"+manifest[0].Config != id+".json" {
		t.Errorf("config is %s, id %s", manifest[0].Config, id)
	}
	if want := []string{"sha256:" + layer.Digest}; !reflect.DeepEqual(config.RootFS.DiffIDs, want) {
		t.Errorf("diff ids %v, want %v", config.RootFS.DiffIDs, want)
	}
	want := containerConfig{User: "65532:65532", Env: []string{"A=b"}, Entrypoint: []string{"/x"}, WorkingDir: "/"}
	if !reflect.DeepEqual(config.Config, want) {
		t.Errorf("config %+v, want %+v", config.Config, want)
	}
	if _, ok := got["0644 "+manifest[0].Layers[0]]; !ok {
		t.Errorf("layer %s is missing", manifest[0].Layers[0])
	}
}

func TestExpandRefuses(t *testing.T) {
	for _, mapping := range []string{"", "tool", "=/bin/tool", "tool=bin/tool", "/does/not/exist=/x"} {
		if files, err := Expand(mapping); err == nil {
			t.Errorf("Expand(%q) = %v, want an error", mapping, files)
		}
	}
}

func TestParseLdd(t *testing.T) {
	const output = `	linux-vdso.so.1 (0x00007ffd6a1f2000)
	libopenblas.so.0 => /lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0 (0x00007f1)
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2)
	/lib64/ld-linux-x86-64.so.2 (0x00007f3)
`
	want := []File{
		{Path: "/lib/x86_64-linux-gnu/libc.so.6", Source: "/lib/x86_64-linux-gnu/libc.so.6", Mode: 0o644},
		{Path: "/lib/x86_64-linux-gnu/libopenblas.so.0", Source: "/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0", Mode: 0o644},
		{Path: "/lib64/ld-linux-x86-64.so.2", Source: "/lib64/ld-linux-x86-64.so.2", Mode: 0o755},
	}
	got, err := parseLdd(output)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("parseLdd = %+v, %v\nwant %+v", got, err, want)
	}
	for _, bad := range []string{"\tstatically linked\n", "\tlibx.so => not found\n"} {
		if _, err := parseLdd(bad); err == nil {
			t.Errorf("parseLdd(%q) gave no error", bad)
		}
	}
}
