package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// The architectures, by transformers' names: a policy, and a model with a scalar head in place of the
// vocabulary's, for rewards and values.
const (
	languageModel = "LlamaForCausalLM"
	scoreModel    = "LlamaForSequenceClassification"
)

// Config is an architecture, under the names of Hugging Face's config.json for Llama.
type Config struct {
	// Architectures is nothing or LlamaForCausalLM for a policy, LlamaForSequenceClassification for a
	// model with a score head.
	Architectures         []string `json:"architectures,omitempty"`
	ModelType             string   `json:"model_type"`
	VocabSize             int      `json:"vocab_size"`
	HiddenSize            int      `json:"hidden_size"`
	IntermediateSize      int      `json:"intermediate_size"`
	NumHiddenLayers       int      `json:"num_hidden_layers"`
	NumAttentionHeads     int      `json:"num_attention_heads"`
	NumKeyValueHeads      int      `json:"num_key_value_heads"`
	HeadDim               int      `json:"head_dim"`
	RMSNormEps            float64  `json:"rms_norm_eps"`
	RopeTheta             float64  `json:"rope_theta"`
	MaxPositionEmbeddings int      `json:"max_position_embeddings"`
	TieWordEmbeddings     bool     `json:"tie_word_embeddings"`
	AttentionBias         bool     `json:"attention_bias"`
	HiddenAct             string   `json:"hidden_act"`
	// InitializerRange is the standard deviation of New's weights.
	InitializerRange float64  `json:"initializer_range"`
	BOSTokenID       *int32   `json:"bos_token_id,omitempty"`
	EOSTokenID       TokenIDs `json:"eos_token_id,omitempty"`
	PadTokenID       *int32   `json:"pad_token_id,omitempty"`
	// RewardShift is added to what the score head gives; transformers ignores it. 0 without such a head.
	RewardShift float64 `json:"reward_shift,omitempty"`
}

// HasScore says that the head is the scalar one.
func (c Config) HasScore() bool { return slices.Contains(c.Architectures, scoreModel) }

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

// MarshalJSON writes a single id as a number.
func (t TokenIDs) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]int32(t))
}

// ErrConfig is what every error of ParseConfig wraps.
var ErrConfig = errors.New("invalid model config")

// ParseConfig reads a config.json. name stands for the file in errors. Fields that would change the
// computation in a way this package doesn't know are errors; others that it doesn't read are ignored.
func ParseConfig(name string, b []byte) (Config, error) {
	c := Config{ // the defaults of transformers' LlamaConfig
		RMSNormEps: 1e-6, RopeTheta: 10000, MaxPositionEmbeddings: 2048, HiddenAct: "silu", InitializerRange: 0.02,
	}
	if err := json.Unmarshal(b, &c); err != nil {
		var te *json.UnmarshalTypeError
		if errors.As(err, &te) {
			return Config{}, fmt.Errorf("%w: %s: %s: got a %s, want %s", ErrConfig, name, te.Field, te.Value, te.Type)
		}
		return Config{}, fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
	}
	fail := func(field, format string, args ...any) (Config, error) {
		return Config{}, fmt.Errorf("%w: %s: %s: %s", ErrConfig, name, field, fmt.Sprintf(format, args...))
	}
	var other struct {
		RopeScaling    json.RawMessage `json:"rope_scaling"`
		RopeParameters json.RawMessage `json:"rope_parameters"`
		Quantization   json.RawMessage `json:"quantization_config"`
		MLPBias        bool            `json:"mlp_bias"`
		Dropout        float64         `json:"attention_dropout"`
		SlidingWindow  *int            `json:"sliding_window"`
		NumLabels      *int            `json:"num_labels"`
		Labels         map[string]any  `json:"id2label"` // transformers takes their number from it before num_labels
	}
	if err := json.Unmarshal(b, &other); err != nil {
		return Config{}, fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
	}
	if c.ModelType != "llama" {
		return fail("model_type", "got %q, this trainer knows %q", c.ModelType, "llama")
	}
	for _, a := range c.Architectures {
		if a != languageModel && a != scoreModel {
			return fail("architectures", "got %q, this trainer knows %q and %q", a, languageModel, scoreModel)
		}
		if a != c.Architectures[0] {
			return fail("architectures", "got %q, want one", c.Architectures)
		}
	}
	if c.HasScore() {
		labels := 2 // transformers' default
		switch {
		case other.Labels != nil:
			labels = len(other.Labels)
		case other.NumLabels != nil:
			labels = *other.NumLabels
		}
		if labels != 1 {
			return fail("num_labels", "got %d, want 1: a score", labels)
		}
	}
	for _, rope := range []struct {
		field string
		value json.RawMessage
	}{{"rope_scaling", other.RopeScaling}, {"rope_parameters", other.RopeParameters}} {
		theta, err := plainRope(rope.value)
		if err != nil {
			return fail(rope.field, "%v", err)
		}
		if theta != 0 {
			c.RopeTheta = theta
		}
	}
	switch {
	case len(other.Quantization) > 0 && string(other.Quantization) != "null":
		return fail("quantization_config", "quantised checkpoints are not supported")
	case other.MLPBias:
		return fail("mlp_bias", "got true, only false is supported")
	case other.Dropout != 0:
		return fail("attention_dropout", "got %g, only 0 is supported", other.Dropout)
	case other.SlidingWindow != nil:
		return fail("sliding_window", "got %d, only null is supported", *other.SlidingWindow)
	case c.HiddenAct != "silu":
		return fail("hidden_act", "got %q, only silu is supported", c.HiddenAct)
	}
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		if c.HiddenSize%c.NumAttentionHeads != 0 {
			return fail("hidden_size", "%d is not a multiple of num_attention_heads %d", c.HiddenSize, c.NumAttentionHeads)
		}
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	if field, message := c.problem(); field != "" {
		return fail(field, "%s", message)
	}
	c.Architectures = []string{c.architecture()}
	if len(c.EOSTokenID) == 0 {
		c.EOSTokenID = nil
	}
	return c, nil
}

