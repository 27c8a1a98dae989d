package runconfig

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Formats are the data formats a Dataset can name.
var Formats = []string{"auto", "text", "prompt", "prompt-completion", "messages", "preference", "unpaired-preference", "ranked", "hh", "alpaca", "sharegpt", "tldr-comparison"}

// ColumnNames are the columns that a Dataset can rename.
var ColumnNames = []string{"text", "prompt", "completion", "messages", "chosen", "rejected", "label", "responses", "ranks", "instruction", "input", "output", "conversations"}

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

type problem struct{ field, message string }

// Validate says what is wrong with c, naming each field; nil if nothing is.
func (c *RunConfig) Validate() error {
	errs := c.problems()
	if len(errs) == 0 {
		return nil
	}
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = e.field + ": " + e.message
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(lines, "; "))
}

type checker []problem

func (p *checker) that(ok bool, field, format string, args ...any) {
	if !ok {
		*p = append(*p, problem{field, fmt.Sprintf(format, args...)})
	}
}

func (p *checker) oneOf(v, field string, allowed ...string) {
	p.that(slices.Contains(allowed, v), field, "got %q, want one of %s", v, strings.Join(allowed, ", "))
}

// between also refuses NaN and infinities, which YAML can spell.
func (p *checker) between(v, lo, hi float64, field string) {
	p.that(v >= lo && v <= hi && !math.IsInf(v, 0), field, "got %g, want %g to %g", v, lo, hi)
}

func (p *checker) positive(v float64, field string) {
	p.that(v > 0 && !math.IsInf(v, 0), field, "got %g, want a positive number", v)
}

func (p *checker) count(v, lo int, field string) {
	p.that(v >= lo, field, "got %d, want %d or more", v, lo)
}

func (p *checker) source(s Source, field string) {
	p.uri(s.URI, field+".uri")
	p.digest(s.Digest, field+".digest")
	if s.Base != nil {
		p.source(*s.Base, field+".base")
		p.that(s.Base.Base == nil, field+".base.base", "a base is a checkpoint, and no adapter")
	}
}

// Schemes are those of an input's URI, and OutputSchemes of an output's.
var (
	Schemes       = []string{"file", "pvc", "hf", "s3", "gs", "azblob"}
	OutputSchemes = []string{"file", "pvc", "s3", "gs", "azblob"}
)

// repository is the path of a hub's: organisation, name and revision, and what is in it.
var repository = regexp.MustCompile(`^hf://(datasets/)?[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@[^/@]+)?(/|$)`)

func (p *checker) uri(uri, field string, schemes ...string) {
	if len(schemes) == 0 {
		schemes = Schemes
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		p.that(false, field, "%v", err)
	case !slices.Contains(schemes, u.Scheme):
		p.that(false, field, "got %q, want file:///path or pvc://claim/path, or %s://", uri, strings.Join(schemes[2:], "://, "))
	case u.Scheme == "hf" && !repository.MatchString(uri):
		p.that(false, field, "got %q, want hf://organisation/name@revision/path or hf://datasets/organisation/name@revision/path", uri)
	case u.Scheme != "file" && u.Scheme != "pvc" && u.Host == "":
		p.that(false, field, "got %q, want a bucket: %s://bucket/path", uri, u.Scheme)
	case u.Scheme == "file" && (u.Host != "" || !path.IsAbs(u.Path)):
		p.that(false, field, "got %q, want three slashes and an absolute path: file:///path", uri)
	case u.Scheme == "pvc" && u.Host == "":
		p.that(false, field, "got %q, want a claim: pvc://claim/path", uri)
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		p.that(false, field, "got %q, want scheme, host and path only; write ? as %%3F and # as %%23", uri)
	case slices.Contains(strings.Split(u.Path, "/"), ".."):
		p.that(false, field, "got %q, which climbs out of its folder", uri)
	}
}

func (p *checker) digest(d, field string) {
	p.that(d == "" || digestPattern.MatchString(d), field, "got %q, want sha256: and 64 hex digits", d)
}

