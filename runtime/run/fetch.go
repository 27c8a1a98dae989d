package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// fetched is what came of a remote URI.
type fetched struct {
	digest string // of its content
	commit string // of a hub's repository
}

// fetch brings a remote URI here, where the resolver finds it then. The digest, if there is one, decides what is taken
// from the cache; the caller verifies it as it does files that were here all along. choose says which files are wanted.
func (r *run) fetch(ctx context.Context, field, uri, digest string, choose func(storage.Remote, []storage.Object) ([]storage.Object, error)) (f fetched, err error) {
	if f, ok := r.fetched[uri]; ok || !storage.IsRemote(uri) {
		return f, nil
	}
	folder, pattern := splitPattern(uri)
	open := func() (remote storage.Remote, objects []storage.Object, err error) {
		if remote, err = r.openRemote(ctx, folder); err != nil {
			return nil, nil, err
		}
		if hub, ok := remote.(interface{ Commit() string }); ok {
			f.commit = hub.Commit()
		}
		if objects, err = r.list(ctx, remote); err != nil {
			return nil, nil, err
		}
		if len(objects) == 0 {
			return nil, nil, fs.ErrNotExist
		}
		objects, err = choose(remote, objects)
		return remote, objects, err
	}
	key := storage.DigestKey(digest)
	if digest == "" {
		remote, objects, err := open()
		if err != nil {
			return f, fetchError(field, uri, err)
		}
		key = storage.Key(uri, objects)
		open = func() (storage.Remote, []storage.Object, error) { return remote, objects, nil }
	}
	cache, err := r.openCache()
	if err != nil {
		return f, err
	}
	cache.Waiting = func(string) {
		r.Log.Info("Waiting for another trainer that fetches the same", "uri", uri)
		r.progress.Message = "Waiting for another trainer that fetches " + uri
		r.report(r.progress)
	}
	cache.Progress = r.fetchProgress(uri)
	dir, files, err := cache.Get(ctx, key, open)
	r.progress.Message = ""
	if err != nil {
		return f, fetchError(field, uri, err)
	}
	f.digest = storage.FolderDigest(files)
	r.fetched[uri], r.resolver.Fetched[uri] = f, filepath.Join(storage.Path(dir, files), pattern)
	if u, err := url.Parse(folder); err == nil && !files[0].Sole {
		for _, o := range files {
			r.resolver.Fetched[storage.Below(u, o.Path)] = filepath.Join(dir, filepath.FromSlash(o.Path))
		}
	}
	r.Log.Info("Fetched", "uri", uri, "dir", dir, "commit", f.commit)
	return f, nil
}

func (r *run) openRemote(ctx context.Context, uri string) (storage.Remote, error) {
	if r.Open == nil {
		return nil, fmt.Errorf("%w: %s: this program reads file:// and pvc:// only", storage.ErrURI, uri)
	}
	return r.Open(ctx, uri)
}

func (r *run) list(ctx context.Context, remote storage.Remote) (list []storage.Object, err error) {
	err = r.Retry.Do(ctx, func() (bool, error) {
		list, err = remote.List(ctx)
		return false, err
	})
	return list, err
}

// openCache is the cache of this machine.
func (r *run) openCache() (*storage.Cache, error) {
	if r.config.Placement.Cache == "" {
		return nil, invalidField("placement.cache", errors.New("is needed for what is not on this machine"))
	}
	if r.cache == nil {
		r.cache = &storage.Cache{Dir: r.config.Placement.Cache, Limit: r.config.Placement.CacheLimit, Retry: r.Retry}
	}
	return r.cache, nil
}

// fetchProgress reports each percent.
func (r *run) fetchProgress(uri string) func(key string, done, total int64) {
	var mu sync.Mutex
	last := int64(-1)
	return func(_ string, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if percent := 100 * done / max(total, 1); percent != last {
			last = percent
			r.progress.Message = fmt.Sprintf("Fetching %s: %d%% of %d MiB", uri, percent, total>>20)
			r.report(r.progress)
		}
	}
}

