package model

import (
	"fmt"
	"math"
	"slices"
	"sync"

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
		m.open()
		p := m.newPass(in)
		x := p.embed(in.Tokens, in.Positions) // [tokens, hidden]
		if first := m.firstTrained(); (m.checkpoint || m.Sharded()) && tensor.GradEnabled() && first < len(m.layers) {
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
	rope         *tensor.Tensor         // complex [tokens, 1, rotaryDims/2]; nil without rotary positions
	masks        map[int]*tensor.Tensor // of each window, added to the scores: see expandMask
	cache        *Cache                 // nil in training
	dropoutKeys  *tensor.Tensor         // of the adapters' inputs, int64 [tokens, 1]; nil when nothing is dropped
}

// newPass is Hidden's.
func (m *Model) newPass(in Input) *pass {
	return &pass{
		model: m, rows: int64(in.Rows), seqLen: int64(in.SeqLen), rope: m.rotation(in.Positions),
		masks:       m.masks(func(window int) *tensor.Tensor { return m.attends(in, window) }),
		dropoutKeys: m.keysOfDropout(in),
	}
}

// embed starts a forward: [tokens, hidden].
func (p *pass) embed(tokens, positions []int64) *tensor.Tensor {
	m := p.model
	x := tensor.Embedding(m.embedding, tensor.FromInt64(tokens, p.rows*p.seqLen).ToDevice(m.device))
	if m.positions == nil {
		return m.cast(x)
	}
	if last := slices.Max(positions); last >= int64(m.config.MaxPositionEmbeddings) {
		panic(&tensor.Error{Op: "model.Hidden", Message: fmt.Sprintf("position %d, and %s is %d", last, m.config.nameOf(&m.config.MaxPositionEmbeddings), m.config.MaxPositionEmbeddings)})
	}
	return m.cast(x.Add(tensor.Embedding(m.positions, tensor.FromInt64(positions, p.rows*p.seqLen).ToDevice(m.device))))
}

// run is the layers and the final norm.
func (p *pass) run(x *tensor.Tensor) *tensor.Tensor {
	m := p.model
	for i := range m.layers {
		m.with(i, func() {
			tensor.Scoped(func() { x = p.layer(i, x).Keep() })
		})
	}
	return m.normalise(x, m.norm) // [tokens, hidden]
}

// layer is block i, of [tokens, hidden]. Its weights are handed to it here, for the time of the call.
func (p *pass) layer(i int, x *tensor.Tensor) *tensor.Tensor {
	return p.block(i, p.model.castLayer(&p.model.layers[i]), x)
}

func (p *pass) block(i int, l *layer, x *tensor.Tensor) *tensor.Tensor {
	m := p.model
	attended := p.attention(i, l, m.normalise(x, l.attentionNorm), x) // [tokens, hidden]
	if !m.config.ParallelResidual {
		x = attended
	}
	return p.mlp(l, m.normalise(x, l.mlpNorm), attended)
}

// mlp returns residual + the MLP of h, [tokens, hidden].
func (p *pass) mlp(l *layer, h, residual *tensor.Tensor) *tensor.Tensor {
	activate := p.model.config.activation()
	var inner *tensor.Tensor // [tokens, inner]
	if l.gate.weight == nil {
		inner = activate(p.project(nil, h, l.up))
	} else {
		inner = activate(p.project(nil, h, l.gate)).Mul(p.project(nil, h, l.up))
	}
	return p.project(residual, inner, l.down)
}

// attention returns residual + attention of h, [tokens, hidden].
func (p *pass) attention(i int, l *layer, h, residual *tensor.Tensor) *tensor.Tensor {
	c := &p.model.config
	heads, kvHeads, headDim := int64(c.NumAttentionHeads), int64(c.NumKeyValueHeads), int64(c.HeadDim)
	q, k, v := p.queriesKeysValues(l, h)

	q = q.Reshape(p.rows, p.seqLen, kvHeads, heads/kvHeads, headDim).Permute(0, 2, 3, 1, 4) // [rows, kvHeads, group, seqLen, headDim]
	k = k.Reshape(p.rows, p.seqLen, kvHeads, headDim).Transpose(1, 2)                       // [rows, kvHeads, seqLen, headDim]
	v = v.Reshape(p.rows, p.seqLen, kvHeads, headDim).Transpose(1, 2)
	if p.cache != nil {
		k, v = p.cache.append(i, k, v) // [rows, kvHeads, keys, headDim]
	}
	mix := p.mix
	if fusedAttention() {
		mix = p.mixFused
	}
	mixed := mix(q, k, v, p.masks[c.window(i)], c.attentionScale(i)).Permute(0, 3, 1, 2, 4)
	return p.project(residual, mixed.Reshape(p.rows*p.seqLen, heads*headDim), l.o) // [tokens, hidden]
}

// mix is what queries take of values, [rows, kvHeads, group, seqLen, headDim]. Queries that share a key head are rows of
// one product, so that keys and values are never repeated.
func (p *pass) mix(q, k, v, mask *tensor.Tensor, scale float64) *tensor.Tensor {
	kvHeads, group, headDim, keys := q.Dim(1), q.Dim(2), q.Dim(4), k.Dim(2)
	q = q.Reshape(p.rows*kvHeads, group*p.seqLen, headDim)
	k = k.Reshape(p.rows*kvHeads, keys, headDim)
	v = v.Reshape(p.rows*kvHeads, keys, headDim)
	scores := tensor.Call("aten::baddbmm", 1, mask, q, k.Transpose(1, 2), 1, scale)[0] // [rows*kvHeads, group*seqLen, keys]
	return scores.Softmax(-1).BMM(v).Reshape(p.rows, kvHeads, group, p.seqLen, headDim)
}

// mixFused is mix by libtorch's fused operator, which never has all scores (arXiv:2205.14135).
func (p *pass) mixFused(q, k, v, mask *tensor.Tensor, scale float64) *tensor.Tensor {
	kvHeads, group, headDim, keys := q.Dim(1), q.Dim(2), q.Dim(4), k.Dim(2)
	perHead := func(x *tensor.Tensor) *tensor.Tensor { // [rows, heads, keys, headDim]
		return x.Unsqueeze(2).Expand(p.rows, kvHeads, group, keys, headDim).Reshape(p.rows, kvHeads*group, keys, headDim)
	}
	mixed := tensor.ScaledDotProductAttention(q.Reshape(p.rows, kvHeads*group, p.seqLen, headDim), perHead(k), perHead(v), mask, false, scale)
	return mixed.Reshape(p.rows, kvHeads, group, p.seqLen, headDim)
}

// fusedAttention says whether this libtorch has the operator, as from 2.0 on.
var fusedAttention = sync.OnceValue(func() bool { return tensor.HasOp("aten::scaled_dot_product_attention", "") })

// attentionScale is what the products of queries and keys are multiplied with.
func (c *Config) attentionScale(layer int) float64 {
	scale := 1.0
	if !c.UnscaledAttention {
		scale = 1 / math.Sqrt(float64(c.HeadDim))
	}
	if c.ScaleByLayer {
		scale /= float64(layer + 1)
	}
	return scale
}

// queriesKeysValues are h's, turned by their positions: [tokens, heads*headDim], keys and values of kvHeads.
func (p *pass) queriesKeysValues(l *layer, h *tensor.Tensor) (q, k, v *tensor.Tensor) {
	c := &p.model.config
	heads, kvHeads, headDim := int64(c.NumAttentionHeads), int64(c.NumKeyValueHeads), int64(c.HeadDim)
	if l.qkv.weight == nil {
		q = p.rotate(p.normHeads(p.project(nil, h, l.q.interleaved(headDim)), l.qNorm), heads)
		k = p.rotate(p.normHeads(p.project(nil, h, l.k.interleaved(headDim)), l.kNorm), kvHeads)
		return q, k, p.project(nil, h, l.v)
	}
	all := p.project(nil, h, l.qkv)
	part := func(i int64) *tensor.Tensor { // [tokens, heads, headDim]
		if l.byHead {
			return all.Reshape(p.rows*p.seqLen, heads, 3, headDim).Select(2, i)
		}
		return all.Reshape(p.rows*p.seqLen, 3, heads, headDim).Select(1, i)
	}
	return p.rotatePart(part(0)), p.rotatePart(part(1)), part(2)
}

// normHeads is Qwen3's norm of each query or key, whose dimensions are interleaved: [tokens, heads, headDim].
func (p *pass) normHeads(x, weight *tensor.Tensor) *tensor.Tensor {
	if weight == nil {
		return x
	}
	headDim := int64(p.model.config.HeadDim)
	return p.model.rmsNorm(x.Reshape(p.rows*p.seqLen, -1, headDim), interleave(weight, headDim))
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
		return tensor.Linear(x, w.matrix())
	case to == nil:
		return addLinear(w.bias, x, w.matrix())
	case w.bias == nil:
		return addLinear(to, x, w.matrix())
	}
	return addLinear(to, x, w.matrix()).Add(w.bias)
}

