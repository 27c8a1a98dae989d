package model

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// Cache holds the keys and values of the tokens that a generation has seen, so that each further
// token costs one row. Its slots are the columns of all rows alike; which slots a row attends to is
// said by the caller, so prompts of different lengths are padded on the right and never moved.
type Cache struct {
	model        *Model
	keys, values []*tensor.Tensor // a layer: [rows, kvHeads, slots, headDim]
	used         int64            // slots
}

// NewCache has room for slots tokens in each of rows rows. It lives in the innermost scope.
func (m *Model) NewCache(rows, slots int) *Cache {
	c := &Cache{model: m}
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
		p.mask = m.expandMask(tensor.FromBool(attends, rows, n, c.used+n).ToDevice(m.device))
		out = p.run(p.embed(tokens)).Keep()
	})
	c.used += n
	return out
}

// Logits is the head's output for rows of Step's hidden states: [len(rows), vocab], float32 or wider.
func (m *Model) Logits(hidden *tensor.Tensor, rows []int64) *tensor.Tensor {
	return m.logits(hidden.IndexSelect(0, tensor.FromInt64(rows, int64(len(rows))).ToDevice(m.device)))
}

// Select keeps the given rows only, in that order, in a cache that lives in the innermost scope.
func (c *Cache) Select(rows []int64) *Cache {
	out := &Cache{model: c.model, used: c.used}
	index := tensor.FromInt64(rows, int64(len(rows))).ToDevice(c.model.device)
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
