package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// ErrFormat is wrapped by every error about a file's content, as opposed to one of
// reading it: no retry mends it.
var ErrFormat = errors.New("malformed checkpoint")

// tensorInfo is a tensor's entry in the header.
type tensorInfo struct {
	DType   string  `json:"dtype"`
	Shape   []int64 `json:"shape"`
	Offsets []int64 `json:"data_offsets"` // begin and end, counted from the header's end
}

// Safetensors is an open safetensors file, mapped into memory: what is not read takes none, and what is read is the page
// cache's. A file that is cut short while it is open ends the process. Its methods may be called concurrently.
type Safetensors struct {
	// Metadata is the header's __metadata__.
	Metadata map[string]string

	path    string
	mapped  []byte // the file
	base    int64  // where the tensors' bytes begin
	tensors map[string]tensorInfo
}

// OpenSafetensors opens a file and checks its header against the format and the file's
// size, so that a hostile or truncated file is refused before anything is allocated for it.
// The caller closes it.
func OpenSafetensors(path string) (*Safetensors, error) {
	f, err := storage.Open(path)
	if errors.Is(err, storage.ErrNotRegular) {
		return nil, fmt.Errorf("open safetensors: %w: %w", ErrFormat, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open safetensors: %w", err)
	}
	defer f.Close() // the mapping stays
	s, err := mapSafetensors(f)
	if err != nil {
		return nil, fmt.Errorf("open safetensors %s: %w", path, err)
	}
	s.path = path
	return s, nil
}

func mapSafetensors(f *os.File) (*Safetensors, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s, err := parseSafetensors(f, st.Size())
	if err != nil {
		return nil, err
	}
	s.mapped, err = syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	return s, err
}

// parseSafetensors reads and checks the header of a file of size bytes.
func parseSafetensors(r io.ReaderAt, size int64) (*Safetensors, error) {
	bad := func(format string, args ...any) (*Safetensors, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...)
	}
	var prefix [8]byte
	if size < int64(len(prefix)) {
		return bad("%d bytes hold no header", size)
	}
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	if length > maxHeader || int64(length) > size-8 {
		return bad("header of %d bytes in a file of %d", length, size)
	}
	header := make([]byte, length)
	if _, err := r.ReadAt(header, 8); err != nil {
		return nil, err
	}
	if len(header) == 0 || header[0] != '{' {
		return bad("the header does not begin with {")
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(header, &entries); err != nil {
		return bad("header: %w", err)
	}
	s := &Safetensors{base: 8 + int64(length), tensors: make(map[string]tensorInfo, len(entries))}
	if raw, ok := entries[metadataKey]; ok {
		if err := json.Unmarshal(raw, &s.Metadata); err != nil {
			return bad("%s: %w", metadataKey, err)
		}
		delete(entries, metadataKey)
	}
	for name, raw := range entries {
		var t tensorInfo
		if err := json.Unmarshal(raw, &t); err != nil {
			return bad("tensor %q: %w", name, err)
		}
		want, ok := byteSize(t.DType, t.Shape)
		if !ok || t.Shape == nil {
			return bad("tensor %q: dtype %q, shape %v", name, t.DType, t.Shape)
		}
		if len(t.Offsets) != 2 || t.Offsets[0] < 0 || t.Offsets[1] < t.Offsets[0] || t.Offsets[1]-t.Offsets[0] != want {
			return bad("tensor %q: offsets %v, dtype %q and shape %v need %d bytes", name, t.Offsets, t.DType, t.Shape, want)
		}
		s.tensors[name] = t
	}
	// The format allows no overlap, no hole and no byte beyond the last tensor. A name given
	// twice, of which JSON decoding keeps the last, leaves a hole.
	infos := slices.SortedFunc(maps.Values(s.tensors), func(a, b tensorInfo) int {
		return slices.Compare(a.Offsets, b.Offsets)
	})
	var end int64
	for _, t := range infos {
		if t.Offsets[0] != end {
			return bad("a tensor begins at byte %d, the one before it ends at %d", t.Offsets[0], end)
		}
		end = t.Offsets[1]
	}
	if s.base+end != size {
		return bad("header and tensors are %d bytes, the file has %d", s.base+end, size)
	}
	return s, nil
}

// Names are the tensors' names in order.
func (s *Safetensors) Names() []string { return slices.Sorted(maps.Keys(s.tensors)) }

// Has says whether there is a tensor of the name.
func (s *Safetensors) Has(name string) bool { _, ok := s.tensors[name]; return ok }

// Read finds one tensor. Its bytes are those of the mapped file: they end with Close and must not be written to. A
// missing one is a MissingError.
func (s *Safetensors) Read(name string) (Tensor, error) {
	t, ok := s.tensors[name]
	if !ok {
		return Tensor{}, &MissingError{Path: s.path, Name: name, Nearest: nearest(name, s.Names())}
	}
	data := s.mapped[s.base+t.Offsets[0] : s.base+t.Offsets[1] : s.base+t.Offsets[1]]
	return Tensor{Name: name, DType: t.DType, Shape: slices.Clone(t.Shape), Data: data}, nil
}

// Close ends the mapping.
func (s *Safetensors) Close() error {
	if s.mapped == nil {
		return nil
	}
	mapped := s.mapped
	s.mapped = nil
	return syscall.Munmap(mapped)
}

// decodeStrict is json.Unmarshal that refuses fields that v lacks and what follows the value.
func decodeStrict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}