func (c *RunConfig) problems() []problem {
	var p checker
	p.that(c.Version == Version, "version", "got %d, want %d", c.Version, Version)
	p.oneOf(string(c.Method), "method", string(SFT), string(RewardModel), string(PPO), string(DPO), string(SimPO))
	c.checkModel(&p)
	c.checkData(&p)
	c.checkTraining(&p)
	c.checkLoRA(&p)
	c.checkObjective(&p)
	c.checkPPO(&p)
	if c.Method != SFT {
		p.that(c.Data.LossOn == "response", "data.lossOn", "got %q, only SFT has another than response", c.Data.LossOn)
		p.that(c.Model.Init == nil, "model.init", "%s starts from a checkpoint: set model.uri", c.Method)
	}
	if c.Method != DPO && c.Method != PPO {
		p.that(c.Reference == nil, "reference", "%s has none", c.Method)
	}
	p.that(c.Method == RewardModel || len(c.Data.Demonstrations) == 0, "data.demonstrations", "%s has none", c.Method)
	p.that(c.Method == PPO || len(c.Data.Pretraining) == 0, "data.pretraining", "%s has none", c.Method)
	if c.Reference != nil {
		p.source(*c.Reference, "reference")
	}
	p.count(c.Evaluation.EverySteps, 0, "evaluation.everySteps")
	p.count(c.Evaluation.MaxExamples, 0, "evaluation.maxExamples")
	p.count(c.Evaluation.Samples, 0, "evaluation.samples")
	p.count(c.Evaluation.MaxNewTokens, 1, "evaluation.maxNewTokens")
	p.count(c.Checkpoint.EverySteps, 0, "checkpoint.everySteps")
	p.count(c.Checkpoint.KeepLast, 1, "checkpoint.keepLast")
	c.checkStop(&p)
	p.uri(c.Output.URI, "output.uri", OutputSchemes...)
	p.that(c.Placement.CacheLimit >= 0, "placement.cacheLimit", "got %d, want 0 or more", c.Placement.CacheLimit)
	c.checkPlacement(&p)
	return p
}

func (c *RunConfig) checkPlacement(p *checker) {
	l := c.Placement
	p.oneOf(l.Device, "placement.device", "auto", "cpu", "cuda")
	p.count(l.Threads, 0, "placement.threads")
	p.count(l.Nodes, 0, "placement.nodes")
	p.count(l.ProcessesPerNode, 0, "placement.processesPerNode")
	if l.Rendezvous != "" || l.Nodes > 1 {
		host, port, err := net.SplitHostPort(l.Rendezvous)
		n, perr := strconv.ParseUint(port, 10, 16)
		p.that(err == nil && perr == nil && host != "" && n > 0, "placement.rendezvous", "got %q, want host:port of node 0", l.Rendezvous)
	}
	if l.Sharding != "" {
		p.oneOf(l.Sharding, "placement.sharding", ShardingNone, ShardingFull)
	}
}

func (c *RunConfig) checkModel(p *checker) {
	m := c.Model
	p.that((m.URI == "") != (m.Init == nil), "model", "set one of uri and init")
	if m.URI != "" {
		p.source(m.Source, "model")
	} else {
		p.that(m.Digest == "", "model.digest", "goes with uri")
		p.that(m.Base == nil, "model.base", "goes with uri")
	}
	if m.Init != nil {
		p.that(m.Tokenizer != nil, "model.tokenizer", "is needed with init")
	}
	if t := m.Tokenizer; t != nil {
		p.that((t.URI == "") != (t.Train == nil), "model.tokenizer", "set one of uri and train")
		if t.URI != "" {
			p.source(t.Source, "model.tokenizer")
		} else {
			p.that(t.Digest == "", "model.tokenizer.digest", "goes with uri")
		}
		p.that(t.Base == nil, "model.tokenizer.base", "a tokenizer has none")
		if t.Train != nil {
			p.that(m.Init != nil, "model.tokenizer.train", "goes with init only: a checkpoint has its tokenizer")
			p.that(t.Train.VocabSize >= 260 && t.Train.VocabSize <= 1<<20, "model.tokenizer.train.vocabSize", "got %d, want 260 to %d", t.Train.VocabSize, 1<<20)
		}
	}
}

