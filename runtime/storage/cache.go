package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Cache keeps what was fetched in a folder of this machine, one folder an entry, by a key that follows from the content.
// Several processes may share it, also those of several machines where the file system has locks.
type Cache struct {
	// Dir is made when missing.
	Dir string
	// Limit is what all entries may hold, in bytes; 0 is what the disk holds. The entries that were not used for the
	// longest time go first; one that a process uses stays.
	Limit int64
	Retry Retry
	// Waiting is called before a wait for another process that fetches the same.
	Waiting func(key string)
	// Progress is told how many bytes of how many are there. It may be called concurrently.
	Progress func(key string, done, total int64)

	mu  sync.Mutex
	use map[string]*os.File // the locks on entries in use, held to the end of the process
}

const (
	indexFile   = "index.json" // of an entry: written when it is whole
	filesFolder = "files"
)

// index is what an entry holds; Digest is the SHA-256 of each file.
type index struct {
	Files []Object
}

// Get returns the folder of an entry, fetched by what open returns unless it is there. A Remote that is itself a file is
// the only file in it. Everything is verified against what was promised, and an entry that is there against what it
// was when it was fetched.
func (c *Cache) Get(ctx context.Context, key string, open func() (Remote, []Object, error)) (dir string, files []Object, err error) {
	return c.get(ctx, key, func(temp string) (index, error) {
		remote, objects, err := open()
		if err != nil {
			return index{}, err
		}
		return c.fetch(ctx, key, temp, remote, objects)
	})
}

// Find is Get of what is there already; else dir is "".
func (c *Cache) Find(ctx context.Context, key string) (dir string, err error) {
	dir, _, err = c.find(ctx, key)
	return dir, err
}

// Put makes an entry of the files that write puts into an empty folder, at most size bytes, unless there is one.
func (c *Cache) Put(ctx context.Context, key string, size int64, write func(dir string) error) error {
	_, _, err := c.get(ctx, key, func(temp string) (in index, err error) {
		if err := c.makeRoom(ctx, key, size); err != nil {
			return in, err
		}
		dir := filepath.Join(temp, filesFolder)
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil { // what a killed process has left
			return in, err
		}
		if err := write(dir); err != nil {
			return in, err
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			return in, err
		}
		var objects []Object
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				return in, err
			}
			objects = append(objects, Object{Path: f.Name(), Size: info.Size()})
		}
		return sums(dir, objects)
	})
	return err
}

// get is Get, with what fills the folder of an entry that is not there.
func (c *Cache) get(ctx context.Context, key string, fill func(temp string) (index, error)) (dir string, files []Object, err error) {
	if dir, files, err = c.find(ctx, key); err != nil || dir != "" {
		return dir, files, err
	}
	temp := filepath.Join(c.Dir, TempName(key))
	if err := os.MkdirAll(filepath.Join(temp, filesFolder), 0o755); err != nil {
		return "", nil, err
	}
	unlock, err := Lock(ctx, temp, func() {
		if c.Waiting != nil {
			c.Waiting(key)
		}
	})
	if err != nil && !errors.Is(err, ErrNoLocks) {
		return "", nil, err
	}
	if err == nil {
		defer unlock()
	}
	// The one that was waited for may have filled it, and with it goes the folder that was locked.
	if dir, files, err = c.find(ctx, key); err != nil || dir != "" {
		return dir, files, err
	}
	in, err := fill(temp)
	if err != nil {
		return "", nil, err
	}
	if err := c.seal(ctx, key, temp, in); err != nil {
		return "", nil, err
	}
	return c.find(ctx, key)
}

// Path is the file or folder that an entry's Remote was.
func Path(dir string, files []Object) string {
	if len(files) == 1 && files[0].Sole {
		return filepath.Join(dir, localName(files[0]))
	}
	return dir
}

