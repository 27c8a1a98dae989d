package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
)

// Config is an architecture: what training needs of a config.json. The names there are the family's own, GPT-2's
// HiddenSize is n_embd; the files of the families have them.
type Config struct {
	// ModelType is the family: llama, which "" stands for, mistral, qwen2, qwen3, gpt2 or gpt_neox.
	ModelType string
	// Architectures is transformers' class: nothing or, of Llama, LlamaForCausalLM for a policy,
	// LlamaForSequenceClassification for a model with a score head.
	Architectures         []string
	VocabSize             int
	HiddenSize            int
	IntermediateSize      int
	NumHiddenLayers       int
	NumAttentionHeads     int
	NumKeyValueHeads      int // NumAttentionHeads in GPT-2 and GPT-NeoX
	HeadDim               int
	RMSNormEps            float64 // LayerNorm's in GPT-2 and GPT-NeoX
	RopeTheta             float64
	RotaryFraction        float64 // of a head's dimensions, those that turn with the position; 0 is all. GPT-NeoX
	MaxPositionEmbeddings int
	TieWordEmbeddings     bool
	AttentionBias         bool
	MLPBias               bool   // Llama
	HiddenAct             string // one of activations; "" is silu
	ParallelResidual      bool   // GPT-NeoX
	// SlidingWindow is how many positions a token sees, its own among them; 0 is all.
	SlidingWindow    Window
	UseSlidingWindow bool     // Qwen: SlidingWindow counts
	MaxWindowLayers  int      // Qwen: from this layer on,
	LayerTypes       []string // or, if given, where this says sliding_attention
	// UnscaledAttention and ScaleByLayer are GPT-2's: scores are not divided by the root of HeadDim; they are
	// divided by the layer's number, from 1.
	UnscaledAttention, ScaleByLayer bool
	// InitializerRange is the standard deviation of New's weights.
	InitializerRange float64
	BOSTokenID       *int32
	EOSTokenID       TokenIDs
	PadTokenID       *int32
	// RewardShift is added to what the score head gives; transformers ignores it. 0 without such a head.
	RewardShift float64
	// DType replaces the type of weights, float32 or bfloat16, that config.json names; "" leaves it.
	DType string
	// Other has the fields that nothing here reads, for JSON to write them back. Dropout is among them: nothing is
	// dropped in training here.
	Other map[string]json.RawMessage

	rope rope
}

// scoreSuffix ends transformers' names of models with a scalar head in place of the vocabulary's, for rewards and values.
const scoreSuffix = "ForSequenceClassification"

// HasScore says that the head is the scalar one.
func (c Config) HasScore() bool {
	return slices.ContainsFunc(c.Architectures, func(a string) bool { return strings.HasSuffix(a, scoreSuffix) })
}

// TokenIDs is one id or a list of them in JSON, as Hugging Face writes eos_token_id.
type TokenIDs []int32

// UnmarshalJSON reads null, a number or a list of numbers.
func (t *TokenIDs) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && (b[0] == '[' || b[0] == 'n') {
		return json.Unmarshal(b, (*[]int32)(t))
	}
	*t = make(TokenIDs, 1)
	return json.Unmarshal(b, &(*t)[0])
}

// MarshalJSON writes a single id as a number, none as null.
func (t TokenIDs) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]int32(t))
}

// Window is a number of positions in JSON, or null for 0: no window.
type Window int

// UnmarshalJSON reads null or a number.
func (w *Window) UnmarshalJSON(b []byte) error {
	*w = 0
	return json.Unmarshal(b, (*int)(w))
}

// MarshalJSON writes 0 as null.
func (w Window) MarshalJSON() ([]byte, error) {
	if w == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(int(w))
}

// not is a flag that JSON has the other way round.
type not struct{ flag *bool }

func (n not) UnmarshalJSON(b []byte) error {
	on := !*n.flag
	err := json.Unmarshal(b, &on)
	*n.flag = !on
	return err
}

func (n not) MarshalJSON() ([]byte, error) { return json.Marshal(!*n.flag) }

// copied is a number that config.json has under two names: it is read under the other.
type copied struct{ from *int }

func (copied) UnmarshalJSON([]byte) error { return nil }

func (c copied) MarshalJSON() ([]byte, error) { return json.Marshal(*c.from) }

// ErrConfig is what every error of ParseConfig wraps.
var ErrConfig = errors.New("invalid model config")

