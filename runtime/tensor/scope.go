package tensor

// #include "bridge.h"
import "C"

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
)

// Tensor is a handle on one of libtorch's tensors. It belongs to a scope and is unusable once that has ended.
type Tensor struct {
	h     C.at_tensor // 0 when freed
	owner *scope
	index int // in owner.tensors
}

// scope owns the tensors made while it is the innermost one.
type scope struct {
	tensors []*Tensor
	parent  *scope
}

var (
	running   sync.Mutex    // held by Run
	runner    atomic.Int64  // the thread in Run, 0 for none
	innermost *scope        // guarded by running
	process   = &scope{}    // tensors kept beyond Run
	handles   []C.at_tensor // scratch of release
	live      atomic.Int64  // tensors not freed
)

// Run is the entry to tensor code. It waits for another goroutine's Run to end, ties the goroutine to its thread, opens
// a scope, calls f, and frees what f made and did not Keep. An *Error that f panics with is returned. Inside f, tensors
// may be used by this goroutine only; Run inside Run is an error.
//
// libtorch keeps a pool of worker threads per calling thread, and some settings with it: a program does best with one
// long Run.
func Run(f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if runner.Load() == int64(syscall.Gettid()) {
		return &Error{Op: "Run", Message: "called inside Run: call the function directly, or use Scoped"}
	}
	running.Lock()
	defer running.Unlock()
	runner.Store(int64(syscall.Gettid()))
	defer runner.Store(0)
	C.at_enter(C.int(threads.Load()))
	defer C.at_leave()
	root := &scope{parent: process}
	defer func() { innermost = nil }()
	defer func() { // after a panic in a nested scope too, which has then freed itself
		root.release()
		if p := recover(); p != nil {
			e, ok := p.(*Error)
			if !ok {
				panic(p)
			}
			err = e
		}
	}()
	innermost = root
	return f()
}

// Scoped calls f and frees the tensors made meanwhile, but for those kept.
func Scoped(f func()) {
	s := &scope{parent: current("Scoped")}
	innermost = s
	defer func() {
		innermost = s.parent
		s.release()
	}()
	f()
}

// Keep lets a tensor outlive the innermost scope, by moving it to the enclosing one. A tensor that does so already stays
// where it is. In Run's own scope it moves the tensor out of Run: then it lives until Free, for another Run to use.
func (t *Tensor) Keep() *Tensor {
	t.handle("Keep")
	if s := current("Keep"); t.owner == s {
		s.remove(t)
		s.parent.add(t)
	}
	return t
}

// Free frees a tensor before its scope ends.
func (t *Tensor) Free() {
	t.handle("Free")
	current("Free")
	t.owner.remove(t)
	C.at_free(&t.h, 1)
	t.h = 0
	live.Add(-1)
}

// Live is the number of tensors not yet freed and the bytes of all CPU storages that libtorch holds at this moment:
// parameters, gradients and what autograd saved included, a storage shared by views once. A storage counts as the block
// it lies in, which may be up to a quarter larger. GPU memory is not counted.
func Live() (tensors, bytes int64) {
	var now, peak C.int64_t
	C.at_memory(&now, &peak)
	return live.Load(), int64(now)
}

// PeakBytes is the most that Live's bytes have been since the start or ResetPeak.
func PeakBytes() int64 {
	var now, peak C.int64_t
	C.at_memory(&now, &peak)
	return int64(peak)
}

// ResetPeak starts PeakBytes anew from what is live now.
func ResetPeak() { C.at_reset_peak() }

// Handle is the address of the at::Tensor, for C++ of another package; it is valid until t is freed.
func (t *Tensor) Handle() uintptr { return uintptr(t.handle("Handle")) }

// register makes a handle the innermost scope's; nil stands for an undefined tensor.
func register(h C.at_tensor) *Tensor {
	if h == 0 {
		return nil
	}
	t := &Tensor{h: h}
	current("register").add(t)
	live.Add(1)
	return t
}

// handle is the tensor's, for op to use.
func (t *Tensor) handle(op string) C.at_tensor {
	if t == nil {
		panic(&Error{Op: op, Message: "tensor is nil"})
	}
	if t.h == 0 {
		panic(&Error{Op: op, Message: "tensor was freed: the scope that made it has ended, or Free was called; see Keep"})
	}
	return t.h
}

func current(op string) *scope {
	if innermost == nil {
		panic(&Error{Op: op, Message: "called outside of Run"})
	}
	return innermost
}

func (s *scope) add(t *Tensor) {
	t.owner, t.index = s, len(s.tensors)
	s.tensors = append(s.tensors, t)
}

func (s *scope) remove(t *Tensor) {
	last := len(s.tensors) - 1
	s.tensors[t.index] = s.tensors[last]
	s.tensors[t.index].index = t.index
	s.tensors[last] = nil
	s.tensors = s.tensors[:last]
	t.owner = nil
}

func (s *scope) release() {
	if len(s.tensors) == 0 {
		return
	}
	handles = handles[:0]
	for _, t := range s.tensors {
		handles = append(handles, t.h)
		t.h, t.owner = 0, nil
	}
	live.Add(-int64(len(handles)))
	s.tensors = nil
	C.at_free(&handles[0], C.int64_t(len(handles)))
}

// String shows the shape, the type and the first elements.
func (t *Tensor) String() string {
	if t == nil || t.h == 0 {
		return "tensor(freed)"
	}
	const most = 8
	flat := ""
	Scoped(func() {
		values := t.Detach().Reshape(-1)
		n := min(values.NumElements(), most)
		flat = fmt.Sprint(values.Slice(0, 0, n).Float64s())
		if n < values.NumElements() {
			flat = flat[:len(flat)-1] + " ...]"
		}
	})
	return fmt.Sprintf("%v %v %v", t.Shape(), t.DType(), flat)
}
