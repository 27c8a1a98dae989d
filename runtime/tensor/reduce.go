package tensor

// Reductions. keep leaves a reduced dimension with size 1; dimensions may be negative.

// Sum, Mean and Max are over all elements.
func (t *Tensor) Sum() *Tensor  { return call1("aten::sum", t) }
func (t *Tensor) Mean() *Tensor { return call1("aten::mean", t) }
func (t *Tensor) Max() *Tensor  { return call1("aten::max", t) }
func (t *Tensor) Min() *Tensor  { return call1("aten::min", t) }

func (t *Tensor) SumDim(keep bool, dims ...int64) *Tensor {
	return call1("aten::sum.dim_IntList", t, dims, keep)
}
func (t *Tensor) MeanDim(keep bool, dims ...int64) *Tensor {
	return call1("aten::mean.dim", t, dims, keep)
}

// MaxDim is the largest value along dim; ArgMax its index (int64). MinDim likewise.
func (t *Tensor) MaxDim(dim int64, keep bool) *Tensor { return call1("aten::amax", t, dim, keep) }
func (t *Tensor) MinDim(dim int64, keep bool) *Tensor { return call1("aten::amin", t, dim, keep) }
func (t *Tensor) ArgMax(dim int64) *Tensor            { return call1("aten::argmax", t, dim) }

// Var is over all elements, VarDim along dimensions; unbiased divides by n-1.
func (t *Tensor) Var(unbiased bool) *Tensor { return call1("aten::var", t, unbiased) }
func (t *Tensor) VarDim(unbiased, keep bool, dims ...int64) *Tensor {
	return call1("aten::var.dim", t, dims, unbiased, keep)
}

// LogSumExp is log(sum(exp(t))) along dim, without overflow.
func (t *Tensor) LogSumExp(dim int64, keep bool) *Tensor {
	return call1("aten::logsumexp", t, dim, keep)
}
func (t *Tensor) CumSum(dim int64) *Tensor { return call1("aten::cumsum", t, dim) }

// Any and All are over all elements of a Bool tensor.
func (t *Tensor) Any() *Tensor { return call1("aten::any", t) }
func (t *Tensor) All() *Tensor { return call1("aten::all", t) }

// Norm is the Euclidean norm of all elements.
func (t *Tensor) Norm() *Tensor { return call1("aten::norm.Scalar", t) }

// Equal says whether two tensors have the same shape and the same elements.
func (t *Tensor) Equal(o *Tensor) bool {
	equal := call1("aten::equal", t, o)
	defer equal.Free()
	return equal.Item() != 0
}
