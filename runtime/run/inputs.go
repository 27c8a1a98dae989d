package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// verifyInputs reads every input once, before anything expensive: it must exist and match
// its digest. The digests become part of the checkpoint's manifest.
func (r *run) verifyInputs(ctx context.Context) error {
	for _, s := range r.config.Sources() {
		if err := r.verifyFolder(ctx, s.Role, s.Field, s.Source); err != nil {
			return err
		}
	}
	for _, list := range r.config.Data.Lists() {
		for i, d := range list.Datasets {
			if err := r.verifyDataset(ctx, list.Role, fmt.Sprintf("data.%s[%d]", list.Role, i), d); err != nil {
				return err
			}
		}
	}
	return nil
}

// verifyFolder verifies a published checkpoint by its manifest, and the base of an adapter with it. A folder
// without one, as a hub has them, has the digest of its files; one of this machine is taken as it is when no digest is asked for.
func (r *run) verifyFolder(ctx context.Context, role, field string, s runconfig.Source) error {
	f, err := r.fetch(ctx, field, s.URI, s.Digest, r.chooseCheckpoint(ctx, s.Digest))
	if errors.Is(err, errNoManifest) { // the digest is that of its files
		f, err = r.fetch(ctx, field, s.URI, "", r.chooseCheckpoint(ctx, ""))
	}
	if err != nil {
		return err
	}
	dir, err := r.resolver.Path(s.URI)
	if err != nil {
		return invalidField(field+".uri", err)
	}
	if err := r.verifyManifest(role, field, dir, s, f); err != nil {
		return err
	}
	base, err := r.baseOf(field, dir, s)
	if err != nil || base == nil {
		return err
	}
	return r.verifyFolder(ctx, role+"Base", field+".base", *base)
}

func (r *run) verifyManifest(role, field, dir string, s runconfig.Source, f fetched) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return invalidData(field+".uri", fmt.Errorf("%s does not exist", s.URI))
	} else if err != nil {
		return invalidData(field+".uri", err)
	}
	_, digest, err := checkpoint.ReadManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if s.Digest != "" && f.digest == "" {
			return invalidData(field+".digest", fmt.Errorf("%s has no manifest.json to verify", s.URI))
		}
		if s.Digest != "" && f.digest != s.Digest {
			return fmt.Errorf("%s.digest: %w", field, &storage.DigestError{Path: s.URI, Want: s.Digest, Got: f.digest})
		}
		r.inputs = append(r.inputs, runconfig.Artifact{Role: role, URI: s.URI, Digest: f.digest, Commit: f.commit})
		return nil
	}
	if err != nil {
		return invalidData(field+".uri", err)
	}
	if s.Digest != "" {
		digest = s.Digest
	}
	m, err := checkpoint.Verify(dir, digest)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	r.parents = append(r.parents, checkpoint.Parent{URI: s.URI, Digest: digest, Manifest: m})
	if r.lineage, err = checkpoint.Lineage(r.parents); err != nil {
		return invalidData(field+".uri", err)
	}
	r.inputs = append(r.inputs, runconfig.Artifact{Role: role, URI: s.URI, Digest: digest, Commit: f.commit})
	return nil
}

func (r *run) verifyDataset(ctx context.Context, role, field string, d runconfig.Dataset) error {
	f, err := r.fetch(ctx, field, d.URI, d.Digest, chooseData(d.URI, d.Digest))
	if err != nil {
		return err
	}
	files, err := r.resolver.Expand(d.URI)
	if errors.Is(err, storage.ErrNoFiles) {
		return invalidData(field+".uri", err)
	}
	if err != nil {
		return invalidField(field+".uri", err)
	}
	var list strings.Builder // of several files
	var digest string
	for _, uri := range files {
		path, err := r.resolver.Path(uri)
		if err != nil {
			return invalidField(field+".uri", err)
		}
		digest, err = storage.DigestFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return invalidData(field+".uri", fmt.Errorf("%s does not exist", uri))
		}
		if err != nil {
			return invalidData(field+".uri", err)
		}
		fmt.Fprintf(&list, "%s  %s\n", strings.TrimPrefix(digest, "sha256:"), belowDataset(d.URI, uri))
	}
	if len(files) > 1 || files[0] != d.URI {
		digest = storage.Digest([]byte(list.String()))
	}
	if d.Digest != "" && d.Digest != digest {
		return fmt.Errorf("%s.digest: %w", field, &storage.DigestError{Path: d.URI, Want: d.Digest, Got: digest})
	}
	r.inputs = append(r.inputs, runconfig.Artifact{Role: role, URI: d.URI, Digest: digest, Commit: f.commit})
	return nil
}

// belowDataset is the path of one of a dataset's files below its folder: equal files in equal folders are equal
// data, wherever they are.
func belowDataset(dataset, file string) string {
	of := func(uri string) string {
		if u, err := url.Parse(uri); err == nil {
			return u.Path
		}
		return uri
	}
	dir := of(dataset)
	if strings.Contains(dir, "*") {
		dir = path.Dir(dir)
	}
	return strings.TrimPrefix(strings.TrimPrefix(of(file), strings.TrimSuffix(dir, "/")), "/")
}

// identity is what a resume state must match: the run hash, and the inputs as they were read.
func (r *run) identity() string {
	b, err := json.Marshal(struct {
		Hash   string
		Inputs []string
	}{r.hash, digests(r.inputs)})
	if err != nil {
		panic(err) // strings only
	}
	return storage.Digest(b)
}

func digests(list []runconfig.Artifact) (out []string) {
	for _, a := range list {
		out = append(out, a.Role+" "+a.Digest)
	}
	return out
}

// records streams datasets one after another. It goes on after a record that cannot be used, if its caller does.
func (r *run) records(list []runconfig.Dataset) iter.Seq2[data.Record, error] {
	return func(yield func(data.Record, error) bool) {
		for _, d := range list {
			files, err := r.resolver.Expand(d.URI)
			if err != nil {
				yield(data.Record{}, err)
				return
			}
			for _, d.URI = range files {
				path, err := r.resolver.Path(d.URI)
				if err != nil {
					yield(data.Record{}, err)
					return
				}
				for rec, err := range data.Read(path, d) {
					if !yield(rec, err) {
						return
					}
				}
			}
		}
	}
}

// dataError keeps what cannot be mended apart from a disk that failed to read.
func dataError(field string, err error) error {
	var bad *data.Error
	if errors.As(err, &bad) || errors.Is(err, data.ErrNoExamples) {
		return invalidData(field, err)
	}
	return fmt.Errorf("%s: %w", field, err)
}
