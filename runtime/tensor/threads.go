package tensor

// #include "bridge.h"
import "C"

import "sync/atomic"

// threads that Run sets, 0 for libtorch's default (OMP_NUM_THREADS, or else every processor).
var threads atomic.Int64

// SetThreads sets the number of threads that operators use from the next Run on; 0 leaves libtorch's own number.
func SetThreads(n int) { threads.Store(int64(n)) }

// Threads is the number of threads that operators use on this thread: ask inside Run.
func Threads() int { return int(C.at_threads()) }

// CUDAAvailable says whether this libtorch has CUDA and the machine has a GPU.
func CUDAAvailable() bool { return C.at_cuda() != 0 }
