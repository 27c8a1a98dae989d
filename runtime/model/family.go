package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// family is a model_type: the names that it has in config.json and in checkpoints, and what its blocks are made of.
type family struct {
	modelType string
	name      string // that transformers' classes begin with
	causal    string // transformers' class of a language model

	// fields are those of config.json that every Config lacks; defaults are transformers' for fields that are missing.
	fields   func(*Config) []field
	defaults func(*Config)
	// innerFactor is IntermediateSize / HiddenSize where config.json doesn't say; 0 when it must.
	innerFactor int
	// window is the number of positions that a layer's tokens see, 0 for all; nil for all in all layers.
	window func(c *Config, layer int) int

	base      string // what the names of all but the heads begin with
	embedding string
	positions string // the embedding of positions; "" where they are rotary
	block     string // with the layer's number
	norm      string // after the last layer
	head      string // absent when tied
	layerNorm bool   // norms are LayerNorm, with a bias; else RMSNorm
	fused     bool   // queries, keys and values are one projection
	// adapted are the modules that PEFT adapts when none are named.
	adapted []string
	layer   func(c *Config, b builder) layer
}

var families = []*family{&llama, &mistral, &qwen2, &qwen3, &gpt2, &gptNeoX}

// family is nil for an unknown ModelType.
func (c *Config) family() *family {
	for _, f := range families {
		if f.modelType == c.ModelType || f == &llama && c.ModelType == "" {
			return f
		}
	}
	return nil
}

func modelTypes() string {
	var names []string
	for _, f := range families {
		names = append(names, f.modelType)
	}
	return strings.Join(names, ", ")
}

// window is the number of positions that the tokens of a layer see, 0 for all.
func (c *Config) window(layer int) int {
	if f := c.family(); f.window != nil {
		return f.window(c, layer)
	}
	return 0
}

// LearnedPositions is how many tokens a row may have where positions are learned, as GPT-2's; 0 where nothing limits it.
func (c Config) LearnedPositions() int {
	if c.family().positions == "" {
		return 0
	}
	return c.MaxPositionEmbeddings
}

// rotaryDims is how many of a head's dimensions turn with the position.
func (c *Config) rotaryDims() int {
	switch {
	case c.family().positions != "":
		return 0
	case c.RotaryFraction > 0:
		return int(float64(c.HeadDim) * c.RotaryFraction)
	}
	return c.HeadDim
}

// activations are the MLP's, by hidden_act.
var activations = map[string]func(*tensor.Tensor) *tensor.Tensor{
	"silu":              (*tensor.Tensor).Silu,
	"relu":              (*tensor.Tensor).Relu,
	"gelu":              (*tensor.Tensor).Gelu,
	"gelu_new":          geluTanh,
	"gelu_fast":         geluTanh,
	"gelu_pytorch_tanh": geluTanh,
}

func geluTanh(x *tensor.Tensor) *tensor.Tensor { return tensor.Call("aten::gelu", 1, x, "tanh")[0] }

func (c *Config) activation() func(*tensor.Tensor) *tensor.Tensor {
	if c.HiddenAct == "" {
		return (*tensor.Tensor).Silu
	}
	return activations[c.HiddenAct]
}

// decoder is a model's weights in the places where a forward uses them.
type decoder struct {
	embedding *tensor.Tensor // [vocab, hidden]
	positions *tensor.Tensor // [maxPositions, hidden], added to the embedding; nil where they are rotary
	layers    []layer
	norm      norm
	head      *tensor.Tensor // [vocab, hidden]; the embedding itself when tied; nil with a score head
	score     *tensor.Tensor // [1, hidden]; nil without
}

// layer has one block's weights.
type layer struct {
	attentionNorm, mlpNorm norm
	q, k, v                projection
	// qkv takes the place of q, k and v where they are one product, [3*hidden, hidden]: first all queries, or, byHead,
	// query, key and value of the first head.
	qkv          projection
	byHead       bool
	qNorm, kNorm *tensor.Tensor // RMSNorm of every query and key, [headDim]; nil without
	o            projection
	gate         projection // none where the MLP has no gate
	up, down     projection
}

// projections are all of a block's matrix products.
func (l *layer) projections() []*projection {
	all := []*projection{&l.q, &l.k, &l.v, &l.qkv, &l.o, &l.gate, &l.up, &l.down}
	return slices.DeleteFunc(all, func(w *projection) bool { return w.weight == nil })
}

