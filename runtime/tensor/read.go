package tensor

// #include "bridge.h"
import "C"

import (
	"strconv"
	"unsafe"
)

// Shape lists the dimensions; a scalar has none.
func (t *Tensor) Shape() []int64 {
	h := t.handle("Shape")
	shape := make([]int64, 8)
	n := int(C.at_shape(h, (*C.int64_t)(&shape[0]), 8))
	if n > len(shape) {
		shape = make([]int64, n)
		C.at_shape(h, (*C.int64_t)(&shape[0]), C.int(n))
	}
	return shape[:n:n]
}

// Dim is the size of dimension i; negative i counts from the end.
func (t *Tensor) Dim(i int) int64 {
	shape := t.Shape()
	at := i
	if at < 0 {
		at += len(shape)
	}
	if at < 0 || at >= len(shape) {
		panic(&Error{Op: "Dim", Shapes: [][]int64{shape}, Message: "no dimension " + strconv.Itoa(i)})
	}
	return shape[at]
}

// Dims is the number of dimensions.
func (t *Tensor) Dims() int { return int(C.at_shape(t.handle("Dims"), nil, 0)) }

// NumElements is the product of the shape.
func (t *Tensor) NumElements() int64 {
	n := int64(1)
	for _, d := range t.Shape() {
		n *= d
	}
	return n
}

// DType is the elements' type.
func (t *Tensor) DType() DType { return DType(C.at_dtype(t.handle("DType"))) }

// Device is where the tensor lives.
func (t *Tensor) Device() Device {
	d := int64(C.at_device(t.handle("Device")))
	switch d >> 32 {
	case 0:
		return CPU
	case 1:
		return Device("cuda:" + strconv.Itoa(int(int32(d))))
	}
	return Device("device type " + strconv.Itoa(int(d>>32)))
}

// Float32s copies the elements, converted to float32, row-major; any device, any type. So do the next ones.
func (t *Tensor) Float32s() []float32 { return toSlice[float32](t, Float32) }
func (t *Tensor) Float64s() []float64 { return toSlice[float64](t, Float64) }
func (t *Tensor) Int64s() []int64     { return toSlice[int64](t, Int64) }
func (t *Tensor) Bools() []bool       { return toSlice[bool](t, Bool) }

// Bytes copies the elements as they are in memory (little-endian, row-major: as in a safetensors file).
func (t *Tensor) Bytes() []byte {
	raw := make([]byte, t.NumElements()*int64(t.DType().Size()))
	t.CopyTo(raw)
	return raw
}

// CopyTo is Bytes into the caller's buffer, which must have exactly the size.
func (t *Tensor) CopyTo(raw []byte) { read(t, t.DType(), raw) }

// Item is the only element of a tensor of one.
func (t *Tensor) Item() float64 {
	var v C.double
	check("Item", C.at_item(t.handle("Item"), &v), t)
	return float64(v)
}

func toSlice[E any](t *Tensor, dtype DType) []E {
	out := make([]E, t.NumElements())
	read(t, dtype, out)
	return out
}

func read[E any](t *Tensor, dtype DType, out []E) {
	nbytes := int64(len(out)) * int64(unsafe.Sizeof(*new(E)))
	check("read", C.at_read(t.handle("read"), C.int(dtype), unsafe.Pointer(unsafe.SliceData(out)), C.int64_t(nbytes)), t)
}
