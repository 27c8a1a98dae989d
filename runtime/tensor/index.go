package tensor

// Indexing. Indices are int64 tensors.

// IndexSelect is the slices along dim that index (one dimension) lists.
func (t *Tensor) IndexSelect(dim int64, index *Tensor) *Tensor {
	return call1("aten::index_select", t, dim, index)
}

// Gather is t[..., index[..., k, ...], ...] along dim, of index's shape.
func (t *Tensor) Gather(dim int64, index *Tensor) *Tensor {
	return call1("aten::gather", t, dim, index)
}

// ScatterAdd adds src's elements into a copy of t, where index says along dim.
func (t *Tensor) ScatterAdd(dim int64, index, src *Tensor) *Tensor {
	return call1("aten::scatter_add", t, dim, index, src)
}

// IndexAdd adds src's slices along dim into a copy of t, at the places that index (one dimension) lists.
func (t *Tensor) IndexAdd(dim int64, index, src *Tensor) *Tensor {
	return call1("aten::index_add", t, dim, index, src)
}

// Index is t[indices[0], indices[1], ...]; nil takes a whole dimension; a Bool tensor selects where it is true.
func (t *Tensor) Index(indices ...*Tensor) *Tensor { return call1("aten::index.Tensor", t, indices) }

// IndexPutInPlace writes values to t[indices...], or adds them.
func (t *Tensor) IndexPutInPlace(values *Tensor, accumulate bool, indices ...*Tensor) *Tensor {
	call0("aten::index_put_", t, indices, values, accumulate)
	return t
}

// MaskedSelect lists the elements where mask is true.
func (t *Tensor) MaskedSelect(mask *Tensor) *Tensor { return call1("aten::masked_select", t, mask) }

// Embedding is weight's rows: [vocab, dim], indices [...] -> [..., dim].
func Embedding(weight, indices *Tensor) *Tensor { return call1("aten::embedding", weight, indices) }

// Sort orders along dim, stably; the second result says from where.
func (t *Tensor) Sort(dim int64, descending bool) (values, indices *Tensor) {
	r := Call("aten::sort.stable", 2, t, true, dim, descending)
	return r[0], r[1]
}

// TopK is the k largest along dim, largest first.
func (t *Tensor) TopK(k, dim int64) (values, indices *Tensor) {
	r := Call("aten::topk", 2, t, k, dim)
	return r[0], r[1]
}
