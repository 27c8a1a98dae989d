package data

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// storeBudget is how many bytes of tokens a Store keeps in memory by default.
const storeBudget = 256 << 20

// chunkSize is the size of a Store's files, unless one example is longer.
const chunkSize = 64 << 20

// Store keeps the tokens of examples: in memory up to a budget, then in memory that is mapped from files without
// a name, which the kernel writes out and drops as it needs to. Whatever uses them sees no difference, but
// must not write to them; nothing is left of the files when the process ends, however it does. A nil Store
// keeps all in memory. It is not safe for concurrent use.
type Store struct {
	// Dir is where the files are; empty is the system's folder for temporary files.
	Dir string
	// Budget in bytes; 0 is 256 MiB.
	Budget int64

	used   int64
	mapped [][]byte
	free   []byte // of the last
}

// Close takes everything back that is not in memory; what was kept must not be used any more.
func (s *Store) Close() error {
	var errs []error
	for _, m := range s.mapped {
		errs = append(errs, syscall.Munmap(m))
	}
	s.mapped, s.free, s.used = nil, nil, 0
	return errors.Join(errs...)
}

// keep returns v, or a copy of it in a file.
func keep[T int32 | bool](s *Store, v []T) ([]T, error) {
	if s == nil || len(v) == 0 {
		return v, nil
	}
	size := int64(unsafe.Sizeof(v[0])) * int64(len(v))
	budget := s.Budget
	if budget == 0 {
		budget = storeBudget
	}
	if s.used += size; s.used <= budget {
		return v, nil
	}
	const alignment = 4 // of int32
	whole := (size + alignment - 1) / alignment * alignment
	if int64(len(s.free)) < whole {
		if err := s.grow(max(whole, chunkSize)); err != nil {
			return nil, fmt.Errorf("store examples beyond %d MiB: %w", budget>>20, err)
		}
	}
	out := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(s.free))), len(v))
	s.free = s.free[whole:]
	copy(out, v)
	return out, nil
}

// grow maps another file. Its blocks are there before it is written to: a full disk is an error now, not a signal then.
func (s *Store) grow(size int64) error {
	f, err := os.CreateTemp(s.Dir, "examples-")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	err = syscall.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS) {
		zeros := make([]byte, 1<<20)
		for err = nil; size > 0 && err == nil; size -= int64(len(zeros)) {
			_, err = f.Write(zeros)
		}
	}
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	m, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	s.mapped, s.free = append(s.mapped, m), m
	return nil
}

// keepAll keeps several texts.
func keepAll(s *Store, list [][]int32) (err error) {
	for i := range list {
		if list[i], err = keep(s, list[i]); err != nil {
			return err
		}
	}
	return nil
}
