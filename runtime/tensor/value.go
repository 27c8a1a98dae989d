package tensor

// #include "bridge.h"
import "C"

import (
	"fmt"
	"math"
	"unsafe"
)

// Default stands for the schema's default where an argument before the last given one is left out.
var Default = useDefault{}

type useDefault struct{}

// marshal appends Go arguments as the bridge's values; lists and strings go to pool (see at_value in bridge.h). Nothing
// of args is retained, so that callers' argument lists stay on their stacks.
func marshal(op string, values []C.at_value, pool []int64, args []any) ([]C.at_value, []int64) {
	for i, arg := range args {
		var v C.at_value
		switch a := arg.(type) {
		case nil:
			v.tag = C.AT_NONE
		case useDefault:
			v.tag = C.AT_DEFAULT
		case *Tensor:
			if a == nil {
				break // none
			}
			v.tag, v.i = C.AT_TENSOR, C.int64_t(a.handle(op))
		case int:
			v.tag, v.i = C.AT_INT, C.int64_t(a)
		case int64:
			v.tag, v.i = C.AT_INT, C.int64_t(a)
		case DType:
			v.tag, v.i = C.AT_INT, C.int64_t(a)
		case Reduction:
			v.tag, v.i = C.AT_INT, C.int64_t(a)
		case float64:
			v.tag, v.i = C.AT_FLOAT, C.int64_t(math.Float64bits(a))
		case bool:
			v.tag = C.AT_BOOL
			if a {
				v.i = 1
			}
		case []int64:
			v.tag, v.n, v.i = C.AT_INTS, C.int32_t(len(a)), C.int64_t(len(pool))
			pool = append(pool, a...)
		case []float64:
			v.tag, v.n, v.i = C.AT_FLOATS, C.int32_t(len(a)), C.int64_t(len(pool))
			for _, f := range a {
				pool = append(pool, int64(math.Float64bits(f)))
			}
		case []*Tensor:
			v.tag, v.n, v.i = C.AT_TENSORS, C.int32_t(len(a)), C.int64_t(len(pool))
			for _, t := range a {
				if t == nil {
					pool = append(pool, 0)
				} else {
					pool = append(pool, int64(t.handle(op)))
				}
			}
		case string:
			v.tag, v.n, v.i = C.AT_STRING, C.int32_t(len(a)), C.int64_t(len(pool))
			for start := 0; start < len(a); start += 8 {
				var word [8]byte
				copy(word[:], a[start:])
				pool = append(pool, *(*int64)(unsafe.Pointer(&word)))
			}
		case Device:
			kind, index := a.parse()
			v.tag, v.n, v.i = C.AT_DEVICE, C.int32_t(index), C.int64_t(kind)
		default:
			panic(&Error{Op: op, Message: fmt.Sprintf("argument %d has Go type %T, which no operator takes", i, arg)})
		}
		values = append(values, v)
	}
	return values, pool
}

// shapesOf lists the shapes of the tensors among args, for an error.
func shapesOf(args []any) (shapes [][]int64) {
	for _, arg := range args {
		switch a := arg.(type) {
		case *Tensor:
			if a != nil && a.h != 0 {
				shapes = append(shapes, a.Shape())
			}
		case []*Tensor:
			for _, t := range a {
				if t != nil && t.h != 0 {
					shapes = append(shapes, t.Shape())
				}
			}
		}
	}
	return shapes
}
