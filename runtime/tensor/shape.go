package tensor

// Shapes. Where libtorch can, the result is a view on the same storage.

// Reshape copies when it must, View panics then. One dimension may be -1.
func (t *Tensor) Reshape(shape ...int64) *Tensor { return call1("aten::reshape", t, shape) }
func (t *Tensor) View(shape ...int64) *Tensor    { return call1("aten::view", t, shape) }

func (t *Tensor) Transpose(a, b int64) *Tensor  { return call1("aten::transpose.int", t, a, b) }
func (t *Tensor) Permute(dims ...int64) *Tensor { return call1("aten::permute", t, dims) }
func (t *Tensor) Unsqueeze(dim int64) *Tensor   { return call1("aten::unsqueeze", t, dim) }
func (t *Tensor) Squeeze(dim int64) *Tensor     { return call1("aten::squeeze.dim", t, dim) }
func (t *Tensor) Flatten(from, to int64) *Tensor {
	return call1("aten::flatten.using_ints", t, from, to)
}
func (t *Tensor) Expand(shape ...int64) *Tensor   { return call1("aten::expand", t, shape) }
func (t *Tensor) Contiguous() *Tensor             { return call1("aten::contiguous", t) }
func (t *Tensor) Clone() *Tensor                  { return call1("aten::clone", t) }
func (t *Tensor) Flip(dims ...int64) *Tensor      { return call1("aten::flip", t, dims) }
func (t *Tensor) Repeat(repeats ...int64) *Tensor { return call1("aten::repeat", t, repeats) }

// RepeatInterleave repeats every slice along dim n times: a a b b c c.
func (t *Tensor) RepeatInterleave(n, dim int64) *Tensor {
	return call1("aten::repeat_interleave.self_int", t, n, dim)
}

// Narrow is length slices along dim from start on; Slice those from start up to end, either negative from the end.
func (t *Tensor) Narrow(dim, start, length int64) *Tensor {
	return call1("aten::narrow", t, dim, start, length)
}
func (t *Tensor) Slice(dim, start, end int64) *Tensor {
	return call1("aten::slice.Tensor", t, dim, start, end)
}

// Select is slice i along dim, without that dimension.
func (t *Tensor) Select(dim, i int64) *Tensor { return call1("aten::select.int", t, dim, i) }

// Cat joins along an existing dimension, Stack along a new one.
func Cat(dim int64, ts ...*Tensor) *Tensor   { return call1("aten::cat", ts, dim) }
func Stack(dim int64, ts ...*Tensor) *Tensor { return call1("aten::stack", ts, dim) }

// Split gives pieces of size slices along dim, the last one perhaps smaller; SplitSizes pieces of those sizes; Chunk
// at most n pieces.
func (t *Tensor) Split(size, dim int64) []*Tensor {
	return Call("aten::split.Tensor", -1, t, size, dim)
}
func (t *Tensor) SplitSizes(dim int64, sizes ...int64) []*Tensor {
	return Call("aten::split_with_sizes", len(sizes), t, sizes, dim)
}
func (t *Tensor) Chunk(n, dim int64) []*Tensor { return Call("aten::chunk", -1, t, n, dim) }

// Tril keeps what is on or below the diagonal-th diagonal, Triu what is on or above it.
func (t *Tensor) Tril(diagonal int64) *Tensor { return call1("aten::tril", t, diagonal) }
func (t *Tensor) Triu(diagonal int64) *Tensor { return call1("aten::triu", t, diagonal) }