// ParseConfig reads a config.json. name stands for the file in errors. Fields that would change the
// computation in a way this package doesn't know are errors.
func ParseConfig(name string, b []byte) (Config, error) {
	var c Config
	fail := func(field string, err error) (Config, error) {
		var te *json.UnmarshalTypeError
		if errors.As(err, &te) {
			err = fmt.Errorf("got a %s, want %s", te.Value, te.Type)
		}
		return Config{}, fmt.Errorf("%w: %s: %s: %w", ErrConfig, name, field, err)
	}
	if err := json.Unmarshal(b, &c.Other); err != nil {
		return Config{}, fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
	}
	for key, value := range c.Other {
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err != nil {
			return fail(key, err)
		}
		c.Other[key] = compact.Bytes()
	}
	if err := json.Unmarshal(c.Other["model_type"], &c.ModelType); len(c.Other["model_type"]) > 0 && err != nil {
		return fail("model_type", err)
	}
	f := c.family()
	if f == nil || c.ModelType == "" {
		return fail("model_type", fmt.Errorf("got %q, this trainer knows %s", c.ModelType, modelTypes()))
	}
	c.InitializerRange = 0.02
	f.defaults(&c)
	for _, field := range c.fields() {
		value, ok := c.Other[field.name]
		if string(value) == "null" {
			field.clear()
		} else if ok {
			if err := json.Unmarshal(value, field.to); err != nil {
				return fail(field.name, err)
			}
		}
	}
	if field, err := c.readOther(); err != nil {
		return fail(field, err)
	}
	if len(c.EOSTokenID) == 0 {
		c.EOSTokenID = nil
	}
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		if c.HiddenSize%c.NumAttentionHeads != 0 {
			return fail(c.nameOf(&c.HiddenSize), fmt.Errorf("%d is not a multiple of %s %d", c.HiddenSize, c.nameOf(&c.NumAttentionHeads), c.NumAttentionHeads))
		}
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	if c.IntermediateSize == 0 && f.innerFactor > 0 && c.HiddenSize > 0 {
		c.IntermediateSize = f.innerFactor * c.HiddenSize
	}
	if field, err := c.readRope(); err != nil {
		return fail(field, err)
	}
	if field, message := c.problem(); field != "" {
		return fail(field, errors.New(message))
	}
	c.Architectures = []string{c.architecture()}
	for _, field := range c.fields() {
		if string(field.json()) != "null" { // null stays where it was
			delete(c.Other, field.name)
		}
	}
	written := []string{"model_type", "architectures"}
	if c.HasScore() {
		written = append(written, "num_labels", "id2label", "label2id")
	}
	for _, name := range written {
		delete(c.Other, name)
	}
	if len(c.Other) == 0 {
		c.Other = nil
	}
	return c, nil
}

// fields are those of config.json that c has, its family's own first.
func (c *Config) fields() []field {
	return append(c.family().fields(c),
		field{"vocab_size", &c.VocabSize}, field{"tie_word_embeddings", &c.TieWordEmbeddings}, field{"initializer_range", &c.InitializerRange},
		field{"bos_token_id", &c.BOSTokenID}, field{"eos_token_id", &c.EOSTokenID}, field{"pad_token_id", &c.PadTokenID},
		field{"reward_shift", &c.RewardShift})
}

// field is a field of config.json.
type field struct {
	name string
	to   any // a pointer into a Config
}

// clear sets the zero value; a flag that JSON has the other way round stays as it is.
func (f field) clear() {
	if _, ok := f.to.(*not); !ok {
		reflect.ValueOf(f.to).Elem().SetZero()
	}
}

func (f field) json() json.RawMessage {
	b, err := json.Marshal(f.to)
	if err != nil { // numbers and strings always marshal, unless not finite, which problem excludes
		panic(err)
	}
	return b
}

// nameOf is the name in config.json of the field that to points to.
func (c *Config) nameOf(to any) string {
	for _, f := range c.fields() {
		if f.to == to {
			return f.name
		}
	}
	return "head_dim" // the only one that some families lack
}

// readOther checks the fields of Other that must not say something unknown to this package.
func (c *Config) readOther() (field string, err error) {
	if b := c.Other["quantization_config"]; len(b) > 0 && string(b) != "null" {
		return "quantization_config", errors.New("quantised checkpoints are not supported")
	}
	if string(c.Other["add_cross_attention"]) == "true" {
		return "add_cross_attention", errors.New("got true, only false is supported")
	}
	if b := c.Other["architectures"]; len(b) > 0 {
		if err := json.Unmarshal(b, &c.Architectures); err != nil {
			return "architectures", err
		}
	}
	f := c.family()
	for _, a := range c.Architectures {
		if a != f.causal && a != f.name+scoreSuffix && a != f.name+"Model" {
			return "architectures", fmt.Errorf("got %q, this trainer knows %q and %q of %s", a, f.causal, f.name+scoreSuffix, c.ModelType)
		}
		if a != c.Architectures[0] {
			return "architectures", fmt.Errorf("got %q, want one", c.Architectures)
		}
	}
	if !c.HasScore() {
		return "", nil
	}
	labels := 2 // transformers' default
	var byID map[string]any
	if b := c.Other["id2label"]; len(b) > 0 && string(b) != "null" {
		err = json.Unmarshal(b, &byID) // transformers takes their number from it before num_labels
		labels = len(byID)
	} else if b := c.Other["num_labels"]; len(b) > 0 {
		err = json.Unmarshal(b, &labels)
	}
	if err == nil && labels != 1 {
		err = fmt.Errorf("got %d, want 1: a score", labels)
	}
	return "num_labels", err
}

