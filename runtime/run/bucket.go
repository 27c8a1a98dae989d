package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/metrics"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// A run whose output is in an object store works in a folder of this machine. Each state is written to the store after it was
// saved here, and the checkpoint after it was made here; of both the manifest comes last, and nobody takes for whole what has
// none. Stores have no locks: that no second trainer writes the run is the Job's work, and the manifest is only made
// where there is none.

// openOutput opens the store of an output and names the folder to work in.
func (r *run) openOutput(ctx context.Context) error {
	uri := r.config.Output.URI
	remote, err := r.openRemote(ctx, uri)
	if err != nil {
		return fetchError("output", uri, err)
	}
	bucket, ok := remote.(storage.Bucket)
	if !ok {
		return invalidField("output.uri", fmt.Errorf("%s can only be read", uri))
	}
	cache, err := r.openCache()
	if err != nil {
		return err
	}
	r.bucket, r.dir = bucket, filepath.Join(cache.Dir, "run-"+r.hash[:min(12, len(r.hash))])
	return nil
}

// readManifest reads the output's manifest. An output that is not published is fs.ErrNotExist.
func (r *run) readManifest(ctx context.Context) (*checkpoint.Manifest, string, error) {
	if r.bucket == nil {
		return checkpoint.ReadManifest(r.dir)
	}
	b, err := r.readOutput(ctx, checkpoint.ManifestFile)
	if err != nil {
		return nil, "", err
	}
	m, err := checkpoint.ParseManifest(b)
	return m, storage.Digest(b), err
}

// readOutput reads a small file of the output; one that is not there is fs.ErrNotExist.
func (r *run) readOutput(ctx context.Context, name string) ([]byte, error) {
	uri := r.config.Output.URI + "/" + name
	remote, err := r.openRemote(ctx, uri)
	if err != nil {
		return nil, fetchError("output", uri, err)
	}
	list, err := r.list(ctx, remote)
	if err == nil && (len(list) != 1 || !list[0].Sole) {
		return nil, fmt.Errorf("%s: %w", uri, fs.ErrNotExist)
	}
	if err != nil {
		var access *storage.AccessError
		if errors.As(err, &access) {
			return nil, invalidField("output.uri", fmt.Errorf("%s: %w", r.config.Output.URI, err))
		}
		return nil, fmt.Errorf("read %s: %w", uri, err)
	}
	return storage.ReadAll(ctx, remote, list[0], checkpoint.MaxManifest, r.Retry)
}

// verifyOutput compares what is published with its manifest.
func (r *run) verifyOutput(ctx context.Context, m *checkpoint.Manifest, digest string) error {
	if r.bucket == nil {
		_, err := checkpoint.Verify(r.dir, digest)
		return err
	}
	all, err := r.list(ctx, r.bucket)
	if err != nil {
		return err
	}
	files, err := named(m, "", all)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := storage.VerifyObject(ctx, r.bucket, f, r.Retry); err != nil {
			return err
		}
	}
	return nil
}

// restore begins with an empty folder and brings the newest whole state into it, and the metrics up to then.
func (r *run) restore(ctx context.Context) error {
	if err := r.clear(); err != nil || r.bucket == nil {
		return err
	}
	all, err := r.list(ctx, r.bucket)
	if err != nil {
		return err
	}
	for _, step := range stateSteps(all) {
		if ok, err := r.downloadWhole(ctx, all, stateFolder(step)); err != nil {
			return err
		} else if ok {
			break
		}
	}
	if _, err := r.downloadWhole(ctx, all, referenceFolder); err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(o storage.Object) bool { return o.Path == metrics.HistoryFile })
	if at < 0 {
		return nil
	}
	return r.download(ctx, all[at:at+1])
}

