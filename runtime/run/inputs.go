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
	"path/filepath"
	"strings"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
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

// loadTokenizer loads the checkpoint's tokenizer, or the one that Init names or trains.
func (r *run) loadTokenizer() (*tokenizer.Tokenizer, error) {
	m := r.config.Model
	if m.Tokenizer == nil {
		return r.openTokenizer("model.uri", m.Source)
	}
	if m.Tokenizer.Train == nil {
		return r.openTokenizer("model.tokenizer.uri", m.Tokenizer.Source)
	}
	r.Log.Info("Training a tokenizer", "vocabSize", m.Tokenizer.Train.VocabSize)
	var bad error
	texts := func(yield func(string) bool) {
		for rec, err := range r.records(r.config.Data.Train) {
			if err != nil {
				bad = err
				return
			}
			for text := range rec.Texts() {
				if !yield(text) {
					return
				}
			}
		}
	}
	t, err := tokenizer.Train(texts, m.Tokenizer.Train.VocabSize, SpecialTokens())
	if bad != nil {
		return nil, dataError("data.train", bad)
	}
	if err != nil {
		return nil, invalidField("model.tokenizer.train", err)
	}
	return t, nil
}

// SpecialTokens are those of tokenizers trained here: end of text and padding. Padding is a
// token of its own: were it the end token, a model would never learn to end.
func SpecialTokens() []string { return []string{tokenizer.EndOfText, tokenizer.Padding} }

func (r *run) openTokenizer(field string, s runconfig.Source) (*tokenizer.Tokenizer, error) {
	dir, err := r.resolver.Path(s.URI)
	if err != nil {
		return nil, invalidField(field, err)
	}
	path := filepath.Join(dir, "tokenizer.json")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) { // an adapter may leave it to its base
		base, err := r.baseOf(strings.TrimSuffix(field, ".uri"), dir, s)
		if err != nil {
			return nil, err
		}
		if base != nil {
			return r.openTokenizer(field, *base)
		}
	}
	t, err := tokenizer.Load(path)
	if err != nil {
		return nil, invalidData(field, err)
	}
	return t, nil
}

// LoadModel reads a Hugging Face folder's config.json and weights; of an adapter in PEFT's format, those of the
// folder that its own config names, with the adapter added. ranks are model.Load's.
func LoadModel(dir string, dtype tensor.DType, device tensor.Device, ranks ...*distributed.Group) (*model.Model, error) {
	if adapter, err := isAdapter(dir); err != nil {
		return nil, err
	} else if adapter {
		return loadOnBase(dir, dtype, device, ranks...)
	}
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	w, err := checkpoint.OpenWeights(dir)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	return model.Load(c, dtype, device, func(name string) (string, []int64, []byte, error) {
		t, err := w.Read(name)
		return t.DType, t.Shape, t.Data, err
	}, ranks...)
}

func readConfig(dir string) (model.Config, error) {
	path := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return model.Config{}, err
	}
	return model.ParseConfig(path, b)
}

// loadPolicy loads or initialises the model that is trained, with what the run adds to it.
func (r *run) loadPolicy(t *tokenizer.Tokenizer, dtype tensor.DType, device tensor.Device) (*model.Model, error) {
	m, err := r.loadModel(t, dtype, device)
	if err != nil {
		return nil, err
	}
	r.mixPrecision(m)
	if r.config.Method == runconfig.RewardModel {
		m = m.WithScore(r.config.Seed)
	}
	if err := r.freeze("model", m); err != nil {
		return nil, err
	}
	return r.adapt(m)
}

func (r *run) loadModel(t *tokenizer.Tokenizer, dtype tensor.DType, device tensor.Device) (*model.Model, error) {
	m := r.config.Model
	if m.Init == nil {
		return r.openModel("model.uri", m.Source, t, dtype, device)
	}
	b, err := json.Marshal(withVocabulary(m.Init, t))
	if err != nil {
		return nil, invalidField("model.init", err)
	}
	c, err := model.ParseConfig("model.init", b)
	if err != nil {
		return nil, err
	}
	if c.VocabSize < t.VocabSize() {
		return nil, invalidField("model.init.vocab_size", fmt.Errorf("got %d, the tokenizer has %d tokens", c.VocabSize, t.VocabSize()))
	}
	if err := r.fits(c); err != nil {
		return nil, err
	}
	return model.New(c, dtype, device, r.config.Seed, r.sharding())
}

