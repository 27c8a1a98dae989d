package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

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