// plainRope accepts rotary positions without scaling; it returns their theta, or 0.
func plainRope(b json.RawMessage) (theta float64, err error) {
	var rope *struct {
		Type     string  `json:"type"`
		RopeType string  `json:"rope_type"`
		Theta    float64 `json:"rope_theta"`
	}
	if len(b) == 0 {
		return 0, nil
	}
	if err := json.Unmarshal(b, &rope); err != nil {
		return 0, err
	}
	if rope == nil {
		return 0, nil
	}
	for _, t := range []string{rope.Type, rope.RopeType} {
		if t != "" && t != "default" {
			return 0, fmt.Errorf("type %q is not supported, only default", t)
		}
	}
	return rope.Theta, nil
}

// problem names the first field with an impossible value.
func (c Config) problem() (field, message string) {
	const limit = 1 << 24 // keeps products of two sizes far from overflow
	for _, f := range []struct {
		name  string
		value int
	}{
		{"vocab_size", c.VocabSize}, {"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize},
		{"num_hidden_layers", c.NumHiddenLayers}, {"num_attention_heads", c.NumAttentionHeads},
		{"num_key_value_heads", c.NumKeyValueHeads}, {"head_dim", c.HeadDim}, {"max_position_embeddings", c.MaxPositionEmbeddings},
	} {
		if f.value < 1 || f.value > limit {
			return f.name, fmt.Sprintf("got %d, want 1 to %d", f.value, limit)
		}
	}
	switch {
	case c.NumAttentionHeads%c.NumKeyValueHeads != 0:
		return "num_key_value_heads", fmt.Sprintf("%d doesn't divide num_attention_heads %d", c.NumKeyValueHeads, c.NumAttentionHeads)
	case c.HeadDim%2 != 0:
		return "head_dim", fmt.Sprintf("got %d, rotary positions need an even one", c.HeadDim)
	case c.RMSNormEps <= 0:
		return "rms_norm_eps", fmt.Sprintf("got %g, want above 0", c.RMSNormEps)
	case c.RopeTheta <= 0:
		return "rope_theta", fmt.Sprintf("got %g, want above 0", c.RopeTheta)
	case c.InitializerRange < 0:
		return "initializer_range", fmt.Sprintf("got %g, want 0 or more", c.InitializerRange)
	case c.RewardShift != 0 && !c.HasScore():
		return "reward_shift", fmt.Sprintf("got %g, want 0 without a score head", c.RewardShift)
	case math.IsNaN(c.RewardShift) || math.IsInf(c.RewardShift, 0):
		return "reward_shift", fmt.Sprintf("got %g, want a finite number", c.RewardShift)
	}
	return "", ""
}

func (c Config) architecture() string {
	if c.HasScore() {
		return scoreModel
	}
	return languageModel
}

// JSON is the config.json that transformers loads as LlamaForCausalLM or LlamaForSequenceClassification.
func (c Config) JSON() []byte {
	c.Architectures, c.ModelType, c.HiddenAct = []string{c.architecture()}, "llama", "silu"
	var stored any = c
	if c.HasScore() {
		stored = struct {
			Config
			ToLabel map[string]string `json:"id2label"` // one label; transformers would make it two
			ToID    map[string]int    `json:"label2id"`
		}{c, map[string]string{"0": "score"}, map[string]int{"score": 0}}
	}
	b, err := json.MarshalIndent(stored, "", "  ")
	if err != nil { // numbers and strings always marshal, unless not finite, which problem excludes
		panic(err)
	}
	return append(b, '\n')
}

// NumParameters counts the weights that New makes.
func (c Config) NumParameters() int64 {
	var n int64
	for _, s := range c.specs() {
		size := int64(1)
		for _, d := range s.shape {
			size *= d
		}
		n += size
	}
	return n
}