// sharding is the group that the weights are divided among; nil where each rank has all.
func (r *run) sharding() *distributed.Group {
	if r.config.Placement.Sharding == runconfig.ShardingFull {
		return r.group
	}
	return nil
}

// fits refuses examples that are longer than a model's learned positions.
func (r *run) fits(c model.Config) error {
	if n := c.LearnedPositions(); n > 0 && r.config.Data.MaxLength > n {
		return invalidField("data.maxLength", fmt.Errorf("got %d, the model has %d positions", r.config.Data.MaxLength, n))
	}
	return nil
}

// openModel loads a language model, openReward one with a score head.
func (r *run) openModel(field string, s runconfig.Source, t *tokenizer.Tokenizer, dtype tensor.DType, device tensor.Device) (*model.Model, error) {
	m, err := r.openAny(field, s, t, dtype, device)
	if err == nil && m.HasScore() {
		return nil, invalidData(field, fmt.Errorf("%s is a reward model, a language model is needed", s.URI))
	}
	return m, err
}

func (r *run) openReward(field string, s runconfig.Source, t *tokenizer.Tokenizer, dtype tensor.DType, device tensor.Device) (*model.Model, error) {
	m, err := r.openAny(field, s, t, dtype, device)
	if err == nil && !m.HasScore() {
		return nil, invalidData(field, fmt.Errorf("%s is a language model, a reward model is needed", s.URI))
	}
	return m, err
}

func (r *run) openAny(field string, s runconfig.Source, t *tokenizer.Tokenizer, dtype tensor.DType, device tensor.Device) (*model.Model, error) {
	dir, err := r.resolver.Path(s.URI)
	if err != nil {
		return nil, invalidField(field, err)
	}
	m, err := r.loadFolder(field, dir, s, dtype, device)
	if err != nil {
		return nil, err
	}
	if n := m.Config().VocabSize; n < t.VocabSize() {
		return nil, invalidData(field, fmt.Errorf("vocab_size is %d, the tokenizer has %d tokens", n, t.VocabSize()))
	}
	return m, r.fits(m.Config())
}

func (r *run) loadFolder(field, dir string, s runconfig.Source, dtype tensor.DType, device tensor.Device) (*model.Model, error) {
	base, err := r.baseOf(strings.TrimSuffix(field, ".uri"), dir, s)
	if err != nil {
		return nil, err
	}
	folder := dir
	if base != nil {
		if folder, err = r.resolver.Path(base.URI); err != nil {
			return nil, invalidField(field, err)
		}
	}
	m, err := LoadModel(folder, dtype, device, r.sharding())
	if err == nil && base != nil {
		m, err = loadAdapter(dir, m)
	}
	if err != nil {
		return nil, invalidData(field, err)
	}
	return m, nil
}

// withVocabulary completes an architecture with what follows from its tokenizer.
func withVocabulary(init map[string]any, t *tokenizer.Tokenizer) map[string]any {
	out := map[string]any{"model_type": "llama", "vocab_size": t.VocabSize()}
	for key, token := range map[string]func() (int32, bool){"bos_token_id": t.BOS, "eos_token_id": t.EOS, "pad_token_id": t.Pad} {
		if id, ok := token(); ok {
			out[key] = id
		}
	}
	for k, v := range init {
		out[k] = v
	}
	return out
}

// dataError keeps what cannot be mended apart from a disk that failed to read.
func dataError(field string, err error) error {
	var bad *data.Error
	if errors.As(err, &bad) || errors.Is(err, data.ErrNoExamples) {
		return invalidData(field, err)
	}
	return fmt.Errorf("%s: %w", field, err)
}
