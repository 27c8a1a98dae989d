package model

import (
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// forward is a Hidden under activation checkpointing that waits for FinishBackward. Its tensors belong to
// the scope that Hidden was called in and end with it, by a panic too.
type forward struct {
	in     Input
	first  int              // layer that has gradients
	inputs []*tensor.Tensor // of each layer from it on, [tokens, hidden]; the first has the embedding's graph, the others none
	top    *tensor.Tensor   // the last layer's output, [tokens, hidden]: a leaf, where Backward ends
}

// CheckpointActivations turns activation checkpointing (arXiv:1604.06174) on or off for the calls of Hidden
// that follow. On, Hidden keeps no more of a layer than its input, and loss.Backward() gives gradients to
// the head and the final norm alone; FinishBackward gives the others theirs, for one more forward of every
// layer. Call it after Backward, in the scope that Hidden was called in, before the weights change; till
// then the Input's slices must stay as they are. A Hidden inside tensor.NoGrad, or of a model with frozen
// embedding and layers, runs as without; of frozen layers below the others nothing is kept or recomputed.
func (m *Model) CheckpointActivations(on bool) { m.checkpoint = on }

// FinishBackward adds to the parameters' Grad what Backward has left out, for every Hidden and TokenLogps since the last
// call, however many losses they went into; one that no Backward has reached is dropped. It does nothing
// when nothing is pending, as without activation checkpointing and large products of the head.
func (m *Model) FinishBackward() {
	heads, pending := m.heads, m.pending
	m.heads, m.pending = nil, nil
	for _, c := range heads { // first: their gradients go on into the layers
		m.finishHead(c)
	}
	for _, f := range pending {
		m.finish(f)
	}
	m.reduceOuter()
}

// firstTrained is the first layer whose gradients are needed; len(m.layers) when none's are.
func (m *Model) firstTrained() int {
	if m.embedding.NeedsGrad() || m.positions != nil && m.positions.NeedsGrad() {
		return 0
	}
	for i := range m.layers {
		for _, w := range m.layers[i].projections() {
			if w.weight.NeedsGrad() || w.lora.a != nil && w.lora.a.NeedsGrad() {
				return i
			}
		}
	}
	return len(m.layers)
}

// checkpointed is run with autograd for the embedding and, from a leaf, the final norm, and without for the
// layers between.
func (p *pass) checkpointed(in Input, x *tensor.Tensor, first int) *tensor.Tensor {
	m := p.model
	f := &forward{in: in, first: first, top: x}
	tensor.NoGrad(func() {
		for i := range m.layers {
			if i >= first {
				f.inputs = append(f.inputs, f.top)
			}
			m.with(i, func() {
				tensor.Scoped(func() { f.top = p.layer(i, f.top).Keep() }) // [tokens, hidden]
			})
		}
	})
	out := m.normalise(f.top.RequiresGrad(true), m.norm) // [tokens, hidden]
	for _, x := range f.inputs {
		x.Keep() // in Hidden's caller's scope
	}
	f.top.Keep()
	m.pending = append(slices.DeleteFunc(m.pending, func(f *forward) bool { return freed(f.top) }), f)
	return out
}

// finish takes the gradient down from the last layer's output. Each layer runs once more, on a leaf, to have
// its graph; every tensor is freed where it has done its part.
func (m *Model) finish(f *forward) {
	tensor.Scoped(func() {
		grad := f.top.Grad() // [tokens, hidden]
		f.top.Free()
		var p *pass
		if grad != nil {
			p = m.newPass(f.in)
		}
		for i, input := range slices.Backward(f.inputs) {
			if grad != nil {
				further := i > 0 || input.NeedsGrad()
				m.with(f.first+i, func() {
					tensor.Scoped(func() {
						x := input.Detach().RequiresGrad(further) // [tokens, hidden]
						tensor.EnableGrad(func() { p.layer(f.first+i, x).BackwardWith(grad) })
						grad.Free()
						if further {
							grad = x.Grad().Keep() // [tokens, hidden]
						}
					})
					m.reduceBlock(f.first + i)
				})
				if i == 0 && further {
					input.BackwardWith(grad) // through the embedding
				}
			}
			input.Free()
		}
	})
}

// freed says that the scope of t has ended.
func freed(t *tensor.Tensor) (yes bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, yes = p.(*tensor.Error); !yes {
				panic(p)
			}
		}
	}()
	t.Dims() // panics then
	return false
}
