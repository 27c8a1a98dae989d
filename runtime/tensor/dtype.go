package tensor

import "strconv"

// DType is an element type. The values are libtorch's own (c10::ScalarType).
type DType int

const (
	Uint8    DType = 0
	Int8     DType = 1
	Int16    DType = 2
	Int32    DType = 3
	Int64    DType = 4
	Float16  DType = 5
	Float32  DType = 6
	Float64  DType = 7
	Bool     DType = 11
	BFloat16 DType = 15
)

var dtypes = map[DType]struct {
	name string
	size int
}{
	Uint8: {"uint8", 1}, Int8: {"int8", 1}, Int16: {"int16", 2}, Int32: {"int32", 4}, Int64: {"int64", 8},
	Float16: {"float16", 2}, Float32: {"float32", 4}, Float64: {"float64", 8}, Bool: {"bool", 1}, BFloat16: {"bfloat16", 2},
}

// String is PyTorch's name: "float32", "bfloat16".
func (d DType) String() string {
	if t, ok := dtypes[d]; ok {
		return t.name
	}
	return "dtype(" + strconv.Itoa(int(d)) + ")"
}

// Size is the number of bytes of one element.
func (d DType) Size() int { return dtypes[d].size }

// ParseDType reads PyTorch's name of an element type, as in a model's config.json.
func ParseDType(name string) (DType, bool) {
	for d, t := range dtypes {
		if t.name == name {
			return d, true
		}
	}
	return 0, false
}

// Device is where a tensor lives: "cpu", "cuda" or "cuda:0".
type Device string

const CPU Device = "cpu"

// parse gives libtorch's device type and index.
func (d Device) parse() (kind, index int) {
	switch {
	case d == "" || d == CPU:
		return 0, -1
	case d == "cuda":
		return 1, 0
	case len(d) > 5 && d[:5] == "cuda:":
		if n, err := strconv.Atoi(string(d[5:])); err == nil && n >= 0 && n < 128 {
			return 1, n
		}
	}
	panic(&Error{Op: "device", Message: "unknown device " + strconv.Quote(string(d)) + `: "cpu", "cuda" or "cuda:N"`})
}
