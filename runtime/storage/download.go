package storage

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// pieceSize is what one request reads of a large object.
	pieceSize = 32 << 20
	// parallel is how many requests are under way at a time.
	parallel = 8
	// stalled is how long a request may bring nothing.
	stalled = time.Minute
)

// piece is a range of an object, to be written into a file.
type piece struct {
	object         Object
	index          int64
	offset, length int64
	file, journal  *os.File
}

// Download brings objects into a folder, in parallel, and verifies them.
func Download(ctx context.Context, remote Remote, objects []Object, dir string, retry Retry) error {
	if err := download(ctx, remote, objects, dir, retry, func(int64) {}); err != nil {
		return err
	}
	_, err := sums(dir, objects)
	return err
}

// download brings objects into a folder, in parallel, and goes on with what an earlier attempt left there.
// progress is told of bytes that are on the disk.
func download(ctx context.Context, remote Remote, objects []Object, dir string, retry Retry, progress func(n int64)) (err error) {
	var pieces []piece
	var files, journals []*os.File
	defer func() {
		for _, f := range slices.Concat(files, journals) {
			f.Close()
		}
	}()
	for _, o := range objects {
		path := filepath.Join(dir, localName(o))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		files = append(files, file)
		// The journal has a byte for each piece that is there.
		journal, err := os.OpenFile(path+journalSuffix, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		journals = append(journals, journal)
		for i := range (o.Size + pieceSize - 1) / pieceSize {
			p := piece{object: o, index: i, offset: i * pieceSize, file: file, journal: journal}
			p.length = min(pieceSize, o.Size-p.offset)
			var done [1]byte
			if n, _ := journal.ReadAt(done[:], i); n == 1 && done[0] == 1 {
				progress(p.length)
				continue
			}
			pieces = append(pieces, p)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, p := range pieces {
		group.Go(func() error {
			if err := p.fetch(ctx, remote, retry, progress); err != nil {
				return fmt.Errorf("%s: %w", p.object.Path, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, j := range journals {
		if err := os.Remove(j.Name()); err != nil {
			return err
		}
	}
	return nil
}

const journalSuffix = ".pieces"

// fetch reads one piece. A connection that is cut goes on where it was.
func (p piece) fetch(ctx context.Context, remote Remote, retry Retry, progress func(n int64)) error {
	var have int64
	err := retry.Do(ctx, func() (bool, error) {
		n, err := p.read(ctx, remote, have)
		have += n
		progress(n)
		return n > 0, err
	})
	if err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil { // before the journal says so
		return err
	}
	_, err = p.journal.WriteAt([]byte{1}, p.index)
	return err
}

// read is one request for what is not there yet.
func (p piece) read(ctx context.Context, remote Remote, have int64) (n int64, err error) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(stalled, cancel)
	defer timer.Stop()
	defer func() {
		if err != nil && reading.Err() != nil && ctx.Err() == nil {
			err = errStalled // a cancelled context would pass for a run that was told to end
		}
	}()
	r, err := remote.Read(reading, p.object, p.offset+have, p.length-have)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	alive := readerFunc(func(b []byte) (int, error) {
		timer.Reset(stalled)
		return r.Read(b)
	})
	n, err = io.Copy(io.NewOffsetWriter(p.file, p.offset+have), io.LimitReader(alive, p.length-have))
	if err == nil && have+n < p.length {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

var errStalled = fmt.Errorf("nothing came for %s", stalled)

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// localName is an object's path in a folder.
func localName(o Object) string { return filepath.FromSlash(o.Path) }

// sum reads a file and compares it with what was promised of it. It returns its SHA-256.
func sum(path string, o Object) (digest string, err error) {
	f, err := Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sha := sha256.New()
	w := io.Writer(sha)
	var git hash.Hash
	if strings.HasPrefix(o.Digest, gitDigest) {
		git = sha1.New()
		fmt.Fprintf(git, "blob %d\x00", o.Size)
		w = io.MultiWriter(sha, git)
	}
	n, err := io.Copy(w, f)
	if err != nil {
		return "", err
	}
	digest = "sha256:" + hex.EncodeToString(sha.Sum(nil))
	got := digest
	if git != nil {
		got = gitDigest + hex.EncodeToString(git.Sum(nil))
	}
	switch {
	case n != o.Size:
		return "", &DigestError{Path: o.Path, Want: fmt.Sprintf("%d bytes", o.Size), Got: fmt.Sprintf("%d bytes", n)}
	case o.Digest != "" && got != o.Digest:
		return "", &DigestError{Path: o.Path, Want: o.Digest, Got: got}
	}
	return digest, nil
}

const gitDigest = "git:"

// ReadAll reads a whole object of at most limit bytes and compares it with its digest.
func ReadAll(ctx context.Context, remote Remote, o Object, limit int64, retry Retry) (b []byte, err error) {
	if o.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", o.Path, o.Size, limit)
	}
	err = retry.Do(ctx, func() (bool, error) {
		if o.Size == int64(len(b)) {
			return true, nil
		}
		r, err := remote.Read(ctx, o, int64(len(b)), o.Size-int64(len(b)))
		if err != nil {
			return false, err
		}
		defer r.Close()
		more, err := io.ReadAll(io.LimitReader(r, o.Size-int64(len(b))))
		b = append(b, more...)
		if err == nil && int64(len(b)) < o.Size {
			err = io.ErrUnexpectedEOF
		}
		return len(more) > 0, err
	})
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(o.Digest, "sha256:") && Digest(b) != o.Digest {
		return nil, &DigestError{Path: o.Path, Want: o.Digest, Got: Digest(b)}
	}
	return b, nil
}

// VerifyObject reads an object that stays where it is and compares it with its SHA-256.
func VerifyObject(ctx context.Context, remote Remote, o Object, retry Retry) error {
	sha := sha256.New()
	var have int64
	err := retry.Do(ctx, func() (bool, error) {
		if have == o.Size {
			return true, nil
		}
		r, err := remote.Read(ctx, o, have, o.Size-have)
		if err != nil {
			return false, err
		}
		defer r.Close()
		n, err := io.Copy(sha, io.LimitReader(r, o.Size-have))
		have += n
		if err == nil && have < o.Size {
			err = io.ErrUnexpectedEOF
		}
		return n > 0, err
	})
	if err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sha.Sum(nil)); got != o.Digest {
		return &DigestError{Path: o.Path, Want: o.Digest, Got: got}
	}
	return nil
}

// Upload writes files of a folder into a bucket, in parallel, each under its own name. Whoever has to see all of them or
// none goes by a file that is written afterwards.
func Upload(ctx context.Context, bucket Bucket, dir string, names []string, prefix string, retry Retry) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	for _, name := range names {
		group.Go(func() error {
			if err := put(ctx, bucket, filepath.Join(dir, filepath.FromSlash(name)), prefix+name, false, retry); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// uploads is how many files are written at a time, each of them in several parts.
const uploads = 3

// Create writes one file that must not be there yet, else the error is ErrExists: that may also be one whose answer
// was lost, so the caller compares.
func Create(ctx context.Context, bucket Bucket, file, name string, retry Retry) error {
	return put(ctx, bucket, file, name, true, retry)
}

func put(ctx context.Context, bucket Bucket, file, name string, create bool, retry Retry) error {
	f, err := Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return retry.Do(ctx, func() (bool, error) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return false, &Permanent{err}
		}
		return false, bucket.Put(ctx, name, f, st.Size(), create)
	})
}