func (c *Cache) fetch(ctx context.Context, key, temp string, remote Remote, objects []Object) (in index, err error) {
	var total int64
	for _, o := range objects {
		total += o.Size
	}
	if err := c.makeRoom(ctx, key, total); err != nil {
		return in, err
	}
	dir := filepath.Join(temp, filesFolder)
	var torn *DigestError
	for again := false; ; again = true {
		var mu sync.Mutex
		var done int64
		err := download(ctx, remote, objects, dir, c.Retry, func(n int64) {
			mu.Lock()
			defer mu.Unlock()
			done += n
			c.Progress(key, done, total)
		})
		if err != nil {
			return in, err
		}
		if in, err = sums(dir, objects); err == nil {
			return in, nil
		}
		if err := os.RemoveAll(dir); err != nil {
			return in, err
		}
		if !errors.As(err, &torn) || again {
			return in, err
		}
		// What an earlier attempt left may be at fault: once more, from the beginning.
		if err := os.Mkdir(dir, 0o755); err != nil {
			return in, err
		}
	}
}

// seal makes an entry of a folder whose files are whole.
func (c *Cache) seal(ctx context.Context, key, temp string, in index) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if err := WriteFile(filepath.Join(temp, indexFile), b, 0o644); err != nil {
		return err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Rename(temp, filepath.Join(c.Dir, key)); err != nil {
		return err
	}
	return SyncDir(c.Dir)
}

func sums(dir string, objects []Object) (in index, err error) {
	for _, o := range objects {
		if o.Digest, err = sum(filepath.Join(dir, localName(o)), o); err != nil {
			return in, err
		}
		in.Files = append(in.Files, o)
	}
	return in, nil
}

// find opens an entry that is whole, and drops one that is not what it was.
func (c *Cache) find(ctx context.Context, key string) (dir string, files []Object, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	entry := filepath.Join(c.Dir, key)
	b, err := os.ReadFile(filepath.Join(entry, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if err := c.hold(key); err != nil {
		return "", nil, err
	}
	unlock() // reading takes long
	var in index
	err = json.Unmarshal(b, &in)
	dir = filepath.Join(entry, filesFolder)
	if err == nil {
		_, err = sums(dir, in.Files)
	}
	if err == nil {
		now := time.Now()
		return dir, in.Files, os.Chtimes(filepath.Join(entry, indexFile), now, now)
	}
	var torn *DigestError
	if ctx.Err() != nil || !errors.As(err, &torn) && !errors.Is(err, fs.ErrNotExist) && json.Valid(b) {
		return "", nil, err
	}
	return "", nil, os.RemoveAll(entry)
}

// hold keeps an entry from being evicted as long as this process lives.
func (c *Cache) hold(key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.use[key] != nil {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(c.Dir, key, LockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil && !noLocks(err) && !errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return err
	}
	if c.use == nil {
		c.use = map[string]*os.File{}
	}
	c.use[key] = f
	return nil
}

// lock is held for moments, while entries appear or go.
func (c *Cache) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err = Lock(ctx, c.Dir, func() {})
	if errors.Is(err, ErrNoLocks) {
		return func() {}, nil
	}
	return unlock, err
}

// Key is an entry's where no digest is promised: another one for another URI, and whenever the files are others.
func Key(uri string, objects []Object) string {
	b, err := json.Marshal(struct {
		URI     string
		Objects []Object
	}{uri, objects})
	if err != nil {
		panic(err) // strings and numbers only
	}
	return "uri-" + strings.TrimPrefix(Digest(b), "sha256:")
}

// DigestKey is an entry's whose digest, "sha256:<64 hex>", is promised.
func DigestKey(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// FolderDigest is that of the lines that sha256sum prints for the files, sorted by path; of a Remote that is itself a file, its own.
func FolderDigest(files []Object) string {
	var lines strings.Builder
	for _, f := range files {
		if f.Sole {
			return f.Digest
		}
		fmt.Fprintf(&lines, "%s  %s\n", strings.TrimPrefix(f.Digest, "sha256:"), f.Path)
	}
	return Digest([]byte(lines.String()))
}
