package tensor_test

import (
	"math"
	"slices"
	"testing"

	. "github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tensor/gradcheck"
)

// Every function of one real number against Go's own, and its gradient against finite differences.
func TestUnary(t *testing.T) {
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for _, c := range []struct {
		name string
		op   func(*Tensor) *Tensor
		f    func(float64) float64
	}{
		{"AddScalar", func(x *Tensor) *Tensor { return x.AddScalar(3) }, func(x float64) float64 { return x + 3 }},
		{"SubScalar", func(x *Tensor) *Tensor { return x.SubScalar(3) }, func(x float64) float64 { return x - 3 }},
		{"MulScalar", func(x *Tensor) *Tensor { return x.MulScalar(3) }, func(x float64) float64 { return x * 3 }},
		{"DivScalar", func(x *Tensor) *Tensor { return x.DivScalar(4) }, func(x float64) float64 { return x / 4 }},
		{"Pow", func(x *Tensor) *Tensor { return x.Pow(1.5) }, func(x float64) float64 { return math.Pow(x, 1.5) }},
		{"Neg", (*Tensor).Neg, func(x float64) float64 { return -x }},
		{"Exp", (*Tensor).Exp, math.Exp},
		{"Log", (*Tensor).Log, math.Log},
		{"Log1p", (*Tensor).Log1p, math.Log1p},
		{"Expm1", (*Tensor).Expm1, math.Expm1},
		{"Sqrt", (*Tensor).Sqrt, math.Sqrt},
		{"Rsqrt", (*Tensor).Rsqrt, func(x float64) float64 { return 1 / math.Sqrt(x) }},
		{"Reciprocal", (*Tensor).Reciprocal, func(x float64) float64 { return 1 / x }},
		{"Square", (*Tensor).Square, func(x float64) float64 { return x * x }},
		{"Abs", (*Tensor).Abs, math.Abs},
		{"Sin", (*Tensor).Sin, math.Sin},
		{"Cos", (*Tensor).Cos, math.Cos},
		{"Sigmoid", (*Tensor).Sigmoid, sigmoid},
		{"LogSigmoid", (*Tensor).LogSigmoid, func(x float64) float64 { return -math.Log1p(math.Exp(-x)) }},
		{"Softplus", (*Tensor).Softplus, func(x float64) float64 { return math.Log1p(math.Exp(x)) }},
		{"Tanh", (*Tensor).Tanh, math.Tanh},
		{"Silu", (*Tensor).Silu, func(x float64) float64 { return x * sigmoid(x) }},
		{"Relu", (*Tensor).Relu, func(x float64) float64 { return max(x, 0) }},
		{"Gelu", (*Tensor).Gelu, func(x float64) float64 { return x / 2 * (1 + math.Erf(x/math.Sqrt2)) }},
		{"Clamp", func(x *Tensor) *Tensor { return x.Clamp(-1, 1) }, func(x float64) float64 { return min(max(x, -1), 1) }},
		{"ClampMin", func(x *Tensor) *Tensor { return x.ClampMin(1) }, func(x float64) float64 { return max(x, 1) }},
		{"ClampMax", func(x *Tensor) *Tensor { return x.ClampMax(1) }, func(x float64) float64 { return min(x, 1) }},
		{"Sign", (*Tensor).Sign, func(x float64) float64 { return math.Copysign(1, x) }},
		{"Round", (*Tensor).Round, math.RoundToEven},
		{"Floor", (*Tensor).Floor, math.Floor},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func() {
				var in, out []float64
				for _, x := range []float64{-1.7, -0.4, 0.3, 0.9, 2.6} {
					if y := c.f(x); !math.IsNaN(y) { // outside of the domain
						in, out = append(in, x), append(out, y)
					}
				}
				want(t, c.name, c.op(f64(in...)), nil, out...)
				if err := gradcheck.Check(func(v []*Tensor) *Tensor { return c.op(v[0]) }, f64(in...)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestBinary(t *testing.T) {
	for _, c := range []struct {
		name string
		op   func(a, b *Tensor) *Tensor
		want []float64
	}{
		{"Add", (*Tensor).Add, []float64{3, 1, 10}},
		{"Sub", (*Tensor).Sub, []float64{-1, -5, 2}},
		{"Mul", (*Tensor).Mul, []float64{2, -6, 24}},
		{"Div", (*Tensor).Div, []float64{0.5, -2.0 / 3, 1.5}},
		{"AddScaled", func(a, b *Tensor) *Tensor { return a.AddScaled(b, 0.5) }, []float64{2, -0.5, 8}},
		{"Maximum", (*Tensor).Maximum, []float64{2, 3, 6}},
		{"Minimum", (*Tensor).Minimum, []float64{1, -2, 4}},
		{"Where", func(a, b *Tensor) *Tensor { return Where(FromBool([]bool{true, false, true}, 3), a, b) }, []float64{1, 3, 6}},
	} {
		run(t, func() {
			a, b := f64(1, -2, 6), f64(2, 3, 4)
			want(t, c.name, c.op(a, b), nil, c.want...)
			if err := gradcheck.Check(func(v []*Tensor) *Tensor { return c.op(v[0], v[1]) }, a, b); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		})
	}
}

func TestComparisons(t *testing.T) {
	run(t, func() {
		a, b := f64(1, 2, 3), f64(2, 2, 2)
		for name, c := range map[string]struct {
			got  *Tensor
			want []bool
		}{
			"Eq": {a.Eq(b), []bool{false, true, false}}, "EqScalar": {a.EqScalar(2), []bool{false, true, false}},
			"Ne": {a.Ne(b), []bool{true, false, true}}, "NeScalar": {a.NeScalar(2), []bool{true, false, true}},
			"Lt": {a.Lt(b), []bool{true, false, false}}, "LtScalar": {a.LtScalar(2), []bool{true, false, false}},
			"Le": {a.Le(b), []bool{true, true, false}}, "LeScalar": {a.LeScalar(2), []bool{true, true, false}},
			"Gt": {a.Gt(b), []bool{false, false, true}}, "GtScalar": {a.GtScalar(2), []bool{false, false, true}},
			"Ge": {a.Ge(b), []bool{false, true, true}}, "GeScalar": {a.GeScalar(2), []bool{false, true, true}},
			"LogicalAnd": {a.Ge(b).LogicalAnd(a.Le(b)), []bool{false, true, false}},
			"LogicalOr":  {a.Gt(b).LogicalOr(a.Lt(b)), []bool{true, false, true}},
			"LogicalNot": {a.Gt(b).LogicalNot(), []bool{true, true, false}},
			"IsFinite":   {f64(1, math.Inf(1), math.NaN()).IsFinite(), []bool{true, false, false}},
			"IsNan":      {f64(1, math.Inf(1), math.NaN()).IsNan(), []bool{false, false, true}},
		} {
			if c.got.DType() != Bool || !slices.Equal(c.got.Bools(), c.want) {
				t.Errorf("%s: %v, want %v", name, c.got, c.want)
			}
		}
		want(t, "MaskedFill", a.MaskedFill(a.Eq(b), -9), nil, 1, -9, 3)
		want(t, "To", a.To(Int32), nil, 1, 2, 3)
		want(t, "ToDevice", a.ToDevice(CPU), nil, 1, 2, 3)
	})
}
