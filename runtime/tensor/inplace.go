package tensor

// Operators in place. They return the tensor that they change. On a parameter that requires gradients they need NoGrad.

// AddInPlace adds alpha * o.
func (t *Tensor) AddInPlace(o *Tensor, alpha float64) *Tensor {
	call0("aten::add_.Tensor", t, o, alpha)
	return t
}
func (t *Tensor) MulInPlace(o *Tensor) *Tensor {
	call0("aten::mul_.Tensor", t, o)
	return t
}
func (t *Tensor) AddScalarInPlace(v float64) *Tensor {
	call0("aten::add_.Scalar", t, v)
	return t
}
func (t *Tensor) MulScalarInPlace(v float64) *Tensor {
	call0("aten::mul_.Scalar", t, v)
	return t
}

// AddcmulInPlace adds value * a * b, AddcdivInPlace value * a / b.
func (t *Tensor) AddcmulInPlace(a, b *Tensor, value float64) *Tensor {
	call0("aten::addcmul_", t, a, b, value)
	return t
}
func (t *Tensor) AddcdivInPlace(a, b *Tensor, value float64) *Tensor {
	call0("aten::addcdiv_", t, a, b, value)
	return t
}

// LerpInPlace moves t towards end by weight of the way.
func (t *Tensor) LerpInPlace(end *Tensor, weight float64) *Tensor {
	call0("aten::lerp_.Scalar", t, end, weight)
	return t
}

// CopyInPlace copies src, broadcast and converted, across devices too.
func (t *Tensor) CopyInPlace(src *Tensor) *Tensor {
	call0("aten::copy_", t, src)
	return t
}
func (t *Tensor) ZeroInPlace() *Tensor {
	call0("aten::zero_", t)
	return t
}
func (t *Tensor) FillInPlace(v float64) *Tensor {
	call0("aten::fill_.Scalar", t, v)
	return t
}
func (t *Tensor) ClampMinInPlace(low float64) *Tensor {
	call0("aten::clamp_min_", t, low)
	return t
}
func (t *Tensor) ClampMaxInPlace(high float64) *Tensor {
	call0("aten::clamp_max_", t, high)
	return t
}
func (t *Tensor) SqrtInPlace() *Tensor {
	call0("aten::sqrt_", t)
	return t
}
func (t *Tensor) ExpInPlace() *Tensor {
	call0("aten::exp_", t)
	return t
}

// ScatterAddInPlace adds src's elements where index says along dim.
func (t *Tensor) ScatterAddInPlace(dim int64, index, src *Tensor) *Tensor {
	call0("aten::scatter_add_", t, dim, index, src)
	return t
}

// AddProductInPlace adds a b, for a [n, k] and b [k, m] of t's type.
func (t *Tensor) AddProductInPlace(a, b *Tensor) *Tensor {
	call0("aten::addmm_", t, a, b)
	return t
}
