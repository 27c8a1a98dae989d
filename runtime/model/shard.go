package model

import (
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// sharding is the state of models whose weights the ranks of a group divide among them (arXiv:1910.02054, stage 3;
// arXiv:2304.11277). A weight keeps its shape, and its tensor its place in the model; but its elements are there only
// while they are needed: gather brings those of a block, release drops them. Gradients go, by reduce, to the parts that
// they are of. Models that share a frozen weight share its part.
type sharding struct {
	group *distributed.Group
	parts map[*tensor.Tensor]*part // of a weight
}

// part is a rank's of one weight: part r of the elements in a row, cut in World equal ones, the last filled up with zeros.
type part struct {
	elements *tensor.Tensor // [ceil(n/World)]; its Grad is that of the weight, summed over ranks
	holders  int            // of the weight's elements, which are here when there is one
}

// newSharding is nil for a group of one, and without one.
func newSharding(ranks []*distributed.Group) *sharding {
	if len(ranks) == 0 || ranks[0].World() == 1 {
		return nil
	}
	return &sharding{group: ranks[0], parts: map[*tensor.Tensor]*part{}}
}

// cut keeps this rank's part of a weight, which must be whole, and drops the rest. The part lives in the innermost scope.
func (s *sharding) cut(weight *tensor.Tensor) {
	s.parts[weight] = &part{elements: tensor.Zeros(weight.DType(), partLength(weight.NumElements(), s.group)).ToDevice(weight.Device())}
	s.take(weight)
	drop(weight)
}

// take makes this rank's part of a weight what the weight is, which must be whole.
func (s *sharding) take(weight *tensor.Tensor) {
	tensor.Scoped(func() {
		tensor.NoGrad(func() {
			elements, flat := s.parts[weight].elements, weight.Detach().Reshape(-1)
			n := flat.NumElements()
			from := min(int64(s.group.Rank())*elements.NumElements(), n)
			count := min(elements.NumElements(), n-from)
			elements.Narrow(0, 0, count).CopyInPlace(flat.Narrow(0, from, count))
		})
	})
}

// partLength is the elements of a part of n.
func partLength(n int64, g *distributed.Group) int64 {
	return (n + int64(g.World()) - 1) / int64(g.World())
}

// drop frees a weight's elements and leaves its shape: one element stands for all.
func drop(weight *tensor.Tensor) {
	tensor.Scoped(func() {
		tensor.NoGrad(func() {
			set(weight, tensor.Zeros(weight.DType(), 1).ToDevice(weight.Device()).Expand(weight.Shape()...))
		})
	})
}

// set makes a weight's elements those of a tensor of its shape, on the same storage.
func set(weight, to *tensor.Tensor) { tensor.Call("aten::set_.source_Tensor", 0, weight, to) }

// gather holds weights, and brings the elements of those that are not here with one collective: every rank calls it for the same.
func (s *sharding) gather(weights []*tensor.Tensor) {
	weights = slices.DeleteFunc(slices.Clone(weights), func(w *tensor.Tensor) bool {
		s.parts[w].holders++
		return s.parts[w].holders > 1
	})
	for len(weights) > 0 { // those of one type at a time: frozen ones may be narrower
		dtype := weights[0].DType()
		other := func(w *tensor.Tensor) bool { return w.DType() != dtype }
		s.gatherAlike(slices.DeleteFunc(slices.Clone(weights), other))
		weights = slices.DeleteFunc(weights, func(w *tensor.Tensor) bool { return !other(w) })
	}
}

func (s *sharding) gatherAlike(weights []*tensor.Tensor) {
	tensor.Scoped(func() {
		tensor.NoGrad(func() {
			var parts []*tensor.Tensor
			for _, w := range weights {
				parts = append(parts, s.parts[w].elements)
			}
			in := tensor.Cat(0, parts...) // [sum of lengths]
			dtype := in.DType()
			if dtype == tensor.BFloat16 { // Gloo lacks it; bits are moved, and nothing is added
				in = as(in, tensor.Float16)
			}
			world := int64(s.group.World())
			out := tensor.Empty(in.DType(), world*in.NumElements()).ToDevice(in.Device())
			s.group.AllGather(out, in)
			ranks := as(out, dtype).Reshape(world, -1) // [World, sum of lengths]
			var at int64
			for i, w := range weights {
				length := parts[i].NumElements()
				flat := ranks.Narrow(1, at, length).Clone().Reshape(-1) // [World*length]
				set(w, flat.Narrow(0, 0, w.NumElements()).Reshape(w.Shape()...))
				at += length
			}
		})
	})
}

// as is the same bits in another type of the same width.
func as(t *tensor.Tensor, dtype tensor.DType) *tensor.Tensor {
	return tensor.Call("aten::view.dtype", 1, t, dtype)[0]
}

// release gives up weights, and drops the elements of those that nobody holds.
func (s *sharding) release(weights []*tensor.Tensor) {
	for _, w := range weights {
		p := s.parts[w]
		if p.holders--; p.holders == 0 {
			drop(w)
		}
	}
}

// during calls f while the elements of weights are here.
func (s *sharding) during(weights []*tensor.Tensor, f func()) {
	if s == nil {
		f()
		return
	}
	s.gather(weights)
	f()
	s.release(weights)
}

// reduce adds to the parts' gradients those of the weights, summed over ranks, and forgets the latter. Every rank
// calls it for the same weights.
func (s *sharding) reduce(weights []*tensor.Tensor) {
	weights = slices.DeleteFunc(slices.Clone(weights), func(w *tensor.Tensor) bool { return !w.NeedsGrad() })
	if len(weights) == 0 {
		return
	}
	tensor.Scoped(func() {
		tensor.NoGrad(func() {
			var sum int64
			for _, w := range weights {
				sum += s.parts[w].elements.NumElements()
			}
			world := int64(s.group.World())
			first := s.parts[weights[0]].elements
			in := tensor.Zeros(first.DType(), world*sum).ToDevice(first.Device()) // [World, sum of lengths]
			var at int64
			for _, w := range weights {
				length := s.parts[w].elements.NumElements()
				if grad := w.Grad(); grad != nil { // rank by rank, the last of which may have less or nothing
					flat, n := grad.Reshape(-1), grad.NumElements()
					full := n / length
					ranks := in.Reshape(world, sum).Narrow(1, at, length)
					ranks.Narrow(0, 0, full).CopyInPlace(flat.Narrow(0, 0, full*length).Reshape(full, length))
					if rest := n - full*length; rest > 0 {
						ranks.Select(0, full).Narrow(0, 0, rest).CopyInPlace(flat.Narrow(0, full*length, rest))
					}
					w.ZeroGrad()
				}
				at += length
			}
			out := tensor.Empty(first.DType(), sum).ToDevice(first.Device())
			s.group.ReduceScatter(out, in)
			at = 0
			for _, w := range weights {
				p := s.parts[w].elements
				grad := out.Narrow(0, at, p.NumElements())
				if had := p.Grad(); had != nil {
					had.AddInPlace(grad, 1)
				} else {
					p.SetGrad(grad)
				}
				at += p.NumElements()
			}
		})
	})
}

// Sharded says that the ranks of a group divide the model's weights among them. Each Hidden is then a meeting of all
// ranks, and so are FinishBackward, Clone and Whole.
func (m *Model) Sharded() bool { return m.sharding != nil }

// Whole calls f while all weights are here, as generation needs them, in every rank.
func (m *Model) Whole(f func()) {
	if m.sharding == nil {
		f()
		return
	}
	for i := range m.layers {
		m.sharding.gather(m.blockWeights(i))
	}
	m.sharding.during(m.outerWeights(), f)
	for i := range m.layers {
		m.sharding.release(m.blockWeights(i))
	}
}

// Release drops the embedding, the norm and the head, which Hidden leaves for what comes after it. FinishBackward does
// so too: call it where no Backward follows. It does nothing for a model that is not sharded.
func (m *Model) Release() {
	if m.opened {
		m.opened = false
		m.sharding.release(m.outerWeights())
	}
}

// open brings what is outside of the blocks, until Release.
func (m *Model) open() {
	if m.sharding != nil && !m.opened {
		m.opened = true
		m.sharding.gather(m.outerWeights())
	}
}

// with calls f while block i's weights are here.
func (m *Model) with(i int, f func()) { m.sharding.during(m.blockWeights(i), f) }

// reduceBlock gives the parts of block i their gradients.
func (m *Model) reduceBlock(i int) {
	if m.sharding != nil {
		m.sharding.reduce(m.blockWeights(i))
	}
}

// reduceOuter gives the parts of what is outside of the blocks their gradients, and drops it.
func (m *Model) reduceOuter() {
	if m.opened {
		m.sharding.reduce(m.outerWeights())
		m.Release()
	}
}

// keep is Keep of a parameter, and of this rank's part of it.
func (m *Model) keep(p Parameter) {
	p.Tensor.Keep()
	if m.sharding != nil {
		m.sharding.parts[p.Tensor].elements.Keep()
	}
}

// discard is Free of a parameter, and of this rank's part of it.
func (m *Model) discard(p Parameter) {
	if m.sharding != nil {
		m.sharding.parts[p.Tensor].elements.Free()
		delete(m.sharding.parts, p.Tensor)
	}
	p.Tensor.Free()
}

// assign copies the values of a weight of the same shape.
func (m *Model) assign(to, from *tensor.Tensor) {
	if m.sharding != nil {
		to, from = m.sharding.parts[to].elements, m.sharding.parts[from].elements
	}
	tensor.NoGrad(func() { to.CopyInPlace(from) })
}

// changed says that a weight, which is here, has other values now.
func (m *Model) changed(weight *tensor.Tensor) {
	if m.sharding != nil {
		m.sharding.take(weight)
	}
}

func (m *Model) blockWeights(i int) []*tensor.Tensor {
	return m.weightsIn(func(name string) bool { return strings.HasPrefix(name, m.config.blockName(i)) })
}

func (m *Model) outerWeights() []*tensor.Tensor {
	return m.weightsIn(func(name string) bool {
		for i := range m.layers {
			if strings.HasPrefix(name, m.config.blockName(i)) {
				return false
			}
		}
		return true
	})
}

// weightsIn picks a sharded model's weights by their names.
func (m *Model) weightsIn(in func(name string) bool) (weights []*tensor.Tensor) {
	if m.sharding == nil {
		return nil
	}
	for _, p := range m.params {
		if in(p.Name) {
			weights = append(weights, p.Tensor)
		}
	}
	return weights
}
