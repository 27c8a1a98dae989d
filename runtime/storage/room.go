package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// makeRoom evicts entries until size more bytes fit.
func (c *Cache) makeRoom(ctx context.Context, key string, size int64) error {
	if c.Limit > 0 && size > c.Limit {
		return fmt.Errorf("%d MiB, more than the cache's limit of %d MiB: %w", size>>20, c.Limit>>20, syscall.ENOSPC)
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := c.entries(TempName(key))
	if err != nil {
		return err
	}
	var held int64
	for _, e := range entries {
		held += e.size
	}
	for {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(c.Dir, &disk); err != nil {
			return err
		}
		free := int64(disk.Bavail) * disk.Bsize
		if own, err := usage(filepath.Join(c.Dir, TempName(key))); err != nil { // what an earlier attempt fetched already
			return err
		} else {
			free += own
		}
		if free >= size && (c.Limit == 0 || held+size <= c.Limit) {
			return nil
		}
		if len(entries) == 0 {
			return fmt.Errorf("%d MiB are to be fetched, %s has %d MiB free and nothing that could go: %w", size>>20, c.Dir, free>>20, syscall.ENOSPC)
		}
		e := entries[0]
		entries = entries[1:]
		if gone, err := c.evict(e.key); err != nil {
			return err
		} else if gone {
			held -= e.size
		}
	}
}

type entry struct {
	key  string
	used time.Time
	size int64
}

// entries are all but own, whole or not, those that were not used for the longest time first.
func (c *Cache) entries(own string) (list []entry, err error) {
	all, err := os.ReadDir(c.Dir)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if !d.IsDir() || d.Name() == own {
			continue
		}
		st, err := os.Stat(filepath.Join(c.Dir, d.Name(), indexFile))
		if errors.Is(err, fs.ErrNotExist) {
			st, err = d.Info()
		}
		if err != nil {
			return nil, err
		}
		size, err := usage(filepath.Join(c.Dir, d.Name()))
		if err != nil {
			return nil, err
		}
		list = append(list, entry{d.Name(), st.ModTime(), size})
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.key, b.key)) })
	return list, nil
}

// evict removes an entry that nobody uses.
func (c *Cache) evict(key string) (gone bool, err error) {
	dir := filepath.Join(c.Dir, key)
	f, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	} else if err != nil && !noLocks(err) {
		return false, err
	}
	return true, os.RemoveAll(dir)
}

// usage is what the files below a folder take on the disk.
func usage(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			n += st.Blocks * 512
		}
		return err
	})
	return n, err
}
