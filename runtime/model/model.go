package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Model is a policy, a frozen reference, or, with a score head, a reward or value model: a Config and its
// weights, which live in the scope that was innermost when New, Load, Clone or WithScore was called.
type Model struct {
	config    Config
	dtype     tensor.DType
	device    tensor.Device
	params    []Parameter // in the order of specs
	embedding *tensor.Tensor
	layers    []layer
	norm      *tensor.Tensor
	head      *tensor.Tensor // [vocab, hidden]; the embedding itself when tied; nil with a score head
	score     *tensor.Tensor // [1, hidden]; nil without

	base    *Model  // without adapters; nil where there are none
	lora    *LoRA   // the adapters'
	dropout *uint64 // what the adapters' dropout starts from; nil when nothing is dropped

	checkpoint   bool       // activations
	logitsAtOnce int64      // the most that the head computes at a time
	heads        []*chunked // of FinishBackward, as
	pending      []*forward
}

// layer has one block's weights.
type layer struct {
	inputNorm, postNorm *tensor.Tensor // [hidden]
	q, k, v, o          projection
	gate, up, down      projection
}

// projections are all of a block's matrix products.
func (l *layer) projections() []*projection {
	return []*projection{&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}
}

// projection is a matrix product of a block: x weight^T + bias, and what its adapter adds.
type projection struct {
	name   string         // in its block, as self_attn.q_proj
	weight *tensor.Tensor // [out, in]
	bias   *tensor.Tensor // [out]; nil without
	lora   adapter
}

// blockName is what the names of a block's parameters begin with.
func (c Config) blockName(i int) string { return fmt.Sprintf("model.layers.%d.", i) }

// Parameter is a weight under its Hugging Face name.
type Parameter struct {
	Name   string
	Tensor *tensor.Tensor
	// Decay says that weight decay applies: to matrices, not to norms and biases.
	Decay bool
}

// spec is what a Config says of one parameter.
type spec struct {
	name  string
	shape []int64
}

// specs lists all parameters of an architecture, in Hugging Face's order.
func (c Config) specs() []spec {
	hidden, inner := int64(c.HiddenSize), int64(c.IntermediateSize)
	queries, keys := int64(c.NumAttentionHeads*c.HeadDim), int64(c.NumKeyValueHeads*c.HeadDim)
	out := []spec{{"model.embed_tokens.weight", []int64{int64(c.VocabSize), hidden}}}
	for i := range c.NumHiddenLayers {
		add := func(name string, shape ...int64) {
			out = append(out, spec{fmt.Sprintf("model.layers.%d.%s", i, name), shape})
		}
		project := func(name string, to, from int64) {
			add("self_attn."+name+"_proj.weight", to, from)
			if c.AttentionBias {
				add("self_attn."+name+"_proj.bias", to)
			}
		}
		project("q", queries, hidden)
		project("k", keys, hidden)
		project("v", keys, hidden)
		project("o", hidden, queries)
		add("mlp.gate_proj.weight", inner, hidden)
		add("mlp.up_proj.weight", inner, hidden)
		add("mlp.down_proj.weight", hidden, inner)
		add("input_layernorm.weight", hidden)
		add("post_attention_layernorm.weight", hidden)
	}
	out = append(out, spec{"model.norm.weight", []int64{hidden}})
	switch {
	case c.HasScore():
		out = append(out, c.scoreSpec())
	case !c.TieWordEmbeddings:
		out = append(out, spec{"lm_head.weight", []int64{int64(c.VocabSize), hidden}})
	}
	return out
}

// New initialises a model at random: matrices from N(0, initializer_range), a score head from
// N(0, 1/(hidden_size+1)), so that first scores are near 0, norms 1, biases 0. The
// numbers depend on seed and the parameter's name only, and are the same on every machine.
func New(c Config, dtype tensor.DType, device tensor.Device, seed uint64) (*Model, error) {
	if field, message := c.problem(); field != "" {
		return nil, fmt.Errorf("%w: %s: %s", ErrConfig, field, message)
	}
	return build(c, dtype, device, func(m *Model, s spec) (Parameter, error) {
		return m.parameter(s, tensor.FromFloat32(c.initial(s, seed), s.shape...)), nil
	})
}

// initial are New's values of one parameter.
func (c Config) initial(s spec, seed uint64) []float32 {
	values := make([]float32, size(s.shape))
	switch {
	case len(s.shape) == 2:
		deviation := c.InitializerRange
		if s.name == scoreName {
			deviation = 1 / float64(c.HiddenSize+1)
		}
		r := generator(seed, s.name)
		for i := range values {
			values[i] = float32(r.NormFloat64() * deviation)
		}
	case strings.HasSuffix(s.name, ".weight"):
		for i := range values {
			values[i] = 1
		}
	}
	return values
}

// ReadFunc finds a stored tensor by name; dtype is safetensors' name for it: F64, F32, BF16 or F16.
type ReadFunc func(name string) (dtype string, shape []int64, data []byte, err error)

// Load reads a model's weights and converts them to dtype. A tensor that is missing or has another
// shape than the config says is an error with its name; tensors that the config doesn't know are not read.
func Load(c Config, dtype tensor.DType, device tensor.Device, read ReadFunc) (*Model, error) {
	if field, message := c.problem(); field != "" {
		return nil, fmt.Errorf("%w: %s: %s", ErrConfig, field, message)
	}
	return build(c, dtype, device, func(m *Model, s spec) (Parameter, error) { return m.read(s, read) })
}

