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

// Read finds one tensor, as Safetensors.Read does. A missing one is a MissingError.
func (w *Weights) Read(name string) (Tensor, error) {
	s := w.by[name]
	if s == nil {
		return Tensor{}, &MissingError{Path: w.dir, Name: name, Nearest: nearest(name, w.Names())}
	}
	return s.Read(name)
}

// MissingError is a tensor that a file or folder lacks: an ErrFormat and an fs.ErrNotExist.
type MissingError struct {
	Path, Name string
	// Nearest are names that it has, the most similar first.
	Nearest []string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s has no tensor %q; the nearest of its names are %q", e.Path, e.Name, e.Nearest)
}

// Is says what kind of error it is.
func (e *MissingError) Is(target error) bool { return target == ErrFormat || target == fs.ErrNotExist }

// nearest are the three names with the fewest edits (Levenshtein) from name.
func nearest(name string, names []string) []string {
	edits := make(map[string]int, len(names))
	for _, n := range names {
		edits[n] = distance(name, n)
	}
	slices.SortStableFunc(names, func(a, b string) int { return edits[a] - edits[b] })
	return names[:min(3, len(names))]
}

func distance(a, b string) int {
	row := make([]int, len(b)+1) // from a's first i bytes to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Close closes the files.
func (w *Weights) Close() error {
	var errs []error
	for _, s := range w.files {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