// problem names the first field with an impossible value.
func (c *Config) problem() (field, message string) {
	const limit = 1 << 24 // keeps products of two sizes far from overflow
	if c.family() == nil {
		return "model_type", fmt.Sprintf("got %q, this trainer knows %s", c.ModelType, modelTypes())
	}
	for _, size := range []*int{
		&c.VocabSize, &c.HiddenSize, &c.IntermediateSize, &c.NumHiddenLayers, &c.NumAttentionHeads, &c.NumKeyValueHeads, &c.HeadDim,
		&c.MaxPositionEmbeddings,
	} {
		if *size < 1 || *size > limit {
			return c.nameOf(size), fmt.Sprintf("got %d, want 1 to %d", *size, limit)
		}
	}
	f := c.family()
	rotary := c.rotaryDims()
	switch {
	case c.NumAttentionHeads%c.NumKeyValueHeads != 0:
		return "num_key_value_heads", fmt.Sprintf("%d doesn't divide num_attention_heads %d", c.NumKeyValueHeads, c.NumAttentionHeads)
	case f.fused && (c.NumKeyValueHeads != c.NumAttentionHeads || c.NumAttentionHeads*c.HeadDim != c.HiddenSize):
		return c.nameOf(&c.HiddenSize), fmt.Sprintf("got %d, want the heads' dimensions together, %d", c.HiddenSize, c.NumAttentionHeads*c.HeadDim)
	case rotary%2 != 0 || rotary < 0 || rotary > c.HeadDim:
		return "head_dim", fmt.Sprintf("%d dimensions of %d turn, rotary positions need an even number of them", rotary, c.HeadDim)
	case !(c.RMSNormEps > 0):
		return c.nameOf(&c.RMSNormEps), fmt.Sprintf("got %g, want above 0", c.RMSNormEps)
	case rotary > 0 && !(c.RopeTheta > 0):
		return c.nameOf(&c.RopeTheta), fmt.Sprintf("got %g, want above 0", c.RopeTheta)
	case !(c.InitializerRange >= 0):
		return "initializer_range", fmt.Sprintf("got %g, want 0 or more", c.InitializerRange)
	case c.activation() == nil:
		return c.nameOf(&c.HiddenAct), fmt.Sprintf("got %q, this trainer knows %q", c.HiddenAct, slices.Sorted(maps.Keys(activations)))
	case c.SlidingWindow < 0:
		return "sliding_window", fmt.Sprintf("got %d, want 1 or more, or null", c.SlidingWindow)
	case c.LayerTypes != nil && len(c.LayerTypes) != c.NumHiddenLayers:
		return "layer_types", fmt.Sprintf("got %d, want num_hidden_layers %d", len(c.LayerTypes), c.NumHiddenLayers)
	case c.RewardShift != 0 && !c.HasScore():
		return "reward_shift", fmt.Sprintf("got %g, want 0 without a score head", c.RewardShift)
	case math.IsNaN(c.RewardShift) || math.IsInf(c.RewardShift, 0):
		return "reward_shift", fmt.Sprintf("got %g, want a finite number", c.RewardShift)
	}
	for _, t := range c.LayerTypes {
		if t != fullAttention && t != slidingAttention {
			return "layer_types", fmt.Sprintf("got %q, this trainer knows %q and %q", t, fullAttention, slidingAttention)
		}
	}
	return "", ""
}

func (c *Config) architecture() string {
	if c.HasScore() {
		return c.family().name + scoreSuffix
	}
	return c.family().causal
}

// JSON is the config.json that transformers loads as the class that Architectures names.
func (c Config) JSON() []byte {
	out := maps.Clone(c.Other)
	if out == nil {
		out = map[string]json.RawMessage{}
	}
	for _, f := range c.fields() {
		if b := f.json(); string(b) != "null" {
			out[f.name] = b
		}
	}
	out["model_type"] = field{to: c.family().modelType}.json()
	out["architectures"] = field{to: []string{c.architecture()}}.json()
	if c.HasScore() { // one label; transformers would make it two
		out["id2label"], out["label2id"] = json.RawMessage(`{"0":"score"}`), json.RawMessage(`{"score":0}`)
		delete(out, "num_labels")
	}
	if c.RewardShift == 0 {
		delete(out, "reward_shift")
	}
	if c.DType != "" {
		name := "torch_dtype"
		if _, ok := out["dtype"]; ok { // the newer one
			name = "dtype"
		}
		out[name] = field{to: c.DType}.json()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil { // each value is valid JSON
		panic(err)
	}
	return b.Bytes()
}

// NumParameters counts the weights that New makes.
func (c Config) NumParameters() int64 {
	var n int64
	for _, s := range c.specs() {
		n += size(s.shape)
	}
	return n
}

// NumLinear counts the weights of the blocks' matrices: a forward multiplies each token with them.
func (c Config) NumLinear() (n int64) {
	linear := c.linearModules()
	for _, s := range c.specs() {
		if name, ok := strings.CutSuffix(s.name, ".weight"); ok && slices.Contains(linear, name) {
			n += size(s.shape)
		}
	}
	return n
}
