package checkpoint

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// ManifestFile is written last: a folder without it is not published.
const ManifestFile = "manifest.json"

// ManifestVersion is the manifest's version that this package reads and writes.
const ManifestVersion = 1

// MaxManifest bounds what is read of a manifest: some hundred thousand files.
const MaxManifest = 64 << 20

// Manifest says what a published folder consists of and came from. Its bytes follow from
// its content alone, so their digest is the checkpoint's.
type Manifest struct {
	Version int    `json:"version"`
	RunHash string `json:"runHash,omitempty"`
	// Method is SFT, DPO, ...
	Method string `json:"method,omitempty"`
	// Files are sorted by path.
	Files []File `json:"files"`
	// Inputs are all that the run read, with their digests.
	Inputs []runconfig.Artifact `json:"inputs,omitempty"`
	// Lineage are the checkpoints behind the inputs, the oldest first. Manifests of earlier versions have none.
	Lineage []Ancestor `json:"lineage,omitempty"`
	// Metrics holds what two runs of one hash have in common: no times, no speeds.
	Metrics  map[string]float64 `json:"metrics,omitempty"`
	Versions map[string]string  `json:"versions,omitempty"`
}

// File is one file of a published folder.
type File struct {
	// Path is relative to the folder, with slashes.
	Path string `json:"path"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// SHA256 is 64 hex digits.
	SHA256 string `json:"sha256"`
}

// Publish makes a folder a checkpoint: it hashes and syncs the files that m.Files names by
// Path, fills in their Size and SHA256, and writes manifest.json, last and atomically.
// It returns the manifest's digest. Metrics that are not finite are left out.
func Publish(dir string, m Manifest) (digest string, err error) {
	m.Version = ManifestVersion
	m.Files = slices.Clone(m.Files)
	m.Metrics = maps.Clone(m.Metrics)
	maps.DeleteFunc(m.Metrics, func(_ string, v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	slices.SortFunc(m.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	folders := map[string]bool{dir: true}
	for i, f := range m.Files {
		if m.Files[i], err = seal(dir, f.Path); err != nil {
			return "", fmt.Errorf("publish %s: %w", dir, err)
		}
		for p := path.Dir(f.Path); p != "."; p = path.Dir(p) {
			folders[filepath.Join(dir, p)] = true
		}
	}
	if err := m.check(); err != nil {
		return "", fmt.Errorf("publish %s: %w", dir, err)
	}
	for _, f := range slices.Sorted(maps.Keys(folders)) {
		if err := storage.SyncDir(f); err != nil {
			return "", fmt.Errorf("publish %s: %w", dir, err)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return "", fmt.Errorf("publish %s: %w", dir, err)
	}
	if err := storage.WriteFile(filepath.Join(dir, ManifestFile), b.Bytes(), 0o644); err != nil {
		return "", fmt.Errorf("publish %s: %w", dir, err)
	}
	return storage.Digest(b.Bytes()), nil
}

// seal hashes one file and syncs it.
func seal(dir, name string) (File, error) {
	if err := checkPath(name); err != nil {
		return File{}, err
	}
	f, err := storage.Open(filepath.Join(dir, name))
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	size, sum, err := hashFile(f)
	if err != nil {
		return File{}, err
	}
	if err := f.Sync(); err != nil {
		return File{}, err
	}
	return File{Path: name, Size: size, SHA256: sum}, nil
}

// hashFile reads a file to its end.
func hashFile(f *os.File) (size int64, sum string, err error) {
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}

// ReadManifest reads a folder's manifest and its digest. A folder that is not published is
// fs.ErrNotExist; a manifest that is no such thing is ErrFormat.
func ReadManifest(dir string) (m *Manifest, digest string, err error) {
	f, err := storage.Open(filepath.Join(dir, ManifestFile))
	if errors.Is(err, storage.ErrNotRegular) {
		return nil, "", fmt.Errorf("read manifest: %w: %w", ErrFormat, err)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxManifest+1))
	if err != nil {
		return nil, "", fmt.Errorf("read manifest: %w", err)
	}
	if m, err = ParseManifest(b); err != nil {
		return nil, "", fmt.Errorf("read manifest %s: %w", f.Name(), err)
	}
	return m, storage.Digest(b), nil
}

// ParseManifest reads a manifest; one that is no such thing is ErrFormat.
func ParseManifest(b []byte) (*Manifest, error) {
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrFormat, MaxManifest)
	}
	var m Manifest
	if err := decodeStrict(b, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if m.Version != ManifestVersion {
		return nil, fmt.Errorf("%w: version %d, want %d", ErrFormat, m.Version, ManifestVersion)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return &m, nil
}

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (m *Manifest) check() error {
	if !wordPattern.MatchString(m.Method) || !hashPattern.MatchString(m.RunHash) {
		return fmt.Errorf("%w: method %.40q, run hash %.80q", ErrFormat, m.Method, m.RunHash)
	}
	if err := checkLineage(m.Lineage); err != nil {
		return err
	}
	for i, f := range m.Files {
		if err := checkPath(f.Path); err != nil {
			return err
		}
		if i > 0 && m.Files[i-1].Path >= f.Path {
			return fmt.Errorf("%w: files[%d]: %q is twice there or out of order", ErrFormat, i, f.Path)
		}
		if f.Size < 0 || !sha256Pattern.MatchString(f.SHA256) {
			return fmt.Errorf("%w: files[%d]: %q: size %d, sha256 %q", ErrFormat, i, f.Path, f.Size, f.SHA256)
		}
	}
	return nil
}

// checkPath allows a clean path below the folder, and not the manifest's own.
func checkPath(p string) error {
	if !filepath.IsLocal(p) || path.Clean(p) != p || p == "." || p == ManifestFile {
		return fmt.Errorf("%w: %q cannot be a file of a checkpoint", ErrFormat, p)
	}
	return nil
}

// Verify reads a published folder's manifest and compares its digest, unless digest is "",
// and then size and SHA-256 of every file. What differs or is missing is a
// *storage.DigestError, and so is a file that a loader would pick up although the manifest
// does not name it.
func Verify(dir, digest string) (*Manifest, error) {
	m, got, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	if digest != "" && got != digest {
		return nil, &storage.DigestError{Path: filepath.Join(dir, ManifestFile), Want: digest, Got: got}
	}
	for _, f := range m.Files {
		if err := verifyFile(filepath.Join(dir, f.Path), f); err != nil {
			return nil, err
		}
	}
	for _, pattern := range []string{"config.json", "adapter_config.json", "generation_config.json", "tokenizer*.json", "tokenizer.model", "chat_template.jinja", "*.safetensors", IndexFile} {
		found, err := filepath.Glob(filepath.Join(escapeGlob(dir), pattern))
		if err != nil {
			return nil, fmt.Errorf("verify %s: %w", dir, err)
		}
		for _, p := range found {
			if !m.Has(filepath.Base(p)) {
				return nil, &storage.DigestError{Path: p, Want: "no such file (the manifest does not name it)", Got: "one"}
			}
		}
	}
	return m, nil
}

// Has says whether the manifest names a file.
func (m *Manifest) Has(path string) bool {
	_, ok := slices.BinarySearchFunc(m.Files, path, func(f File, p string) int { return cmp.Compare(f.Path, p) })
	return ok
}

var globMeta = regexp.MustCompile(`[\\*?\[]`)

func escapeGlob(s string) string { return globMeta.ReplaceAllString(s, `\$0`) }

func verifyFile(path string, want File) error {
	f, err := storage.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &storage.DigestError{Path: path, Want: "sha256:" + want.SHA256, Got: "no such file"}
	}
	if errors.Is(err, storage.ErrNotRegular) {
		return &storage.DigestError{Path: path, Want: "sha256:" + want.SHA256, Got: "no regular file"}
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() != want.Size {
		return &storage.DigestError{Path: path, Want: fmt.Sprintf("%d bytes", want.Size), Got: fmt.Sprintf("%d bytes", st.Size())}
	}
	_, sum, err := hashFile(f)
	if err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	if sum != want.SHA256 {
		return &storage.DigestError{Path: path, Want: "sha256:" + want.SHA256, Got: "sha256:" + sum}
	}
	return nil
}
