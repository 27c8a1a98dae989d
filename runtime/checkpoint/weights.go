package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// The names of a Hugging Face folder's weights.
const (
	WeightsFile = "model.safetensors"
	IndexFile   = "model.safetensors.index.json"
)

// Weights are the tensors of a Hugging Face folder, from one file or from shards.
type Weights struct {
	dir   string
	files []*Safetensors
	by    map[string]*Safetensors // a tensor's name -> the file it is in
}

// OpenWeights opens model.safetensors, or the shards that model.safetensors.index.json
// names. A folder with neither is fs.ErrNotExist. The caller closes it.
func OpenWeights(dir string) (_ *Weights, err error) {
	w := &Weights{dir: dir, by: map[string]*Safetensors{}}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	s, err := OpenSafetensors(filepath.Join(dir, WeightsFile))
	if err == nil {
		w.files = append(w.files, s)
		for _, name := range s.Names() {
			w.by[name] = s
		}
		return w, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	path := filepath.Join(dir, IndexFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open weights: %s has neither %s nor %s: %w", dir, WeightsFile, IndexFile, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, path, err)
	}
	if len(index.WeightMap) == 0 {
		return nil, fmt.Errorf("%w: %s: weight_map is empty", ErrFormat, path)
	}
	shards := map[string]*Safetensors{}
	for _, name := range slices.Sorted(maps.Keys(index.WeightMap)) {
		file := index.WeightMap[name]
		if shards[file] == nil {
			if !filepath.IsLocal(file) {
				return nil, fmt.Errorf("%w: %s: weight_map: %q leads out of the folder", ErrFormat, path, file)
			}
			s, err := OpenSafetensors(filepath.Join(dir, file))
			if err != nil {
				return nil, err
			}
			shards[file], w.files = s, append(w.files, s)
		}
		s := shards[file]
		if !s.Has(name) {
			return nil, fmt.Errorf("%w: %s: %s has no tensor %q", ErrFormat, path, file, name)
		}
		w.by[name] = s
	}
	return w, nil
}

// Names are the tensors' names in order.
func (w *Weights) Names() []string { return slices.Sorted(maps.Keys(w.by)) }

// Has says whether there is a tensor of the name.
func (w *Weights) Has(name string) bool { return w.by[name] != nil }

// Read reads one tensor into memory of its own. A missing one is an ErrFormat.
func (w *Weights) Read(name string) (Tensor, error) {
	s := w.by[name]
	if s == nil {
		return Tensor{}, fmt.Errorf("%w: %s has no tensor %q", ErrFormat, w.dir, name)
	}
	return s.Read(name)
}

// Close closes the files.
func (w *Weights) Close() error {
	var errs []error
	for _, s := range w.files {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