// normalise applies a norm to [tokens, hidden].
func (m *Model) normalise(x *tensor.Tensor, n norm) *tensor.Tensor {
	if n.bias == nil {
		return m.rmsNorm(x, n.weight)
	}
	return tensor.Call("aten::layer_norm", 1, x, []int64{int64(m.config.HiddenSize)}, m.cast(n.weight), m.cast(n.bias), m.config.RMSNormEps)[0]
}

// rmsNorm is x / rms(x) * weight over the last dimension, in float32 or wider.
func (m *Model) rmsNorm(x, weight *tensor.Tensor) *tensor.Tensor {
	wide := x
	if m.narrow() {
		wide = x.To(tensor.Float32)
	}
	// A norm instead of the mean of squares saves two passes over x in the backward.
	norm := tensor.Call("aten::linalg_vector_norm", 1, wide, 2.0, []int64{-1}, true, nil)[0] // [tokens, 1]
	scale := norm.Square().MulScalar(1 / float64(weight.NumElements())).AddScalar(m.config.RMSNormEps).Rsqrt()
	return wide.Mul(scale).To(m.dtype).Mul(m.cast(weight)) // [tokens, hidden]
}

// narrow says that activations are narrower than float32.
func (m *Model) narrow() bool { return m.dtype != tensor.Float32 && m.dtype != tensor.Float64 }

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