// tensors are all of a block's weights; one that it does not have is nil.
func (l *layer) tensors() []**tensor.Tensor {
	all := []**tensor.Tensor{&l.qNorm, &l.kNorm}
	for _, n := range []*norm{&l.attentionNorm, &l.mlpNorm} {
		all = append(all, &n.weight, &n.bias)
	}
	for _, w := range l.projections() {
		all = append(all, &w.weight, &w.bias, &w.lora.a, &w.lora.b)
	}
	return all
}

// projection is a matrix product of a block: x weight^T + bias, and what its adapter adds.
type projection struct {
	name       string         // in its block, as self_attn.q_proj
	weight     *tensor.Tensor // [out, in]; nil where a block has none of that kind
	bias       *tensor.Tensor // [out]; nil without
	transposed bool           // weight is [in, out]
	lora       adapter
}

// matrix is the weight as [out, in].
func (w projection) matrix() *tensor.Tensor {
	if w.transposed {
		return w.weight.Transpose(0, 1)
	}
	return w.weight
}

// shape is the matrix's.
func (w projection) shape() (out, in int64) {
	if w.transposed {
		return w.weight.Dim(1), w.weight.Dim(0)
	}
	return w.weight.Dim(0), w.weight.Dim(1)
}

// norm is RMSNorm or, with a bias, LayerNorm.
type norm struct{ weight, bias *tensor.Tensor } // [hidden]

// spec is what a Config says of one parameter.
type spec struct {
	name  string
	shape []int64
	// deviation is that of New's numbers, for a matrix.
	deviation float64
}

// blockName is what the names of a block's parameters begin with.
func (c *Config) blockName(i int) string { return c.family().base + fmt.Sprintf(c.family().block, i) }

// specs lists all parameters of an architecture, in Hugging Face's order.
func (c Config) specs() (out []spec) {
	c.assemble(func(s spec) *tensor.Tensor { out = append(out, s); return nil })
	return out
}

// assemble puts the parameters that get returns in their places.
func (c Config) assemble(get func(spec) *tensor.Tensor) decoder {
	f := c.family()
	var d decoder
	b := builder{get: get, layerNorm: f.layerNorm, at: f.base, deviation: c.InitializerRange}
	d.embedding = b.parameter(f.embedding, c.VocabSize, c.HiddenSize)
	if f.positions != "" {
		d.positions = b.parameter(f.positions, c.MaxPositionEmbeddings, c.HiddenSize)
	}
	for i := range c.NumHiddenLayers {
		b.at = c.blockName(i)
		d.layers = append(d.layers, f.layer(&c, b))
	}
	b.at = f.base
	d.norm = b.norm(f.norm, c.HiddenSize)
	switch {
	case c.HasScore():
		d.score = get(c.scoreSpec())
	case c.TieWordEmbeddings:
		d.head = d.embedding
	default:
		b.at = ""
		d.head = b.parameter(f.head, c.VocabSize, c.HiddenSize)
	}
	return d
}

// builder makes the parts of a block of parameters, by their names in it.
type builder struct {
	get       func(spec) *tensor.Tensor
	layerNorm bool
	at        string // what names begin with
	deviation float64
}

func (b builder) parameter(name string, shape ...int) *tensor.Tensor {
	s := spec{name: b.at + name, deviation: b.deviation}
	for _, d := range shape {
		s.shape = append(s.shape, int64(d))
	}
	return b.get(s)
}

func (b builder) norm(name string, hidden int) norm {
	n := norm{weight: b.parameter(name+".weight", hidden)}
	if b.layerNorm {
		n.bias = b.parameter(name+".bias", hidden)
	}
	return n
}

// linear is PyTorch's Linear.
func (b builder) linear(name string, in, out int, bias bool) projection {
	p := projection{name: name, weight: b.parameter(name+".weight", out, in)}
	if bias {
		p.bias = b.parameter(name+".bias", out)
	}
	return p
}

// conv1D is GPT-2's: a Linear whose weight is stored transposed.
func (b builder) conv1D(name string, in, out int) projection {
	return projection{name: name, weight: b.parameter(name+".weight", in, out), bias: b.parameter(name+".bias", out), transposed: true}
}
