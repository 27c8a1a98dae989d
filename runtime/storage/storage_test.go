package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestPath(t *testing.T) {
	root := t.TempDir()
	mount := filepath.Join(root, "claim")
	outside := filepath.Join(root, "outside")
	for _, d := range []string{mount, outside, filepath.Join(mount, "real")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"out": outside, "in": "real", "dangling": filepath.Join(outside, "none")} {
		if err := os.Symlink(to, filepath.Join(mount, link)); err != nil {
			t.Fatal(err)
		}
	}
	r := Resolver{Mounts: map[string]string{"models": mount, "gone": filepath.Join(root, "none")}}
	for _, c := range []struct {
		uri, want string // want "" is an error
	}{
		{"file:///data/x.jsonl", "/data/x.jsonl"},
		{"file:///data//a%20b%3F.jsonl", "/data/a b?.jsonl"},
		{"file://data/x.jsonl", ""},
		{"file:x", ""},
		{"file:///x%00y", ""},
		{"file:///x?y", ""},
		{"/data/x.jsonl", ""},
		{"https://example.com/x", ""},
		{"pvc://models/a/b", filepath.Join(mount, "a/b")},
		{"pvc://models/a/b/", filepath.Join(mount, "a/b")},
		{"pvc://models", mount},
		{"pvc://models/", mount},
		{"pvc://models/a/../b", filepath.Join(mount, "b")},
		{"pvc://models/../outside", ""},
		{"pvc://models/a/../../outside", ""},
		{"pvc://models/%2e%2e/outside", ""},
		{"pvc://models/in/new/file", filepath.Join(mount, "in/new/file")},
		{"pvc://models/out", ""},
		{"pvc://models/out/new", ""},
		{"pvc://other/x", ""},
		{"pvc:///x", ""},
		{"pvc://gone/x", ""},
		{"%", ""},
	} {
		got, err := r.Path(c.uri)
		if (err != nil) != (c.want == "") || got != c.want {
			t.Errorf("Path(%q) = %q, %v; want %q", c.uri, got, err, c.want)
		}
	}
	if _, err := r.Path("pvc://models/out"); !errors.Is(err, ErrURI) {
		t.Errorf("a link out of the claim: %v, want ErrURI", err)
	}
	// A dangling link may come alive later and then lead anywhere.
	if got, err := r.Path("pvc://models/dangling/x"); err == nil {
		t.Errorf("a dangling link is followed to %q", got)
	}
}

func TestWriteKeepsTheOldFileWhenWritingFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := Write(path, 0o640, func(w io.Writer) error {
		if _, err := io.WriteString(w, "half of the ne"); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v, want the writer's error", err)
	}
	b, err := os.ReadFile(path)
	if err != nil || string(b) != "old" {
		t.Fatalf("read %q, %v; want the old content", b, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v; want 0640", st.Mode(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%v is in the folder, want f only", left)
	}
	if err := WriteFile(filepath.Join(dir, "none", "f"), nil, 0o644); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
}

func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("this machine cannot mount a tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	path := filepath.Join(dir, "f")
	if err := WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := WriteFile(path, make([]byte, 1<<20), 0o644)
	if !IsDiskFull(err) {
		t.Fatalf("got %v, want a full disk", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "old" {
		t.Errorf("read %q, %v; want the old content", b, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%v is on the disk, want f only", left)
	}
}

func TestIsDiskFull(t *testing.T) {
	for err, want := range map[error]bool{
		fmt.Errorf("save: %w", &os.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}): true,
		errors.Join(errors.New("other"), syscall.EDQUOT):                                   true,
		&os.PathError{Op: "write", Path: "f", Err: syscall.EIO}:                            false,
		errors.New("no space left on device"):                                              false,
	} {
		if IsDiskFull(err) != want {
			t.Errorf("IsDiskFull(%v) = %v", err, !want)
		}
	}
}

func TestDigest(t *testing.T) {
	// FIPS 180-2, appendix B.1.
	const abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := DigestFile(path); err != nil || got != abc {
		t.Errorf("DigestFile = %q, %v; want %q", got, err, abc)
	}
	if got := Digest([]byte("abc")); got != abc {
		t.Errorf("Digest = %q, want %q", got, abc)
	}
	if err := VerifyFile(path, abc); err != nil {
		t.Error(err)
	}
	var de *DigestError
	if err := VerifyFile(path, Digest(nil)); !errors.As(err, &de) || de.Got != abc || de.Path != path {
		t.Errorf("got %v, want a DigestError naming %s", err, path)
	}
	if err := VerifyFile(path+"x", abc); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