// downloadWhole brings a folder that has a manifest here, unless it is not whole or not there.
func (r *run) downloadWhole(ctx context.Context, all []storage.Object, folder string) (ok bool, err error) {
	if !slices.ContainsFunc(all, func(o storage.Object) bool { return strings.HasPrefix(o.Path, folder+"/") }) {
		return false, nil
	}
	files, err := r.stateFiles(ctx, all, folder+"/")
	if err == nil {
		err = r.download(ctx, files)
	}
	var torn *storage.DigestError
	if errors.As(err, &torn) || errors.Is(err, checkpoint.ErrFormat) || errors.Is(err, fs.ErrNotExist) {
		r.Log.Info("Passing over a state that is not whole", "uri", r.config.Output.URI+"/"+folder, "err", err.Error())
		return false, nil
	}
	return err == nil, err
}

// clear empties the folder to work in, where an earlier attempt may have been killed. Its lock stays.
func (r *run) clear() error {
	if r.bucket == nil {
		return nil
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != storage.LockFile {
			if err := os.RemoveAll(filepath.Join(r.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// download brings objects of the output into the run's folder: all of them or none.
func (r *run) download(ctx context.Context, objects []storage.Object) error {
	temp := filepath.Join(r.dir, storage.TempName("restore"))
	defer os.RemoveAll(temp)
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := storage.Download(ctx, r.bucket, objects, temp, r.Retry); err != nil {
		return err
	}
	folders := map[string]bool{}
	for _, o := range objects {
		folders[path.Dir(o.Path)] = true
	}
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		if folder == "." {
			for _, o := range objects {
				if err := os.Rename(filepath.Join(temp, o.Path), filepath.Join(r.dir, o.Path)); err != nil {
					return err
				}
			}
			continue
		}
		to := filepath.Join(r.dir, filepath.FromSlash(folder))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(temp, filepath.FromSlash(folder)), to); err != nil {
			return err
		}
	}
	return nil
}

// stateFiles are the files of a state, or of another folder that has a manifest, by that.
func (r *run) stateFiles(ctx context.Context, all []storage.Object, prefix string) ([]storage.Object, error) {
	at := slices.IndexFunc(all, func(o storage.Object) bool { return o.Path == prefix+checkpoint.ManifestFile })
	if at < 0 {
		return nil, fmt.Errorf("%s%s: %w", prefix, checkpoint.ManifestFile, fs.ErrNotExist)
	}
	b, err := storage.ReadAll(ctx, r.bucket, all[at], checkpoint.MaxManifest, r.Retry)
	if err != nil {
		return nil, err
	}
	m, err := checkpoint.ParseManifest(b)
	if err != nil {
		return nil, err
	}
	files, err := named(m, prefix, all)
	return append(files, all[at]), err
}

func stateFolder(step int) string {
	return path.Join(checkpoint.StateFolder, checkpoint.StateName(step))
}

// stateSteps are the steps of the states in a list, whole or not, newest first.
func stateSteps(all []storage.Object) (steps []int) {
	for _, o := range all {
		parts := strings.Split(o.Path, "/")
		if len(parts) < 3 || parts[0] != checkpoint.StateFolder {
			continue
		}
		if step, ok := checkpoint.StateStep(parts[1]); ok && !slices.Contains(steps, step) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps
}

// saved writes a state that was saved here to the store, and removes there what was removed here.
func (r *run) saved(ctx context.Context, step int) error {
	if r.bucket == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx) // a run that was told to end saves its state first
	if err := r.upload(ctx, stateFolder(step), metrics.HistoryFile); err != nil {
		return fmt.Errorf("output.uri: write state: %w", err)
	}
	all, err := r.list(ctx, r.bucket)
	if err != nil {
		return fmt.Errorf("output.uri: prune states: %w", err)
	}
	for _, old := range stateSteps(all) {
		if _, err := os.Stat(filepath.Join(r.dir, filepath.FromSlash(stateFolder(old)))); old < step && errors.Is(err, fs.ErrNotExist) {
			if err := r.delete(ctx, all, stateFolder(old)+"/"); err != nil {
				return fmt.Errorf("output.uri: prune states: %w", err)
			}
		}
	}
	return nil
}

// upload writes a folder of the run's to the store, and files beside it, its manifest last.
func (r *run) upload(ctx context.Context, folder string, beside ...string) error {
	dir := filepath.Join(r.dir, filepath.FromSlash(folder))
	m, _, err := checkpoint.ReadManifest(dir)
	if err != nil {
		return err
	}
	if err := storage.Upload(ctx, r.bucket, dir, names(m), folder+"/", r.Retry); err != nil {
		return err
	}
	if err := storage.Upload(ctx, r.bucket, r.dir, beside, "", r.Retry); err != nil {
		return err
	}
	return storage.Upload(ctx, r.bucket, dir, []string{checkpoint.ManifestFile}, folder+"/", r.Retry)
}

func names(m *checkpoint.Manifest) (list []string) {
	for _, f := range m.Files {
		list = append(list, f.Path)
	}
	return list
}

// delete removes what lies below a prefix, manifests first: half of something must not be taken for whole.
func (r *run) delete(ctx context.Context, all []storage.Object, prefix string) error {
	return deleteAll(ctx, r.bucket, all, prefix, r.Retry)
}

func deleteAll(ctx context.Context, bucket storage.Bucket, all []storage.Object, prefix string, retry storage.Retry) error {
	for _, manifests := range []bool{true, false} {
		for _, o := range all {
			if !strings.HasPrefix(o.Path, prefix) || manifests != (path.Base(o.Path) == checkpoint.ManifestFile) {
				continue
			}
			if err := retry.Do(ctx, func() (bool, error) { return false, bucket.Delete(ctx, o.Path) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// publishRemote writes the checkpoint in the run's folder to the store, the manifest last.
func (r *run) publishRemote(ctx context.Context, digest string) error {
	if r.bucket == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx) // as a publication to a claim, it is not interrupted half-way for a moment's gain
	m, _, err := checkpoint.ReadManifest(r.dir)
	if err != nil {
		return err
	}
	if err := storage.Upload(ctx, r.bucket, r.dir, names(m), "", r.Retry); err != nil {
		return err
	}
	err = storage.Create(ctx, r.bucket, filepath.Join(r.dir, checkpoint.ManifestFile), checkpoint.ManifestFile, r.Retry)
	if errors.Is(err, storage.ErrExists) {
		// Its own, whose answer was lost, or another trainer's.
		if _, there, e := r.readManifest(ctx); e != nil || there != digest {
			return fmt.Errorf("%w: another trainer has published %s (%w)", err, there, e)
		}
		err = nil
	}
	if err != nil {
		return err
	}
	all, err := r.list(ctx, r.bucket)
	if err == nil {
		err = r.delete(ctx, all, checkpoint.StateFolder+"/")
	}
	if err != nil { // the checkpoint stands without it
		r.Log.Error(err, "Removing resume state failed")
	}
	return nil
}

// leave writes what is for people to the store, and removes the folder that the run worked in.
func (r *run) leave(ctx context.Context) {
	if r.bucket == nil || !r.working {
		return
	}
	ctx = context.WithoutCancel(ctx)
	var rest []string
	err := filepath.WalkDir(r.dir, func(file string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(r.dir, file)
		switch {
		case err != nil:
			return err
		case d.IsDir() && rel == checkpoint.StateFolder, d.IsDir() && storage.IsTemp(d.Name()):
			return filepath.SkipDir
		case d.Type().IsRegular() && slices.Contains(forPeople, strings.Split(filepath.ToSlash(rel), "/")[0]):
			rest = append(rest, filepath.ToSlash(rel))
		}
		return nil
	})
	if err == nil && r.first() {
		err = storage.Upload(ctx, r.bucket, r.dir, rest, "", r.Retry)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Log.Error(err, "Writing report and metrics failed", "uri", r.config.Output.URI)
	}
	if err := os.RemoveAll(r.dir); err != nil {
		r.Log.Error(err, "Removing the run's folder failed", "dir", r.dir)
	}
}

// forPeople is what a run leaves beside its checkpoint.
var forPeople = []string{resultFile, reportFile, samplesFile, metrics.HistoryFile, metrics.TensorBoardFolder}
