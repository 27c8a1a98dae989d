package run

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/data/inspect"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// Inspect says what is in a run's data, encoded as Run would. Of c it needs a method, data and a tokenizer;
// without a method each record is encoded as what its format is made for. It fetches and loads no weights and needs no device.
func Inspect(ctx context.Context, c *runconfig.RunConfig, env Environment, o inspect.Options) (*inspect.Report, error) {
	r := newRun(c, env)
	if err := r.fetchTexts(ctx); err != nil {
		return nil, err
	}
	tok, err := r.loadTokenizer()
	if err != nil {
		return nil, err
	}
	e := r.encoder(tok)
	main := *e
	if c.PPO != nil {
		main.MaxLength -= c.PPO.MaxNewTokens
	}
	o.Seed = c.Seed
	var sources []inspect.Source
	add := func(role string, use inspect.Use, e data.Encoder, list []runconfig.Dataset) {
		if len(list) == 0 {
			return
		}
		s := inspect.Source{Role: role, Use: use, Encoder: e}
		for _, d := range list {
			s.Datasets = append(s.Datasets, inspect.Dataset{URI: d.URI, Weight: weight(d), Records: r.records([]runconfig.Dataset{d})})
		}
		sources = append(sources, s)
	}
	add("train", useOf(c), main, c.Data.Train)
	add("eval", useOf(c), main, c.Data.Eval)
	add("demonstrations", inspect.Sequences, *e, c.Data.Demonstrations)
	add("pretraining", inspect.Sequences, *e, c.Data.Pretraining)
	if len(c.Data.Eval) == 0 {
		sources[0].HoldOut = c.Data.EvalFraction
	}
	report, err := inspect.Inspect(sources, o)
	if err != nil {
		return nil, dataError("data", err)
	}
	return report, nil
}

// fetchTexts brings data and tokenizer here.
func (r *run) fetchTexts(ctx context.Context) error {
	c := r.config
	source, field := c.Model.Source, "model"
	if t := c.Model.Tokenizer; t != nil {
		source, field = t.Source, "model.tokenizer"
	}
	// Without the digest, which is that of the whole checkpoint.
	if source.URI != "" {
		if _, err := r.fetch(ctx, field, source.URI, "", chooseTokenizer); err != nil {
			return err
		}
	}
	for _, list := range c.Data.Lists() {
		for i, d := range list.Datasets {
			if _, err := r.fetch(ctx, fmt.Sprintf("data.%s[%d]", list.Role, i), d.URI, d.Digest, chooseData(d.URI, d.Digest)); err != nil {
				return err
			}
		}
	}
	return nil
}

// chooseTokenizer takes what a loader reads of a checkpoint, without its weights.
func chooseTokenizer(_ storage.Remote, all []storage.Object) ([]storage.Object, error) {
	all = slices.DeleteFunc(slices.Clone(all), func(o storage.Object) bool { return !loaded(o.Path) || path.Ext(o.Path) == ".safetensors" })
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: it has no tokenizer.json", fs.ErrNotExist)
	}
	return all, nil
}

// encoder makes tokens of examples as the run says.
func (r *run) encoder(tok *tokenizer.Tokenizer) *data.Encoder {
	d := r.config.Data
	return &data.Encoder{Tokenizer: tok, MaxLength: d.MaxLength, MaxPromptLength: d.MaxPromptLength, LossOn: d.LossOn}
}

// useOf is what plan encodes the training data as.
func useOf(c *runconfig.RunConfig) inspect.Use {
	kind := ""
	if c.Objective != nil {
		kind = c.Objective.Type
	}
	switch {
	case c.Method == runconfig.SFT:
		return inspect.Sequences
	case c.Method == runconfig.RewardModel || kind == "RRHF":
		return inspect.Ranked
	case c.Method == runconfig.PPO:
		return inspect.Prompts
	case kind == "KTO":
		return inspect.Unpaired
	case c.Method == runconfig.DPO || c.Method == runconfig.SimPO:
		return inspect.Pairs
	}
	return inspect.Natural
}
