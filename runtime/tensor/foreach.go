package tensor

// Operators on lists of tensors, one call for all: what an optimiser's step is made of.

// ForeachAddInPlace adds alpha * others[i] to ts[i].
func ForeachAddInPlace(ts, others []*Tensor, alpha float64) {
	call0("aten::_foreach_add_.List", ts, others, alpha)
}
func ForeachMulInPlace(ts, others []*Tensor)          { call0("aten::_foreach_mul_.List", ts, others) }
func ForeachDivInPlace(ts, others []*Tensor)          { call0("aten::_foreach_div_.List", ts, others) }
func ForeachAddScalarInPlace(ts []*Tensor, v float64) { call0("aten::_foreach_add_.Scalar", ts, v) }
func ForeachMulScalarInPlace(ts []*Tensor, v float64) { call0("aten::_foreach_mul_.Scalar", ts, v) }

// ForeachAddcmulInPlace adds value * as[i] * bs[i] to ts[i], ForeachAddcdivInPlace value * as[i] / bs[i].
func ForeachAddcmulInPlace(ts, as, bs []*Tensor, value float64) {
	call0("aten::_foreach_addcmul_.Scalar", ts, as, bs, value)
}
func ForeachAddcdivInPlace(ts, as, bs []*Tensor, value float64) {
	call0("aten::_foreach_addcdiv_.Scalar", ts, as, bs, value)
}

// ForeachSqrt is the square root of every tensor.
func ForeachSqrt(ts []*Tensor) []*Tensor { return Call("aten::_foreach_sqrt", len(ts), ts) }

// ForeachNorm is the Euclidean norm of every tensor, each a scalar.
func ForeachNorm(ts []*Tensor) []*Tensor { return Call("aten::_foreach_norm.Scalar", len(ts), ts) }

// ForeachZeroInPlace sets every tensor to zero.
func ForeachZeroInPlace(ts []*Tensor) { call0("aten::_foreach_zero_", ts) }
