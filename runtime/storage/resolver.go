package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// ErrURI is what every error of Resolver.Path wraps: no retry mends it.
var ErrURI = errors.New("invalid URI")

// Resolver turns a RunConfig's URIs into paths of this machine.
type Resolver struct {
	// Mounts says where each claim of a pvc:// URI is mounted.
	Mounts map[string]string
	// Fetched says where each URI is that IsRemote.
	Fetched map[string]string
}

// Path is the file or folder of a URI: file:///x is /x, pvc://claim/x is x below the
// claim's mount. It need not exist yet. A pvc:// path that leaves its mount, by ".." or
// through a symbolic link, is an error.
func (r Resolver) Path(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrURI, err)
	}
	fail := func(why string) (string, error) { return "", fmt.Errorf("%w: %s: %s", ErrURI, uri, why) }
	switch {
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Opaque != "":
		return fail("want scheme, host and path only; write ? as %3F and # as %23")
	case strings.ContainsRune(u.Path, 0):
		return fail("has a zero byte")
	}
	if path, ok := r.Fetched[uri]; ok {
		return path, nil
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return fail("want three slashes and an absolute path: file:///path")
		}
		return filepath.Clean(u.Path), nil
	case "pvc":
		mount, ok := r.Mounts[u.Host]
		if !ok {
			return fail(fmt.Sprintf("claim %q is not mounted (placement.mounts)", u.Host))
		}
		rel := filepath.Clean(strings.Trim(u.Path, "/"))
		if !filepath.IsLocal(rel) {
			return fail("climbs out of its claim")
		}
		path := filepath.Join(mount, rel)
		in, err := inside(mount, path)
		if err != nil {
			return "", fmt.Errorf("resolve %s: %w", uri, err)
		}
		if !in {
			return fail("a symbolic link leads out of its claim")
		}
		return path, nil
	}
	return fail("want file:///path or pvc://claim/path")
}

// inside says whether path, symbolic links followed, is root or below it. What does not
// exist yet cannot lead anywhere, so its nearest existing parent decides.
func inside(root, path string) (bool, error) {
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return false, err
	}
	for {
		real, err := filepath.EvalSymlinks(path)
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
			if _, err := os.Lstat(path); err == nil {
				return false, nil // a link to nothing: it may lead anywhere tomorrow
			}
			path = filepath.Dir(path)
			continue
		}
		if err != nil {
			return false, err
		}
		rel, err := filepath.Rel(root, real)
		return err == nil && filepath.IsLocal(rel), nil
	}
}
