package model

import (
	"math"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Input is a batch of tokens and who attends to whom, as slices of Rows*SeqLen, row by row.
// Token q attends to an earlier token k of its row, and to itself, if Segments[k] == Segments[q]
// or Segments[k] == Prefixes[q]. Segment -1 is padding, which attends to itself only and which no
// other token sees; prefix -1 is none.
type Input struct {
	Rows, SeqLen                          int
	Tokens, Positions, Segments, Prefixes []int64
}

// Hidden is the forward pass up to the head: the final norm's output for every token, padding
// included, [rows*seqLen, hidden].
func (m *Model) Hidden(in Input) *tensor.Tensor {
	var out *tensor.Tensor
	tensor.Scoped(func() {
		p := m.newPass(in)
		x := p.embed(in.Tokens) // [tokens, hidden]
		if first := m.firstTrained(); m.checkpoint && tensor.GradEnabled() && first < len(m.layers) {
			out = p.checkpointed(in, x, first).Keep()
		} else {
			out = p.run(x).Keep()
		}
	})
	return out
}

// pass is what all layers of one forward share.
type pass struct {
	model        *Model
	rows, seqLen int64
	rope         *tensor.Tensor // complex [tokens, 1, headDim/2]
	mask         *tensor.Tensor // added to the scores: [rows*kvHeads, group*seqLen, keys]
	cache        *Cache         // nil in training
	dropoutKeys  *tensor.Tensor // of the adapters' inputs, int64 [tokens, 1]; nil when nothing is dropped
}

// newPass is Hidden's.
func (m *Model) newPass(in Input) *pass {
	return &pass{
		model: m, rows: int64(in.Rows), seqLen: int64(in.SeqLen), rope: m.rotation(in.Positions), mask: m.mask(in),
		dropoutKeys: m.keysOfDropout(in),
	}
}

// embed starts a forward: [tokens, hidden].
func (p *pass) embed(tokens []int64) *tensor.Tensor {
	m := p.model
	return tensor.Embedding(m.embedding, tensor.FromInt64(tokens, p.rows*p.seqLen).ToDevice(m.device))
}

// run is the layers and the final norm.
func (p *pass) run(x *tensor.Tensor) *tensor.Tensor {
	m := p.model
	for i := range m.layers {
		tensor.Scoped(func() { x = p.layer(i, x).Keep() })
	}
	return m.rmsNorm(x, m.norm) // [tokens, hidden]
}

// layer is block i, of [tokens, hidden]. Its weights are handed to it here, for the time of the call.
func (p *pass) layer(i int, x *tensor.Tensor) *tensor.Tensor {
	return p.block(i, &p.model.layers[i], x)
}

func (p *pass) block(i int, l *layer, x *tensor.Tensor) *tensor.Tensor {
	m := p.model
	x = p.attention(i, l, m.rmsNorm(x, l.inputNorm), x)                    // [tokens, hidden]
	h := m.rmsNorm(x, l.postNorm)                                          // [tokens, hidden]
	inner := p.project(nil, h, l.gate).Silu().Mul(p.project(nil, h, l.up)) // [tokens, inner]
	return p.project(x, inner, l.down)                                     // [tokens, hidden]
}

// attention returns residual + attention of h, [tokens, hidden]. Queries that share a key head
// are rows of one product, so that keys and values are never repeated.
func (p *pass) attention(i int, l *layer, h, residual *tensor.Tensor) *tensor.Tensor {
	c := &p.model.config
	heads, kvHeads, headDim := int64(c.NumAttentionHeads), int64(c.NumKeyValueHeads), int64(c.HeadDim)
	group := heads / kvHeads
	q := p.rotate(p.project(nil, h, l.q.interleaved(headDim)), heads)   // [tokens, heads*headDim]
	k := p.rotate(p.project(nil, h, l.k.interleaved(headDim)), kvHeads) // [tokens, kvHeads*headDim]
	v := p.project(nil, h, l.v)                                         // [tokens, kvHeads*headDim]

	q = q.Reshape(p.rows, p.seqLen, kvHeads, group, headDim).Permute(0, 2, 3, 1, 4) // [rows, kvHeads, group, seqLen, headDim]
	q = q.Reshape(p.rows*kvHeads, group*p.seqLen, headDim)
	k = k.Reshape(p.rows, p.seqLen, kvHeads, headDim).Transpose(1, 2) // [rows, kvHeads, seqLen, headDim]
	v = v.Reshape(p.rows, p.seqLen, kvHeads, headDim).Transpose(1, 2)
	if p.cache != nil {
		k, v = p.cache.append(i, k, v) // [rows, kvHeads, keys, headDim]
	}
	keys := k.Dim(2)
	k = k.Reshape(p.rows*kvHeads, keys, headDim)
	v = v.Reshape(p.rows*kvHeads, keys, headDim)

	scale := 1 / math.Sqrt(float64(headDim))
	scores := tensor.Call("aten::baddbmm", 1, p.mask, q, k.Transpose(1, 2), 1, scale)[0] // [rows*kvHeads, group*seqLen, keys]
	mixed := scores.Softmax(-1).BMM(v)                                                   // [rows*kvHeads, group*seqLen, headDim]
	mixed = mixed.Reshape(p.rows, kvHeads, group, p.seqLen, headDim).Permute(0, 3, 1, 2, 4)
	return p.project(residual, mixed.Reshape(p.rows*p.seqLen, heads*headDim), l.o) // [tokens, hidden]
}

// project is to + x weight^T + bias, with what w's adapter adds: every matrix product with a block's weights. to may be nil.
func (p *pass) project(to, x *tensor.Tensor, w projection) *tensor.Tensor {
	y := product(to, x, w)
	if w.lora.a == nil {
		return y
	}
	return p.adapt(y, x, w)
}

func product(to, x *tensor.Tensor, w projection) *tensor.Tensor {
	switch {
	case to == nil && w.bias == nil:
		return tensor.Linear(x, w.weight)
	case to == nil:
		return addLinear(w.bias, x, w.weight)
	case w.bias == nil:
		return addLinear(to, x, w.weight)
	}
	return addLinear(to, x, w.weight).Add(w.bias)
}

// rmsNorm is x / rms(x) * weight over the last dimension, in float32 or wider.
func (m *Model) rmsNorm(x, weight *tensor.Tensor) *tensor.Tensor {
	wide := x
	if m.narrow() {
		wide = x.To(tensor.Float32)
	}
	// A norm instead of the mean of squares saves two passes over x in the backward.
	norm := tensor.Call("aten::linalg_vector_norm", 1, wide, 2.0, []int64{-1}, true, nil)[0] // [tokens, 1]
	scale := norm.Square().MulScalar(1 / float64(m.config.HiddenSize)).AddScalar(m.config.RMSNormEps).Rsqrt()
	return wide.Mul(scale).To(m.dtype).Mul(weight) // [tokens, hidden]
}

// narrow says that activations are narrower than float32.
func (m *Model) narrow() bool { return m.dtype != tensor.Float32 && m.dtype != tensor.Float64 }

// rotation holds cos + i sin of every token's angles: complex [tokens, 1, headDim/2]. The angles are
// float32 in every precision, as transformers has them.
func (m *Model) rotation(positions []int64) *tensor.Tensor {
	half := m.config.HeadDim / 2
	exponents := make([]float32, half)
	for i := range exponents {
		exponents[i] = float32(2*i) / float32(m.config.HeadDim)
	}
	frequencies := tensor.Call("aten::pow.Scalar", 1, m.config.RopeTheta, tensor.FromFloat32(exponents, int64(half)))[0].Reciprocal()
	angles := tensor.FromInt64(positions, int64(len(positions)), 1, 1).To(tensor.Float32).Mul(frequencies) // [tokens, 1, headDim/2]
	cos, sin := angles.Cos(), angles.Sin()
	if m.dtype == tensor.Float64 {
		cos, sin = cos.To(tensor.Float64), sin.To(tensor.Float64)
	}
	return tensor.Call("aten::complex", 1, cos, sin)[0].ToDevice(m.device)
}

// rotate applies the rotary positions to [tokens, heads*headDim] whose dimensions are interleaved
// (see interleaved): each pair is a complex number, so this is one product.
func (p *pass) rotate(x *tensor.Tensor, heads int64) *tensor.Tensor {
	m := p.model
	tokens, half := p.rows*p.seqLen, int64(m.config.HeadDim/2)
	x = x.Reshape(tokens, heads, half, 2)
	if m.narrow() {
		x = x.To(tensor.Float32)
	}
	turned := tensor.Call("aten::view_as_complex", 1, x)[0].Mul(p.rope) // complex [tokens, heads, headDim/2]
	return tensor.Call("aten::view_as_real", 1, turned)[0].To(m.dtype).Reshape(tokens, heads*2*half)
}

// interleaved reorders the rows of a query or key projection from Hugging Face's layout, where
// dimension j of a head turns with j + headDim/2, to pairs side by side. Queries and keys are
// reordered alike, so their products stay the same. It is the weight that is reordered, being
// much smaller than the activations.
func (w projection) interleaved(headDim int64) projection {
	w.weight = interleave(w.weight, headDim)
	if w.bias != nil {
		w.bias = interleave(w.bias, headDim)
	}
	if w.lora.b != nil {
		w.lora.b = interleave(w.lora.b, headDim)
	}
	return w
}

func interleave(w *tensor.Tensor, headDim int64) *tensor.Tensor {
	shape := w.Shape()
	return w.Reshape(-1, 2, headDim/2, size(shape[1:])).Transpose(1, 2).Reshape(shape...)
}

// addLinear is to + x w^T.
func addLinear(to, x, w *tensor.Tensor) *tensor.Tensor {
	return tensor.Call("aten::addmm", 1, to, x, w.Transpose(0, 1), 1, 1)[0]
}

// mask is 0 where a token attends and -inf where it doesn't: [rows*kvHeads, group*seqLen, seqLen],
// one copy a head, as the product that adds it needs it.
func (m *Model) mask(in Input) *tensor.Tensor {
	rows, seqLen := int64(in.Rows), int64(in.SeqLen)
	segments := make([]int64, len(in.Segments))
	for i, s := range in.Segments {
		if s < 0 {
			s = -2 - int64(i) // padding: a segment of its own, and never -1, which is no prefix
		}
		segments[i] = s
	}
	key := tensor.FromInt64(segments, rows, 1, seqLen).ToDevice(m.device)
	query := key.Reshape(rows, seqLen, 1)
	prefix := tensor.FromInt64(in.Prefixes, rows, seqLen, 1).ToDevice(m.device)
	attends := query.Eq(key).LogicalOr(prefix.Eq(key)).Tril(0) // [rows, seqLen, seqLen]
	return m.expandMask(attends)
}

// expandMask makes the additive mask of every head from attends [rows, queries, keys].
func (m *Model) expandMask(attends *tensor.Tensor) *tensor.Tensor {
	rows, queries, keys := attends.Dim(0), attends.Dim(1), attends.Dim(2)
	zeros := tensor.Zeros(m.dtype, rows, 1, queries, keys).ToDevice(m.device)
	mask := zeros.MaskedFill(attends.LogicalNot().Unsqueeze(1), math.Inf(-1)) // [rows, 1, queries, keys]
	heads, kvHeads := int64(m.config.NumAttentionHeads), int64(m.config.NumKeyValueHeads)
	return mask.Expand(rows, heads, queries, keys).Reshape(rows*kvHeads, heads/kvHeads*queries, keys)
}
