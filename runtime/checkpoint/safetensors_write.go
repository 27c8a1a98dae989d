package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// Tensor is one named array as safetensors stores it: row-major, little-endian.
type Tensor struct {
	Name string
	// DType is F64, F32, F16, BF16, I64, I32, ... (see the safetensors format).
	DType string
	Shape []int64 // empty for a scalar
	Data  []byte
}

// dtypeSizes are the bytes of one element.
var dtypeSizes = map[string]int64{
	"F64": 8, "I64": 8, "U64": 8,
	"F32": 4, "I32": 4, "U32": 4,
	"F16": 2, "BF16": 2, "I16": 2, "U16": 2,
	"F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}

const (
	metadataKey = "__metadata__"
	// maxHeader is the longest header that the format allows.
	maxHeader = 100_000_000
)

// byteSize is the bytes of a tensor, and false for an unknown dtype, a negative dimension
// or a product beyond int64.
func byteSize(dtype string, shape []int64) (int64, bool) {
	n, ok := dtypeSizes[dtype]
	for _, d := range shape {
		if d < 0 || (d > 0 && n > math.MaxInt64/d) {
			return 0, false
		}
		n *= d
	}
	return n, ok
}

// LazyTensor is a Tensor whose bytes are asked for when they are written, so that not all need be in memory at once.
type LazyTensor struct {
	Name, DType string
	Shape       []int64
	Data        func() []byte
}

// WriteSafetensors writes a safetensors file, whole or not at all, and syncs it. Equal
// tensors give equal bytes, in any order: the file has the widest dtypes first, so that all
// stay aligned, and names in order within one width.
func WriteSafetensors(path string, tensors []LazyTensor, metadata map[string]string) error {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b LazyTensor) int {
		return cmp.Or(cmp.Compare(dtypeSizes[b.DType], dtypeSizes[a.DType]), cmp.Compare(a.Name, b.Name))
	})
	header, sizes, err := safetensorsHeader(tensors, metadata)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return storage.Write(path, 0o644, func(w io.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		for i, t := range tensors {
			data := t.Data()
			if int64(len(data)) != sizes[i] {
				return fmt.Errorf("tensor %q: %d bytes do not fit dtype %q and shape %v", t.Name, len(data), t.DType, t.Shape)
			}
			if _, err := w.Write(data); err != nil {
				return err
			}
		}
		return nil
	})
}

// safetensorsHeader is the length, then the JSON, padded with spaces to 8 bytes; sizes are the tensors' bytes.
func safetensorsHeader(tensors []LazyTensor, metadata map[string]string) (header []byte, sizes []int64, err error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	sep := byte('{')
	put := func(key string, value any) error {
		for _, v := range []any{key, value} {
			b.WriteByte(sep)
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(v); err != nil {
				return err
			}
			b.Truncate(b.Len() - 1) // Encode ends with a newline
			sep = ':'
		}
		sep = ','
		return nil
	}
	if len(metadata) > 0 {
		if err := put(metadataKey, metadata); err != nil {
			return nil, nil, err
		}
	}
	seen := make(map[string]bool, len(tensors))
	var end int64
	for _, t := range tensors {
		if t.Name == metadataKey || seen[t.Name] {
			return nil, nil, fmt.Errorf("tensor %q: the name is taken", t.Name)
		}
		seen[t.Name] = true
		size, ok := byteSize(t.DType, t.Shape)
		if !ok {
			return nil, nil, fmt.Errorf("tensor %q: dtype %q, shape %v", t.Name, t.DType, t.Shape)
		}
		sizes = append(sizes, size)
		info := tensorInfo{DType: t.DType, Shape: t.Shape, Offsets: []int64{end, end + size}}
		if info.Shape == nil {
			info.Shape = []int64{}
		}
		if err := put(t.Name, info); err != nil {
			return nil, nil, err
		}
		end += size
	}
	if sep == '{' {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if b.Len() > maxHeader {
		return nil, nil, fmt.Errorf("the header is %d bytes, the format allows %d", b.Len(), maxHeader)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(b.Len()-8))
	return b.Bytes(), sizes, nil
}
