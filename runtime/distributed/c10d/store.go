// Package c10d is the bridge to c10d, libtorch's collectives and the store that their ranks meet at. It imports
// nothing of this project: a tensor is the address of an at::Tensor.
package c10d

/*
#cgo CXXFLAGS: -std=c++20 -O2 -Wno-deprecated-declarations
#cgo !torch_pkgconfig CXXFLAGS: -I/usr/include/torch/csrc/api/include
#cgo !torch_pkgconfig LDFLAGS: -ltorch_cpu -lc10
#cgo torch_pkgconfig pkg-config: torch
#cgo cuda LDFLAGS: -ltorch_cuda -lc10_cuda
#include <stdlib.h>
#include "c10d.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// Store is c10d's TCPStore: keys and values that the processes of a run share. Its calls block; one at a time is
// served. It lives as long as the process.
type Store struct{ h C.dist_store }

// OpenStore connects to the store at address, host:port, or serves it there; port 0 then takes a free one. timeout is for
// connecting and for Get.
func OpenStore(address string, serve bool, timeout time.Duration) (*Store, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", port, err)
	}
	cHost := C.CString(host)
	defer C.free(unsafe.Pointer(cHost))
	var server C.int
	if serve {
		server = 1
	}
	s := &Store{}
	return s, failure(C.dist_store_open(cHost, C.int(n), server, C.int64_t(timeout.Milliseconds()), &s.h))
}

// Port is the one that the store is served at.
func (s *Store) Port() int { return int(C.dist_store_port(s.h)) }

// Set gives the key a value.
func (s *Store) Set(key string, value []byte) error {
	k := C.CString(key)
	defer C.free(unsafe.Pointer(k))
	return failure(C.dist_store_set(s.h, k, unsafe.Pointer(unsafe.SliceData(value)), C.int64_t(len(value))))
}

// Get waits for the key.
func (s *Store) Get(key string) ([]byte, error) {
	k := C.CString(key)
	defer C.free(unsafe.Pointer(k))
	var value unsafe.Pointer
	var n C.int64_t
	if err := failure(C.dist_store_get(s.h, k, &value, &n)); err != nil {
		return nil, err
	}
	defer C.free(value)
	return C.GoBytes(value, C.int(n)), nil
}

// Add adds to a counter and returns its sum; 0 reads it.
func (s *Store) Add(key string, delta int64) (int64, error) {
	k := C.CString(key)
	defer C.free(unsafe.Pointer(k))
	var sum C.int64_t
	err := failure(C.dist_store_add(s.h, k, C.int64_t(delta), &sum))
	return int64(sum), err
}

// failure is the error of a message, which it frees.
func failure(message *C.char) error {
	if message == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(message))
	line, _, _ := strings.Cut(strings.TrimSpace(C.GoString(message)), "\n") // a backtrace follows
	return errors.New(strings.TrimSpace(line))
}
