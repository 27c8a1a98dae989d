package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"
)

// Object is one file of a Remote.
type Object struct {
	// Path is relative to the Remote's own, with slashes; of a Remote that is itself a file, Sole says so, and this is its name.
	Path string
	Sole bool
	// Size is in bytes.
	Size int64
	// Version is another one whenever the content is.
	Version string
	// Digest is the content's, as "sha256:<64 hex>" or, as Git hashes a file, "git:<40 hex>"; empty where none is promised.
	Digest string
}

// Remote is a file, or the files below a folder, that are not on this machine. Its methods may be called
// concurrently.
type Remote interface {
	// List are all files, sorted by path; none is not an error.
	List(ctx context.Context) ([]Object, error)
	// Read streams length bytes of an object from offset on. It may end early. An object that is no longer
	// the one listed is ErrChanged.
	Read(ctx context.Context, o Object, offset, length int64) (io.ReadCloser, error)
}

// Bucket is a Remote that can be written to.
type Bucket interface {
	Remote
	// Put writes a file, which nobody sees before it is whole. With create, one that is there already is ErrExists.
	Put(ctx context.Context, path string, content io.ReadSeeker, size int64, create bool) error
	// Delete removes a file. One that is not there is as good as deleted.
	Delete(ctx context.Context, path string) error
}

var (
	// ErrChanged is a file that became another one while it was read.
	ErrChanged = errors.New("the file changed while it was read")
	// ErrExists is a file that was to be made and is there.
	ErrExists = errors.New("the file exists")
)

// AccessError says that a store refused its caller, or that there is nothing to show it.
type AccessError struct {
	// Missing says what to do about it.
	Missing string
	Err     error
}

func (e *AccessError) Error() string { return fmt.Sprintf("access denied: %s (%v)", e.Missing, e.Err) }
func (e *AccessError) Unwrap() error { return e.Err }

// IsRemote says whether the files of a URI have to be fetched.
func IsRemote(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.Scheme != "file" && u.Scheme != "pvc"
}

// Permanent is an error that trying again does not mend.
type Permanent struct{ Err error }

func (e *Permanent) Error() string { return e.Err.Error() }
func (e *Permanent) Unwrap() error { return e.Err }

// Retry says how often and when something is tried again.
type Retry struct {
	// Attempts without any progress, after which the last error stands. The zero value is 8.
	Attempts int
	// First is the wait after the first one, doubled after each. The zero value is half a second.
	First time.Duration
}

// maxWait bounds a wait.
const maxWait = 30 * time.Second

// Do calls try until it succeeds. try says whether it got on before it failed: then the count begins anew.
func (r Retry) Do(ctx context.Context, try func() (progress bool, err error)) error {
	attempts, first := r.Attempts, r.First
	if attempts == 0 {
		attempts = 8
	}
	if first == 0 {
		first = 500 * time.Millisecond
	}
	for failed := 0; ; {
		progress, err := try()
		if err == nil {
			return nil
		}
		if progress {
			failed = 0
		}
		failed++
		var permanent *Permanent
		var access *AccessError
		if ctx.Err() != nil || failed >= attempts || errors.As(err, &permanent) || errors.As(err, &access) || errors.Is(err, ErrChanged) || errors.Is(err, ErrExists) || IsDiskFull(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(min(first<<(failed-1), maxWait)):
		}
	}
}
