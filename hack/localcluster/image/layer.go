package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// File is one entry of a layer. A Source is read from disk; with no Source the entry is the given
// Content, or a folder if Mode says so.
type File struct {
	Path    string // absolute, in the image
	Source  string // on disk; symbolic links are followed
	Content string
	Mode    fs.FileMode
}

// Layer is a tar of files on disk, and its digest.
type Layer struct {
	Digest string // SHA-256, in hex
	Size   int64  // bytes
	Tar    string // path on disk
}

// epoch is the time of every entry: an image must not differ because it was made later.
var epoch = time.Unix(0, 0)

// Expand turns "source=/path" into files: one, or for a folder all below it.
func Expand(mapping string) ([]File, error) {
	source, target, found := strings.Cut(mapping, "=")
	if !found || source == "" || !path.IsAbs(target) {
		return nil, fmt.Errorf("%q is not SOURCE=/PATH", mapping)
	}
	var files []File
	err := filepath.WalkDir(source, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(name) // the target of a link, not the link
		if err != nil {
			return err
		}
		if info.IsDir() {
			return nil
		}
		relative, err := filepath.Rel(source, name)
		if err != nil {
			return err
		}
		files = append(files, File{Path: path.Join(target, filepath.ToSlash(relative)), Source: name, Mode: layerMode(info.Mode())})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", source, err)
	}
	return files, nil
}

// layerMode reduces permissions to what the image needs, so that the umask of whoever checked the files out does not matter.
func layerMode(mode fs.FileMode) fs.FileMode {
	if mode&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// Skeleton is what a program expects of a root file system: a place for temporary files and names for
// root and for the user 65532 that images run as.
func Skeleton() []File {
	return []File{
		{Path: "/etc/group", Content: "root:x:0:\nnonroot:x:65532:\n", Mode: 0o644},
		{Path: "/etc/passwd", Content: "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n", Mode: 0o644},
		{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
	}
}

// LayerCache keeps layers by what they were made from.
type LayerCache struct{ Dir string }

// Layer returns the layer of files, written anew unless one was made from the same files before. As make does, it takes
// a source file of the same path, size and modification time for unchanged, so that half a gigabyte of libraries is not read each time.
func (c LayerCache) Layer(files []File) (Layer, error) {
	files = withParents(files)
	key, err := layerKey(files)
	if err != nil {
		return Layer{}, err
	}
	record := filepath.Join(c.Dir, key+".json")
	if content, err := os.ReadFile(record); err == nil {
		var layer Layer
		if json.Unmarshal(content, &layer) == nil {
			if info, err := os.Stat(layer.Tar); err == nil && info.Size() == layer.Size {
				return layer, nil
			}
		}
	}

	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return Layer{}, err
	}
	partial, err := os.CreateTemp(c.Dir, "partial-")
	if err != nil {
		return Layer{}, err
	}
	defer os.Remove(partial.Name())
	defer partial.Close()
	hash := sha256.New()
	if err := writeLayer(io.MultiWriter(partial, hash), files); err != nil {
		return Layer{}, err
	}
	info, err := partial.Stat()
	if err != nil {
		return Layer{}, err
	}
	digest := fmt.Sprintf("%x", hash.Sum(nil))
	layer := Layer{Digest: digest, Size: info.Size(), Tar: filepath.Join(c.Dir, digest+".tar")}
	if err := errors.Join(partial.Close(), os.Chmod(partial.Name(), 0o644), os.Rename(partial.Name(), layer.Tar)); err != nil {
		return Layer{}, err
	}
	content, err := json.Marshal(layer)
	if err != nil {
		return Layer{}, err
	}
	return layer, os.WriteFile(record, content, 0o644)
}

// withParents adds the folders that files lie in and sorts everything by path. Of two files
// with one path the later stays.
func withParents(files []File) []File {
	byPath := map[string]File{}
	for _, file := range files {
		file.Path = path.Clean(file.Path)
		byPath[file.Path] = file
		for dir := path.Dir(file.Path); dir != "/"; dir = path.Dir(dir) {
			if _, known := byPath[dir]; !known {
				byPath[dir] = File{Path: dir, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	all := make([]File, 0, len(byPath))
	for _, file := range byPath {
		all = append(all, file)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Path < all[j].Path })
	return all
}

func layerKey(files []File) (string, error) {
	hash := sha256.New()
	for _, file := range files {
		var size, modified int64
		if file.Source != "" {
			info, err := os.Stat(file.Source)
			if err != nil {
				return "", err
			}
			size, modified = info.Size(), info.ModTime().UnixNano()
		}
		fmt.Fprintf(hash, "%q %q %q %o %d %d\n", file.Path, file.Source, file.Content, file.Mode, size, modified)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

func writeLayer(w io.Writer, files []File) error {
	archive := tar.NewWriter(w)
	for _, file := range files {
		if err := writeFile(archive, file); err != nil {
			return fmt.Errorf("add %s: %w", file.Path, err)
		}
	}
	return archive.Close()
}

func writeFile(archive *tar.Writer, file File) error {
	header := &tar.Header{
		Name: strings.TrimPrefix(file.Path, "/"), Typeflag: tar.TypeReg, Mode: int64(file.Mode.Perm()),
		Size: int64(len(file.Content)), ModTime: epoch, Format: tar.FormatPAX,
	}
	if file.Mode&fs.ModeSticky != 0 {
		header.Mode |= 0o1000
	}
	if file.Mode.IsDir() {
		header.Name, header.Typeflag = header.Name+"/", tar.TypeDir
		return archive.WriteHeader(header)
	}
	if file.Source == "" {
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.WriteString(archive, file.Content)
		return err
	}
	source, err := os.Open(file.Source)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	header.Size = info.Size()
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, source)
	return err
}