func (c *RunConfig) checkData(p *checker) {
	d := c.Data
	p.that(len(d.Train) > 0, "data.train", "is empty")
	for _, list := range d.lists() {
		for i, s := range *list.datasets {
			f := fmt.Sprintf("%s[%d]", list.field, i)
			p.uri(s.URI, f+".uri")
			p.digest(s.Digest, f+".digest")
			p.oneOf(s.Format, f+".format", Formats...)
			if s.Weight != nil {
				p.that(list.drawn, f+".weight", "goes with what is trained on: data.train and data.pretraining")
				p.that(*s.Weight > 0 && *s.Weight <= 1000, f+".weight", "got %g, want above 0 to 1000", *s.Weight)
			}
			for k := range s.Columns {
				p.oneOf(k, f+".columns", ColumnNames...)
			}
		}
	}
	p.between(d.EvalFraction, 0, 0.5, "data.evalFraction")
	p.count(d.MaxLength, 2, "data.maxLength")
	p.that(d.MaxPromptLength >= 0 && d.MaxPromptLength < d.MaxLength, "data.maxPromptLength", "got %d, want 0 to below maxLength", d.MaxPromptLength)
	p.oneOf(d.LossOn, "data.lossOn", "response", "all")
	p.that(!d.Packing || c.Method == SFT, "data.packing", "goes with method SFT")
}

func (c *RunConfig) checkTraining(p *checker) {
	t := c.Training
	p.that(t.MaxSteps >= 0, "training.maxSteps", "got %d, want 0 or more", t.MaxSteps)
	p.that(t.MaxSteps > 0 || (t.Epochs > 0 && !math.IsInf(t.Epochs, 0)), "training.epochs", "got %g, want a positive number", t.Epochs)
	p.count(t.BatchSize, 1, "training.batchSize")
	p.that(t.MicroBatchSize >= 1 && t.BatchSize%max(t.MicroBatchSize, 1) == 0, "training.microBatchSize", "got %d, which does not divide batchSize %d", t.MicroBatchSize, t.BatchSize)
	p.count(t.FreezeLayers, 0, "training.freezeLayers")
	p.positive(t.LearningRate, "training.learningRate")
	p.oneOf(t.Schedule, "training.schedule", "cosine", "linear", "constant")
	p.count(t.WarmupSteps, 0, "training.warmupSteps")
	p.between(t.WarmupRatio, 0, 1, "training.warmupRatio")
	p.between(t.MinLearningRateRatio, 0, 1, "training.minLearningRateRatio")
	p.between(t.WeightDecay, 0, math.MaxFloat64, "training.weightDecay")
	p.that(t.Beta1 >= 0 && t.Beta1 < 1, "training.beta1", "got %g, want 0 to below 1", t.Beta1)
	p.that(t.Beta2 >= 0 && t.Beta2 < 1, "training.beta2", "got %g, want 0 to below 1", t.Beta2)
	p.positive(t.Epsilon, "training.epsilon")
	p.between(t.MaxGradNorm, 0, math.MaxFloat64, "training.maxGradNorm")
	p.oneOf(t.Precision, "training.precision", "float32", "float64", "bfloat16")
	p.count(t.LogSteps, 1, "training.logSteps")
}

type datasetList struct {
	field    string
	datasets *[]Dataset
	drawn    bool // by weight
}

// lists are all datasets, by their field.
func (d *Data) lists() []datasetList {
	return []datasetList{{"data.train", &d.Train, true}, {"data.eval", &d.Eval, false}, {"data.demonstrations", &d.Demonstrations, false}, {"data.pretraining", &d.Pretraining, true}}
}
