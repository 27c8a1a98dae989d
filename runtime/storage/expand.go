package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNoFiles says that a folder or a pattern has no file.
var ErrNoFiles = errors.New("has no files")

// dataSuffixes are those of the files that are taken of a folder.
var dataSuffixes = []string{".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet"}

// IsData says whether a file of a folder is one of a dataset, by its name.
func IsData(name string) bool {
	return slices.ContainsFunc(dataSuffixes, func(s string) bool { return strings.HasSuffix(name, s) })
}

// Below is the URI of a file below a folder's.
func Below(folder *url.URL, name string) string {
	escaped := (&url.URL{Path: name}).EscapedPath()
	return folder.JoinPath(escaped).String()
}

// Expand lists the files of a URI, sorted: of a folder all data files in it and below, hidden ones left out; of a
// pattern, whose last part may have *, the files that match; else the URI itself. None is ErrNoFiles.
func (r Resolver) Expand(uri string) ([]string, error) {
	top, err := r.Path(uri)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(uri)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURI, err)
	}
	dir, pattern := top, ""
	if strings.Contains(top, "*") {
		dir, pattern = filepath.Dir(top), filepath.Base(top)
		if strings.Contains(dir, "*") {
			return nil, fmt.Errorf("%w: %s: only its last part may have *", ErrURI, uri)
		}
		u = u.JoinPath("..")
	} else if !isDir(top) {
		return []string{uri}, nil
	}
	var out []string
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		hidden := file != dir && strings.HasPrefix(d.Name(), ".")
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != dir && (hidden || pattern != ""):
			return fs.SkipDir
		case d.IsDir() || hidden:
			return nil
		}
		if pattern != "" {
			if ok, err := filepath.Match(pattern, d.Name()); err != nil || !ok {
				return err
			}
		} else if !IsData(d.Name()) {
			return nil
		}
		if st, err := os.Stat(file); err != nil || !st.Mode().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		one := Below(u, filepath.ToSlash(rel))
		if _, err := r.Path(one); err != nil { // a link that leads out of its claim
			return err
		}
		out = append(out, one)
		return nil
	})
	switch {
	case errors.Is(err, ErrURI):
		return nil, err
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(out) == 0:
		return nil, fmt.Errorf("%s %w", uri, ErrNoFiles)
	case err != nil:
		return nil, fmt.Errorf("list %s: %w", uri, err)
	}
	slices.Sort(out)
	return out, nil
}

// isDir is false for what is not there or cannot be seen, too: whoever opens it says so.
func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
