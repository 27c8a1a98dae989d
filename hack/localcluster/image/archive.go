package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// Image is what an archive holds: layers, lowest first, and how a container of it starts.
type Image struct {
	Tag        string // with a registry, as "localhost/trainer:dev"
	Entrypoint []string
	Env        []string // "NAME=value"
	User       string   // "uid:gid"; a number, else Kubernetes' runAsNonRoot cannot tell
	Labels     map[string]string
	Layers     []Layer
}

// imageConfig is the OCI image configuration, as far as it is used here.
// https://github.com/opencontainers/image-spec/blob/main/config.md
type imageConfig struct {
	Architecture string          `json:"architecture"`
	OS           string          `json:"os"`
	Created      string          `json:"created"`
	Config       containerConfig `json:"config"`
	RootFS       rootFS          `json:"rootfs"`
}

type containerConfig struct {
	User       string            `json:"User,omitempty"`
	Env        []string          `json:"Env,omitempty"`
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	WorkingDir string            `json:"WorkingDir,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// manifestEntry describes one image of a docker-archive.
type manifestEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Save writes the image's archive to the file out, whole or not at all, and returns the image's id (sha256:...).
func (image Image) Save(out string) (id string, err error) {
	partial, err := os.CreateTemp(filepath.Dir(out), ".partial-")
	if err != nil {
		return "", fmt.Errorf("write image: %w", err)
	}
	defer os.Remove(partial.Name())
	defer partial.Close()
	if id, err = image.write(partial); err != nil {
		return "", fmt.Errorf("write image %s: %w", image.Tag, err)
	}
	if err := partial.Chmod(0o644); err != nil {
		return "", fmt.Errorf("write image: %w", err)
	}
	if err := partial.Close(); err != nil {
		return "", fmt.Errorf("write image: %w", err)
	}
	return id, os.Rename(partial.Name(), out)
}

func (image Image) write(w io.Writer) (id string, err error) {
	config := imageConfig{
		Architecture: runtime.GOARCH, OS: "linux", Created: "1970-01-01T00:00:00Z",
		Config: containerConfig{User: image.User, Env: image.Env, Entrypoint: image.Entrypoint, WorkingDir: "/", Labels: image.Labels},
		RootFS: rootFS{Type: "layers"},
	}
	manifest := manifestEntry{RepoTags: []string{image.Tag}}
	for _, layer := range image.Layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, "sha256:"+layer.Digest)
		manifest.Layers = append(manifest.Layers, layer.Digest+".tar")
	}
	configJSON, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	digest := fmt.Sprintf("%x", sha256.Sum256(configJSON))
	manifest.Config = digest + ".json"
	manifestJSON, err := json.Marshal([]manifestEntry{manifest})
	if err != nil {
		return "", err
	}

	files := []File{
		{Path: "manifest.json", Content: string(manifestJSON), Mode: 0o644},
		{Path: manifest.Config, Content: string(configJSON), Mode: 0o644},
	}
	for _, layer := range image.Layers {
		files = append(files, File{Path: layer.Digest + ".tar", Source: layer.Tar, Mode: 0o644})
	}
	archive := tar.NewWriter(w)
	for _, file := range files {
		if err := writeFile(archive, file); err != nil {
			return "", err
		}
	}
	return "sha256:" + digest, archive.Close()
}
