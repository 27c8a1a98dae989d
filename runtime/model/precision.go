package model

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// ComputeIn lets the forwards that follow compute in a type narrower than the weights' own: bfloat16 over float32. Trainable
// weights, their gradients and what an optimiser makes of them keep their type; each is rounded where a forward uses it. Frozen
// weights are rounded once and for all: call it before others share them. Norms' statistics, softmax, logits and
// losses stay float32 (mixed precision, arXiv:1710.03740).
func (m *Model) ComputeIn(dtype tensor.DType) {
	m.dtype = dtype
	m.roundFrozen()
}

// Rounded is m to generate with: where weights are wider than what m computes in, a frozen copy of them rounded, so
// that it is not done for each token; else, and where ranks divide the weights, m itself.
func (m *Model) Rounded() *Model {
	if m.weights == m.dtype || m.sharding != nil {
		return m
	}
	return m.copyIn(m.dtype).Freeze()
}

// roundFrozen replaces frozen weights. Those of the parameters that stay trainable are not touched.
func (m *Model) roundFrozen() {
	if m.weights == m.dtype {
		return
	}
	rounded := map[*tensor.Tensor]*tensor.Tensor{}
	var wide []Parameter
	for i, p := range m.params {
		if p.Tensor.NeedsGrad() || p.Tensor.DType() == m.dtype {
			continue
		}
		narrow := p.Tensor.To(m.dtype)
		if s := m.sharding; s != nil {
			s.parts[narrow] = &part{elements: s.parts[p.Tensor].elements.To(m.dtype)}
			drop(narrow)
		}
		m.params[i].Tensor, rounded[p.Tensor], wide = narrow, narrow, append(wide, p)
	}
	all := []**tensor.Tensor{&m.embedding, &m.positions, &m.norm.weight, &m.norm.bias, &m.head, &m.score}
	for i := range m.layers {
		all = append(all, m.layers[i].tensors()...)
	}
	for _, t := range all {
		if narrow := rounded[*t]; narrow != nil {
			*t = narrow
		}
	}
	for _, p := range wide {
		m.discard(p)
	}
}

// cast is w in the type of activations, for the time of a forward. Autograd gives w a gradient of its own type.
func (m *Model) cast(w *tensor.Tensor) *tensor.Tensor {
	if m.weights == m.dtype {
		return w
	}
	return w.To(m.dtype)
}

// castLayer is l with its weights cast.
func (m *Model) castLayer(l *layer) *layer {
	if m.weights == m.dtype {
		return l
	}
	out := *l
	for _, w := range out.tensors() {
		if *w != nil {
			*w = m.cast(*w)
		}
	}
	return &out
}
