package run

import (
	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/data/inspect"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// Inspect says what is in a run's data, encoded as Run would. Of c it needs a method, data and a tokenizer;
// without a method each record is encoded as what its format is made for. It loads no weights and needs no device.
func Inspect(c *runconfig.RunConfig, env Environment, o inspect.Options) (*inspect.Report, error) {
	r := newRun(c, env)
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
	sources := []inspect.Source{{Role: "train", Use: useOf(c), Encoder: main, Records: r.records(c.Data.Train)}}
	if len(c.Data.Eval) > 0 {
		sources = append(sources, inspect.Source{Role: "eval", Use: useOf(c), Encoder: main, Records: r.records(c.Data.Eval)})
	} else {
		sources[0].HoldOut = c.Data.EvalFraction
	}
	if len(c.Data.Demonstrations) > 0 {
		sources = append(sources, inspect.Source{Role: "demonstrations", Use: inspect.Sequences, Encoder: *e, Records: r.records(c.Data.Demonstrations)})
	}
	if len(c.Data.Pretraining) > 0 {
		sources = append(sources, inspect.Source{Role: "pretraining", Use: inspect.Sequences, Encoder: *e, Records: r.records(c.Data.Pretraining)})
	}
	report, err := inspect.Inspect(sources, o)
	if err != nil {
		return nil, dataError("data", err)
	}
	return report, nil
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
