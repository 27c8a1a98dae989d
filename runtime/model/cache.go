package model

import (
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Cache holds the keys and values of the tokens that a generation has seen, so that each further
// token costs one row. Its slots are the columns of all rows alike; which slots a row attends to is
// said by the caller, so prompts of different lengths are padded on the right and never moved.
type Cache struct {
	model        *Model
	keys, values []*tensor.Tensor // a layer: [rows, kvHeads, slots, headDim]
	used         int64            // slots
	positions    [][]int64        // of each row's used slots
}

// NewCache has room for slots tokens in each of rows rows. It lives in the innermost scope.
func (m *Model) NewCache(rows, slots int) *Cache {
	c := &Cache{model: m, positions: make([][]int64, rows)}
	for range m.layers {
		for _, to := range []*[]*tensor.Tensor{&c.keys, &c.values} {
			*to = append(*to, tensor.Zeros(m.dtype, int64(rows), int64(m.config.NumKeyValueHeads), int64(slots), int64(m.config.HeadDim)).ToDevice(m.device))
		}
	}
	return c
}

// Used is the number of slots filled.
func (c *Cache) Used() int { return int(c.used) }

// Step runs count tokens of each row through the model, fills the next count slots with them, and
// returns the hidden states after the final norm, [rows*count, hidden]. tokens and positions are
// [rows*count]; attends is [rows*count*Used()] with Used counted after the step: whether that token
// attends to that slot. Every token must attend to its own slot. Call it inside tensor.NoGrad.
func (c *Cache) Step(count int, tokens, positions []int64, attends []bool) *tensor.Tensor {
	m := c.model
	rows, n := int64(len(tokens)/count), int64(count)
	var out *tensor.Tensor
	tensor.Scoped(func() {
		p := &pass{model: m, rows: rows, seqLen: n, cache: c}
		p.rope = m.rotation(positions)
		for r := range c.positions {
			c.positions[r] = append(c.positions[r], positions[r*count:(r+1)*count]...)
		}
		p.masks = m.masks(func(window int) *tensor.Tensor {
			return tensor.FromBool(c.within(window, positions, attends), rows, n, c.used+n).ToDevice(m.device)
		})
		out = p.run(p.embed(tokens, positions)).Keep()
	})
	c.used += n
	return out
}

// within is attends, less the slots whose position is as far as window before the token's; 0 is no window.
func (c *Cache) within(window int, positions []int64, attends []bool) []bool {
	if window == 0 {
		return attends
	}
	out := slices.Clone(attends)
	count, slots := len(positions)/len(c.positions), len(attends)/len(positions)
	for q, at := range positions {
		for k, of := range c.positions[q/count] {
			if at-of >= int64(window) {
				out[q*slots+k] = false
			}
		}
	}
	return out
}

// Logits is the head's output for rows of Step's hidden states: [len(rows), vocab], float32 or wider.
func (m *Model) Logits(hidden *tensor.Tensor, rows []int64) *tensor.Tensor {
	return m.logits(hidden.IndexSelect(0, tensor.FromInt64(rows, int64(len(rows))).ToDevice(m.device)), m.vocabulary())
}

// Select keeps the given rows only, in that order, in a cache that lives in the innermost scope.
func (c *Cache) Select(rows []int64) *Cache {
	out := &Cache{model: c.model, used: c.used}
	index := tensor.FromInt64(rows, int64(len(rows))).ToDevice(c.model.device)
	for _, row := range rows {
		out.positions = append(out.positions, slices.Clone(c.positions[row]))
	}
	for i := range c.keys {
		out.keys = append(out.keys, c.keys[i].IndexSelect(0, index))
		out.values = append(out.values, c.values[i].IndexSelect(0, index))
	}
	return out
}

// append stores a layer's new keys and values, [rows, kvHeads, count, headDim], and returns all so far.
func (c *Cache) append(layer int, k, v *tensor.Tensor) (keys, values *tensor.Tensor) {
	count := k.Dim(2)
	c.keys[layer].Narrow(2, c.used, count).CopyInPlace(k)
	c.values[layer].Narrow(2, c.used, count).CopyInPlace(v)
	return c.keys[layer].Narrow(2, 0, c.used+count), c.values[layer].Narrow(2, 0, c.used+count)
}