// fetchError tells what a retry does not mend. It is for what happens before training: later, what is refused may be a
// session that has ended, and a new pod has new credentials.
func fetchError(field, uri string, err error) error {
	var access *storage.AccessError
	switch {
	case errors.As(err, &access), errors.Is(err, storage.ErrURI):
		return invalidField(field+".uri", fmt.Errorf("%s: %w", uri, err))
	case errors.Is(err, fs.ErrNotExist):
		return invalidData(field+".uri", fmt.Errorf("%s does not exist: %w", uri, err))
	case errors.Is(err, checkpoint.ErrFormat), errors.Is(err, errNoManifest), errors.Is(err, storage.ErrNoFiles):
		return invalidData(field+".uri", fmt.Errorf("%s: %w", uri, err))
	}
	return fmt.Errorf("%s.uri: fetch %s: %w", field, uri, err)
}

var errNoManifest = errors.New("has no manifest.json to verify")

// chooseCheckpoint takes the files that a manifest names, or, of a folder without one, those that a loader reads. The digest is
// the manifest's.
func (r *run) chooseCheckpoint(ctx context.Context, digest string) func(storage.Remote, []storage.Object) ([]storage.Object, error) {
	return func(remote storage.Remote, all []storage.Object) ([]storage.Object, error) {
		at := slices.IndexFunc(all, func(o storage.Object) bool { return o.Path == checkpoint.ManifestFile })
		if at < 0 {
			if digest != "" {
				return nil, errNoManifest
			}
			all = slices.DeleteFunc(slices.Clone(all), func(o storage.Object) bool { return !loaded(o.Path) })
			if len(all) == 0 {
				return nil, fmt.Errorf("%w: it has no config.json, tokenizer.json or safetensors", fs.ErrNotExist)
			}
			return all, nil
		}
		b, err := storage.ReadAll(ctx, remote, all[at], checkpoint.MaxManifest, r.Retry)
		if err != nil {
			return nil, err
		}
		if got := storage.Digest(b); digest != "" && got != digest {
			return nil, &storage.DigestError{Path: checkpoint.ManifestFile, Want: digest, Got: got}
		}
		m, err := checkpoint.ParseManifest(b)
		if err != nil {
			return nil, err
		}
		wanted, err := named(m, "", all)
		manifest := all[at]
		manifest.Digest = storage.Digest(b)
		return append(wanted, manifest), err
	}
}

// named are the objects that a manifest names, which lie below prefix, with the digests that it promises.
func named(m *checkpoint.Manifest, prefix string, all []storage.Object) (list []storage.Object, err error) {
	for _, f := range m.Files {
		at := slices.IndexFunc(all, func(o storage.Object) bool { return o.Path == prefix+f.Path })
		if at < 0 {
			return nil, &storage.DigestError{Path: prefix + f.Path, Want: "sha256:" + f.SHA256, Got: "no such file"}
		}
		o := all[at]
		if o.Size != f.Size {
			return nil, &storage.DigestError{Path: o.Path, Want: fmt.Sprintf("%d bytes", f.Size), Got: fmt.Sprintf("%d bytes", o.Size)}
		}
		o.Digest = "sha256:" + f.SHA256
		list = append(list, o)
	}
	return list, nil
}

// loaded says whether a file in a hub's repository is one that a loader reads: weights of other frameworks are many, and large.
func loaded(name string) bool {
	if strings.Contains(name, "/") {
		return false
	}
	return slices.Contains([]string{".json", ".safetensors", ".model", ".jinja", ".txt"}, path.Ext(name))
}

// chooseData takes a file, a folder's data files in it and below, or those of a folder that match a pattern.
func chooseData(uri, digest string) func(storage.Remote, []storage.Object) ([]storage.Object, error) {
	_, pattern := splitPattern(uri)
	return func(_ storage.Remote, all []storage.Object) (list []storage.Object, err error) {
		for _, o := range all {
			hidden := slices.ContainsFunc(strings.Split(o.Path, "/"), func(part string) bool { return strings.HasPrefix(part, ".") })
			matches, err := path.Match(pattern, o.Path)
			switch {
			case err != nil:
				return nil, fmt.Errorf("%w: %w", storage.ErrURI, err)
			case o.Sole && digest != "":
				o.Digest = digest
			case o.Sole && pattern == "":
			case hidden, pattern != "" && !matches, pattern == "" && !storage.IsData(o.Path):
				continue
			}
			list = append(list, o)
		}
		if len(list) == 0 {
			return nil, storage.ErrNoFiles
		}
		return list, nil
	}
}

// splitPattern takes off a URI's last part if it has *.
func splitPattern(uri string) (folder, pattern string) {
	at := strings.LastIndex(uri, "/")
	if at < 0 || !strings.Contains(uri[at:], "*") {
		return uri, ""
	}
	return uri[:at], uri[at+1:]
}
