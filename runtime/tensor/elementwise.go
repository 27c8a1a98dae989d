package tensor

// Elementwise operators. Shapes broadcast as in NumPy; types promote as in PyTorch.

func (t *Tensor) Add(o *Tensor) *Tensor     { return call1("aten::add.Tensor", t, o) }
func (t *Tensor) Sub(o *Tensor) *Tensor     { return call1("aten::sub.Tensor", t, o) }
func (t *Tensor) Mul(o *Tensor) *Tensor     { return call1("aten::mul.Tensor", t, o) }
func (t *Tensor) Div(o *Tensor) *Tensor     { return call1("aten::div.Tensor", t, o) }
func (t *Tensor) Maximum(o *Tensor) *Tensor { return call1("aten::maximum", t, o) }
func (t *Tensor) Minimum(o *Tensor) *Tensor { return call1("aten::minimum", t, o) }

// AddScaled is t + alpha * o.
func (t *Tensor) AddScaled(o *Tensor, alpha float64) *Tensor {
	return call1("aten::add.Tensor", t, o, alpha)
}

func (t *Tensor) AddScalar(v float64) *Tensor { return call1("aten::add.Scalar", t, v) }
func (t *Tensor) SubScalar(v float64) *Tensor { return call1("aten::sub.Scalar", t, v) }
func (t *Tensor) MulScalar(v float64) *Tensor { return call1("aten::mul.Scalar", t, v) }
func (t *Tensor) DivScalar(v float64) *Tensor { return call1("aten::div.Scalar", t, v) }
func (t *Tensor) Pow(v float64) *Tensor       { return call1("aten::pow.Tensor_Scalar", t, v) }

func (t *Tensor) Neg() *Tensor        { return call1("aten::neg", t) }
func (t *Tensor) Exp() *Tensor        { return call1("aten::exp", t) }
func (t *Tensor) Log() *Tensor        { return call1("aten::log", t) }
func (t *Tensor) Log1p() *Tensor      { return call1("aten::log1p", t) }
func (t *Tensor) Expm1() *Tensor      { return call1("aten::expm1", t) }
func (t *Tensor) Sqrt() *Tensor       { return call1("aten::sqrt", t) }
func (t *Tensor) Rsqrt() *Tensor      { return call1("aten::rsqrt", t) }
func (t *Tensor) Reciprocal() *Tensor { return call1("aten::reciprocal", t) }
func (t *Tensor) Square() *Tensor     { return call1("aten::square", t) }
func (t *Tensor) Abs() *Tensor        { return call1("aten::abs", t) }
func (t *Tensor) Sign() *Tensor       { return call1("aten::sign", t) }
func (t *Tensor) Sin() *Tensor        { return call1("aten::sin", t) }
func (t *Tensor) Cos() *Tensor        { return call1("aten::cos", t) }
func (t *Tensor) Round() *Tensor      { return call1("aten::round", t) }
func (t *Tensor) Floor() *Tensor      { return call1("aten::floor", t) }

func (t *Tensor) Sigmoid() *Tensor    { return call1("aten::sigmoid", t) }
func (t *Tensor) LogSigmoid() *Tensor { return call1("aten::log_sigmoid", t) }
func (t *Tensor) Softplus() *Tensor   { return call1("aten::softplus", t) }
func (t *Tensor) Tanh() *Tensor       { return call1("aten::tanh", t) }
func (t *Tensor) Silu() *Tensor       { return call1("aten::silu", t) }
func (t *Tensor) Relu() *Tensor       { return call1("aten::relu", t) }

// Gelu is the exact one, x * Phi(x).
func (t *Tensor) Gelu() *Tensor { return call1("aten::gelu", t) }

func (t *Tensor) Clamp(low, high float64) *Tensor { return call1("aten::clamp", t, low, high) }
func (t *Tensor) ClampMin(low float64) *Tensor    { return call1("aten::clamp_min", t, low) }
func (t *Tensor) ClampMax(high float64) *Tensor   { return call1("aten::clamp_max", t, high) }

// Where is a where cond is true, b elsewhere.
func Where(cond, a, b *Tensor) *Tensor { return call1("aten::where.self", cond, a, b) }

// MaskedFill is v where mask is true, t elsewhere.
func (t *Tensor) MaskedFill(mask *Tensor, v float64) *Tensor {
	return call1("aten::masked_fill.Scalar", t, mask, v)
}

// Comparisons give a Bool tensor.

func (t *Tensor) Eq(o *Tensor) *Tensor { return call1("aten::eq.Tensor", t, o) }
func (t *Tensor) Ne(o *Tensor) *Tensor { return call1("aten::ne.Tensor", t, o) }
func (t *Tensor) Lt(o *Tensor) *Tensor { return call1("aten::lt.Tensor", t, o) }
func (t *Tensor) Le(o *Tensor) *Tensor { return call1("aten::le.Tensor", t, o) }
func (t *Tensor) Gt(o *Tensor) *Tensor { return call1("aten::gt.Tensor", t, o) }
func (t *Tensor) Ge(o *Tensor) *Tensor { return call1("aten::ge.Tensor", t, o) }

func (t *Tensor) EqScalar(v float64) *Tensor { return call1("aten::eq.Scalar", t, v) }
func (t *Tensor) NeScalar(v float64) *Tensor { return call1("aten::ne.Scalar", t, v) }
func (t *Tensor) LtScalar(v float64) *Tensor { return call1("aten::lt.Scalar", t, v) }
func (t *Tensor) LeScalar(v float64) *Tensor { return call1("aten::le.Scalar", t, v) }
func (t *Tensor) GtScalar(v float64) *Tensor { return call1("aten::gt.Scalar", t, v) }
func (t *Tensor) GeScalar(v float64) *Tensor { return call1("aten::ge.Scalar", t, v) }

func (t *Tensor) LogicalAnd(o *Tensor) *Tensor { return call1("aten::logical_and", t, o) }
func (t *Tensor) LogicalOr(o *Tensor) *Tensor  { return call1("aten::logical_or", t, o) }
func (t *Tensor) LogicalNot() *Tensor          { return call1("aten::logical_not", t) }

func (t *Tensor) IsFinite() *Tensor { return call1("aten::isfinite", t) }
func (t *Tensor) IsNan() *Tensor    { return call1("aten::isnan", t) }

// To converts the elements' type; a tensor of that type already is returned as a second handle on the same storage.
func (t *Tensor) To(dtype DType) *Tensor {
	return call1("aten::to.dtype", t, dtype)
}

// ToDevice copies to a device, unless it is there already.
func (t *Tensor) ToDevice(device Device) *Tensor {
	return call1("aten::to.device", t, device, t.DType())
}
