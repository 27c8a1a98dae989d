package tensor

// #include "bridge.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// FromFloat32 copies data, row-major, into a tensor of that shape.
func FromFloat32(data []float32, shape ...int64) *Tensor { return fromSlice(Float32, data, shape) }

// FromFloat64 copies data, row-major, into a tensor of that shape.
func FromFloat64(data []float64, shape ...int64) *Tensor { return fromSlice(Float64, data, shape) }

// FromInt64 copies data, row-major, into a tensor of that shape.
func FromInt64(data []int64, shape ...int64) *Tensor { return fromSlice(Int64, data, shape) }

// FromInt32 copies data, row-major, into a tensor of that shape.
func FromInt32(data []int32, shape ...int64) *Tensor { return fromSlice(Int32, data, shape) }

// FromBool copies data, row-major, into a tensor of that shape.
func FromBool(data []bool, shape ...int64) *Tensor { return fromSlice(Bool, data, shape) }

// FromBytes copies elements as they are in memory (little-endian, row-major: as in a safetensors file).
func FromBytes(dtype DType, raw []byte, shape ...int64) *Tensor { return fromSlice(dtype, raw, shape) }

// Scalar is a tensor without dimensions.
func Scalar(v float64, dtype DType) *Tensor { return Full(v, dtype) }

// Zeros, Ones, Full and Empty make a CPU tensor of the shape; without a shape, a scalar. Empty's elements are arbitrary.
func Zeros(dtype DType, shape ...int64) *Tensor { return call1("aten::zeros", shape, dtype) }
func Ones(dtype DType, shape ...int64) *Tensor  { return call1("aten::ones", shape, dtype) }
func Full(v float64, dtype DType, shape ...int64) *Tensor {
	return call1("aten::full", shape, v, dtype)
}
func Empty(dtype DType, shape ...int64) *Tensor {
	return call1("aten::empty.memory_format", shape, dtype)
}

// ZerosLike, OnesLike and FullLike have t's shape, type and device.
func ZerosLike(t *Tensor) *Tensor { return call1("aten::zeros_like", t) }
func OnesLike(t *Tensor) *Tensor  { return call1("aten::ones_like", t) }
func FullLike(t *Tensor, v float64) *Tensor {
	return call1("aten::full_like", t, v)
}

// Arange is 0, 1, ..., n-1 as int64.
func Arange(n int64) *Tensor { return call1("aten::arange", n, Int64) }

func fromSlice[E any](dtype DType, data []E, shape []int64) *Tensor {
	n, size := int64(1), int64(dtype.Size())
	for _, d := range shape {
		if d < 0 {
			throw("from slice", "negative dimension in shape %v", append([]int64(nil), shape...))
		}
		n *= d
	}
	nbytes := int64(len(data)) * int64(unsafe.Sizeof(*new(E)))
	if size == 0 || n*size != nbytes {
		panic(&Error{Op: "from slice", Message: fmt.Sprintf("%d bytes of data for %d elements of %v, shape %v",
			nbytes, n, dtype, append([]int64(nil), shape...))})
	}
	t := Empty(dtype, shape...)
	check("from slice", C.at_write(t.h, unsafe.Pointer(unsafe.SliceData(data)), C.int64_t(nbytes)), t)
	return t
}