// rotatePart turns the first dimensions of [tokens, heads, headDim], which stand as they are stored.
func (p *pass) rotatePart(x *tensor.Tensor) *tensor.Tensor {
	m := p.model
	if p.rope == nil {
		return x
	}
	headDim, dims := int64(m.config.HeadDim), int64(m.config.rotaryDims())
	tokens, heads := x.Dim(0), x.Dim(1)
	turned := x.Narrow(2, 0, dims)
	if m.narrow() {
		turned = turned.To(tensor.Float32)
	}
	turned = turned.Reshape(tokens, heads, 2, dims/2).Transpose(2, 3).Contiguous()             // [tokens, heads, dims/2, 2]
	turned = tensor.Call("aten::view_as_complex", 1, turned)[0].Mul(p.rope)                    // complex [tokens, heads, dims/2]
	turned = tensor.Call("aten::view_as_real", 1, turned)[0].To(m.dtype).Transpose(2, 3)       // [tokens, heads, 2, dims/2]
	return tensor.Cat(2, turned.Reshape(tokens, heads, dims), x.Narrow(2, dims, headDim-dims)) // [tokens, heads, headDim]
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

// masks are those of the windows that layers have.
func (m *Model) masks(attends func(window int) *tensor.Tensor) map[int]*tensor.Tensor {
	out := map[int]*tensor.Tensor{}
	for i := range m.layers {
		if w := m.config.window(i); out[w] == nil {
			out[w] = m.expandMask(attends(w))
		}
	}
	return out
}

// attends says who attends to whom within a window, 0 for none, [rows, seqLen, seqLen].
func (m *Model) attends(in Input, window int) *tensor.Tensor {
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
	if window > 0 {
		positions := tensor.FromInt64(in.Positions, rows, 1, seqLen).ToDevice(m.device)
		distance := positions.Reshape(rows, seqLen, 1).Sub(positions) // [rows, seqLen, seqLen]
		attends = attends.LogicalAnd(distance.LtScalar(float64(window)))
	}
	return attends
}

// expandMask is 0 where a token attends and -inf where it doesn't, of attends [rows, queries, keys]: [rows, 1, queries, keys]
// for fused attention, else one copy a head, [rows*kvHeads, group*queries, keys], as the product that adds it needs it.
func (m *Model) expandMask(attends *tensor.Tensor) *tensor.Tensor {
	rows, queries, keys := attends.Dim(0), attends.Dim(1), attends.Dim(2)
	zeros := tensor.Zeros(m.dtype, rows, 1, queries, keys).ToDevice(m.device)
	mask := zeros.MaskedFill(attends.LogicalNot().Unsqueeze(1), math.Inf(-1)) // [rows, 1, queries, keys]
	if fusedAttention() {
		return mask
	}
	heads, kvHeads := int64(m.config.NumAttentionHeads), int64(m.config.NumKeyValueHeads)
	return mask.Expand(rows, heads, queries, keys).Reshape(rows*kvHeads, heads/kvHeads*queries, keys)
}
