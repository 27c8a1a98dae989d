package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// removeRemote is remove for an object store, which has no folders and no links.
func removeRemote(ctx context.Context, uri string, open func(context.Context, string) (storage.Remote, error), removed func(path string)) (n int, err error) {
	if open == nil || !storage.IsRemote(uri) || strings.HasPrefix(uri, "hf://") || strings.HasSuffix(uri, "/") || strings.Count(uri, "/") < 4 {
		return 0, fmt.Errorf("%w: want an absolute path, or scheme://bucket/folder with a namespace and a stage's name", errForeign)
	}
	remote, err := open(ctx, uri)
	if errors.Is(err, storage.ErrURI) {
		return 0, fmt.Errorf("%w: %w", errForeign, err)
	}
	if err != nil {
		return 0, err
	}
	bucket, ok := remote.(storage.Bucket)
	if !ok {
		return 0, fmt.Errorf("%w: it can only be read", errForeign)
	}
	var all []storage.Object
	err = storage.Retry{}.Do(ctx, func() (bool, error) {
		all, err = bucket.List(ctx)
		return false, err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %w", errForeign, err) // not even its bucket
	}
	if err != nil {
		return 0, err
	}
	runs := map[string]bool{}
	for _, o := range all {
		run, file, in := strings.Cut(o.Path, "/")
		if o.Sole || !in || !runFolder.MatchString(run) {
			return 0, fmt.Errorf("%w: %q is no run", errForeign, o.Path)
		}
		runs[run] = runs[run] || file == checkpoint.ManifestFile || strings.HasPrefix(file, checkpoint.StateFolder+"/")
	}
	for _, o := range all {
		run, file, _ := strings.Cut(o.Path, "/")
		folder, inState := strings.CutPrefix(file, checkpoint.StateFolder+"/")
		step, _, _ := strings.Cut(folder, "/")
		top, _, _ := strings.Cut(file, "/")
		published := slices.ContainsFunc(all, func(o storage.Object) bool { return o.Path == run+"/"+checkpoint.ManifestFile })
		switch {
		case published:
		case inState && !checkpoint.IsState(step), !runs[run] && !slices.Contains(written, top):
			return 0, fmt.Errorf("%w: no run has written %q", errForeign, o.Path)
		}
	}
	for _, run := range slices.Sorted(maps.Keys(runs)) {
		if err := deleteAll(ctx, bucket, all, run+"/", storage.Retry{}); err != nil {
			return n, err
		}
		removed(uri + "/" + run)
		n++
	}
	removed(uri)
	return n, nil
}
