package c10d

// #include <stdlib.h>
// #include "c10d.h"
import "C"

import (
	"fmt"
	"time"
	"unsafe"
)

// Group is ranks that call its collectives in the same order. It lives as long as the process.
type Group struct {
	h     C.dist_group
	world int
}

// NewGroup waits for all ranks to make theirs, of the same name. Gloo listens on address; NCCL is there besides for tensors of that CUDA
// device, unless it is -1. timeout is for the ranks to meet, and for each collective.
func NewGroup(s *Store, name string, rank, world int, address string, cuda int, timeout time.Duration) (*Group, error) {
	a := C.CString(address)
	defer C.free(unsafe.Pointer(a))
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	g := &Group{world: world}
	return g, failure(C.dist_group_new(s.h, n, C.int(rank), C.int(world), a, C.int(cuda), C.int64_t(timeout.Milliseconds()), &g.h))
}

// AllReduce replaces t, which must be dense, by the sum over all ranks.
func (g *Group) AllReduce(t uintptr) error { return failure(C.dist_all_reduce(g.h, C.uintptr_t(t))) }

// Broadcast replaces t, which must be dense, by the root's.
func (g *Group) Broadcast(t uintptr, root int) error {
	return failure(C.dist_broadcast(g.h, C.uintptr_t(t), C.int(root)))
}

// AllGather fills out, dense and of as many times the elements as there are ranks, with in of each.
func (g *Group) AllGather(out, in uintptr) error {
	return failure(C.dist_all_gather(g.h, C.uintptr_t(out), C.uintptr_t(in)))
}

// ReduceScatter fills out with this rank's part of the sum of in over all ranks, which is dense.
func (g *Group) ReduceScatter(out, in uintptr) error {
	return failure(C.dist_reduce_scatter(g.h, C.uintptr_t(out), C.uintptr_t(in)))
}

// AllGatherBytes returns in of each rank, one after another; all have the same length.
func (g *Group) AllGatherBytes(in []byte) ([]byte, error) {
	if len(in) == 0 {
		return nil, fmt.Errorf("all-gather of no bytes")
	}
	out := make([]byte, len(in)*g.world)
	err := failure(C.dist_all_gather_bytes(g.h, unsafe.Pointer(&out[0]), unsafe.Pointer(&in[0]), C.int64_t(len(in))))
	return out, err
}
