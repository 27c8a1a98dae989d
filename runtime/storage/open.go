package storage

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// ErrNotRegular is a folder, pipe, socket or device where a file is wanted.
var ErrNotRegular = errors.New("not a regular file")

// Open opens a regular file to read. A claim may hold anything: a pipe would be waited for without end, a
// device read without end.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