// read makes a parameter of what is stored.
func (m *Model) read(s spec, read ReadFunc) (p Parameter, err error) {
	stored, shape, data, err := read(s.name)
	if err != nil {
		return p, fmt.Errorf("load model: %s: %w", s.name, err)
	}
	if !slices.Equal(shape, s.shape) {
		return p, fmt.Errorf("load model: %s: got shape %v, the config says %v", s.name, shape, s.shape)
	}
	d, width, ok := floatType(stored)
	if !ok {
		return p, fmt.Errorf("load model: %s: dtype %s is not supported", s.name, stored)
	}
	if int64(len(data)) != width*size(shape) {
		return p, fmt.Errorf("load model: %s: got %d bytes for shape %v of %s", s.name, len(data), shape, stored)
	}
	return m.parameter(s, tensor.FromBytes(d, data, shape...)), nil
}

// Clone returns a copy to train apart from m. Weights that m has frozen, which nobody changes, are
// shared and not copied.
func (m *Model) Clone() *Model {
	copyOf := func(copied *Model, s spec) (Parameter, error) {
		p := m.params[slices.IndexFunc(m.params, func(p Parameter) bool { return p.Name == s.name })]
		if p.Tensor.NeedsGrad() {
			p = copied.parameter(s, p.Tensor.Detach())
		}
		return p, nil
	}
	if m.lora != nil {
		return m.cloneLoRA(copyOf)
	}
	out, err := build(m.config, m.dtype, m.device, copyOf)
	if err != nil { // it has every parameter of its own config
		panic(err)
	}
	return out
}

// Freeze stops gradients to all parameters, as of a reference; it returns m. A forward of a frozen
// model keeps nothing for a backward pass.
func (m *Model) Freeze() *Model {
	for _, p := range m.params {
		p.Tensor.RequiresGrad(false)
	}
	return m
}

// FreezeLayers stops gradients to the embedding and the first n layers, as Freeze does to all; n is at most
// NumHiddenLayers. A tied head, being the embedding, is frozen too.
func (m *Model) FreezeLayers(n int) {
	below := func(name string) bool {
		var layer int
		_, err := fmt.Sscanf(name, "model.layers.%d.", &layer)
		return name == "model.embed_tokens.weight" || err == nil && layer < n
	}
	for _, p := range m.params {
		if below(p.Name) {
			p.Tensor.RequiresGrad(false)
		}
	}
}

// Trainable lists the weights that have gradients, in the order of Parameters.
func (m *Model) Trainable() []Parameter {
	return slices.DeleteFunc(m.Parameters(), func(p Parameter) bool { return !p.Tensor.NeedsGrad() })
}

// Config returns the architecture.
func (m *Model) Config() Config { return m.config }

// DType is the type of weights and activations.
func (m *Model) DType() tensor.DType { return m.dtype }

// Device is where the weights are.
func (m *Model) Device() tensor.Device { return m.device }

// Parameters lists all weights, always in the same order. A tied head is the embedding and not listed.
func (m *Model) Parameters() []Parameter { return slices.Clone(m.params) }

// build makes a model of the parameters that get returns.
func build(c Config, dtype tensor.DType, device tensor.Device, get func(*Model, spec) (Parameter, error)) (*Model, error) {
	m := &Model{config: c, dtype: dtype, device: device, logitsAtOnce: logitsAtOnce}
	byName := map[string]*tensor.Tensor{}
	for _, s := range c.specs() {
		var err error
		tensor.Scoped(func() {
			var p Parameter
			if p, err = get(m, s); err != nil {
				return
			}
			m.params = append(m.params, p)
			byName[s.name] = p.Tensor.Keep()
		})
		if err != nil {
			return nil, err
		}
	}
	m.embedding, m.norm, m.head = byName["model.embed_tokens.weight"], byName["model.norm.weight"], byName["lm_head.weight"]
	m.score = byName[scoreName]
	if c.TieWordEmbeddings && !c.HasScore() {
		m.head = m.embedding
	}
	for i := range c.NumHiddenLayers {
		of := func(name string) *tensor.Tensor { return byName[fmt.Sprintf("model.layers.%d.%s", i, name)] }
		project := func(name string) projection {
			return projection{name: name, weight: of(name + ".weight"), bias: of(name + ".bias")}
		}
		m.layers = append(m.layers, layer{
			inputNorm: of("input_layernorm.weight"), postNorm: of("post_attention_layernorm.weight"),
			q: project("self_attn.q_proj"), k: project("self_attn.k_proj"), v: project("self_attn.v_proj"), o: project("self_attn.o_proj"),
			gate: project("mlp.gate_proj"), up: project("mlp.up_proj"), down: project("mlp.down_proj"),
		})
	}
	return m, nil
}

// parameter is a trainable copy of t.
func (m *Model) parameter(s spec, t *tensor.Tensor) Parameter {
	own := tensor.Empty(m.dtype, s.shape...).ToDevice(m.device)
	tensor.NoGrad(func() { own.CopyInPlace(t) })
	return Parameter{Name: s.name, Tensor: own.RequiresGrad(true), Decay: len(s.shape) == 2}
}

func size(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

// floatType is the tensor type of a safetensors dtype and its bytes.
func floatType(name string) (d tensor.DType, width int64, ok bool) {
	switch name {
	case "F64":
		return tensor.Float64, 8, true
	case "F32":
		return tensor.Float32, 4, true
	case "BF16":
		return tensor.BFloat16, 2, true
	case "F16":
		return tensor.Float16, 2, true
	}
	return 0, 0, false
}
