package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// LockFile is what Lock leaves in a folder.
const LockFile = ".lock"

// lockPoll is how often a lock that another has is tried for.
const lockPoll = 500 * time.Millisecond

// ErrNoLocks says that a file system has none.
var ErrNoLocks = errors.New("the file system has no locks")

// Lock waits until no other process has the lock of dir, a folder, and takes it. It ends with unlock, or with the
// process however that ends. The kernel keeps it, and file systems of several machines that have locks (NFS 4,
// CephFS, Lustre mounted with flock) keep it for all of them; for others the error is ErrNoLocks. waiting is called once
// before a wait, which ends with ctx.
func Lock(ctx context.Context, dir string, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	for first := true; ; first = false {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { file.Close() }, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case noLocks(err):
			err = ErrNoLocks
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// noLocks says whether a file system answered that it has none.
func noLocks(err error) bool {
	return errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.ENOLCK)
}
