package tensor

// #include <stdlib.h>
// #include "bridge.h"
import "C"

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Call runs the operator of that schema name ("aten::matmul", or with its overload "aten::sum.dim_IntList") and returns
// its results, which must be nout many (a list of tensors counts as its items, a number as a tensor; -1 takes any
// number, 0 drops them, as for operators in place). Arguments are *Tensor, int, int64, float64, bool, string, []int64,
// []float64, []*Tensor, DType, Device, nil for none, or Default; those left out at the end take their defaults.
// It panics with an *Error.
func Call(name string, nout int, args ...any) []*Tensor {
	r := invoke(name, nout, args)
	out := make([]*Tensor, r.n)
	for i, h := range unsafe.Slice(r.out, r.n) {
		out[i] = register(h)
	}
	if nout >= 0 && len(out) != nout {
		throw(name, "gave %d results, not %d", len(out), nout)
	}
	return out
}

// HasOp says whether this libtorch has the operator; overload is "" for the one without a name.
func HasOp(name, overload string) bool {
	if overload != "" {
		name += "." + overload
	}
	return find(name) != 0
}

// call1 is Call for the many operators of one result.
func call1(name string, args ...any) *Tensor {
	r := invoke(name, 1, args)
	if r.n != 1 {
		throw(name, "gave %d results, not 1", int(r.n))
	}
	return register(*r.out)
}

// call0 is Call for operators in place.
func call0(name string, args ...any) { invoke(name, 0, args) }

func invoke(name string, nout int, args []any) C.at_result {
	op := find(name)
	if op == 0 {
		throw(name, "libtorch %s has no such operator", Version())
	}
	var valueArray [12]C.at_value
	var poolArray [48]int64
	values, pool := marshal(name, valueArray[:0], poolArray[:0], args)
	r := C.at_call(op, unsafe.SliceData(values), C.int(len(values)), (*C.int64_t)(unsafe.SliceData(pool)), C.int(nout))
	if r.error != nil {
		panic(&Error{Op: name, Shapes: shapesOf(args), Message: firstLine(C.GoString(r.error))})
	}
	return r
}

// check panics with the error that a function of the bridge returned, if any.
func check(op string, message *C.char, args ...any) {
	if message != nil {
		panic(&Error{Op: op, Shapes: shapesOf(args), Message: firstLine(C.GoString(message))})
	}
}

// operators found so far, by name: read without a lock at every call, replaced by a copy when one is added.
var operators = struct {
	sync.Mutex
	byName atomic.Pointer[map[string]C.at_op]
}{}

func find(name string) C.at_op {
	if known := operators.byName.Load(); known != nil {
		if op, ok := (*known)[name]; ok {
			return op
		}
	}
	operators.Lock()
	defer operators.Unlock()
	next := map[string]C.at_op{}
	if known := operators.byName.Load(); known != nil {
		next = maps.Clone(*known)
	}
	base, overload := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		base, overload = name[:dot], name[dot+1:]
	}
	cBase, cOverload := C.CString(base), C.CString(overload)
	defer C.free(unsafe.Pointer(cBase))
	defer C.free(unsafe.Pointer(cOverload))
	next[name] = C.at_find(cBase, cOverload)
	operators.byName.Store(&next)
	return next[name]
}

// Version is libtorch's, such as "1.13.1".
func Version() string { return C.GoString(C.at_version()) }
