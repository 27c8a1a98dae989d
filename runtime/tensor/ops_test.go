package tensor_test

import (
	"math"
	"testing"

	. "github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tensor/gradcheck"
)

// m23 is 1 2 3 / 4 5 6.
func m23() *Tensor { return FromFloat64([]float64{1, 2, 3, 4, 5, 6}, 2, 3) }

// Hand-worked values of m23, and the gradient of the same function against finite differences.
func TestReduceAndShape(t *testing.T) {
	lse := func(xs ...float64) (sum float64) {
		for _, x := range xs {
			sum += math.Exp(x)
		}
		return math.Log(sum)
	}
	for _, c := range []struct {
		name  string
		op    func(x *Tensor) *Tensor
		shape []int64
		want  []float64
	}{
		{"Sum", (*Tensor).Sum, []int64{}, []float64{21}},
		{"SumDim", func(x *Tensor) *Tensor { return x.SumDim(false, 0) }, []int64{3}, []float64{5, 7, 9}},
		{"SumDim keep", func(x *Tensor) *Tensor { return x.SumDim(true, -1) }, []int64{2, 1}, []float64{6, 15}},
		{"Mean", (*Tensor).Mean, []int64{}, []float64{3.5}},
		{"MeanDim", func(x *Tensor) *Tensor { return x.MeanDim(true, 0, 1) }, []int64{1, 1}, []float64{3.5}},
		{"Max", (*Tensor).Max, []int64{}, []float64{6}},
		{"Min", (*Tensor).Min, []int64{}, []float64{1}},
		{"MaxDim", func(x *Tensor) *Tensor { return x.MaxDim(1, false) }, []int64{2}, []float64{3, 6}},
		{"MinDim", func(x *Tensor) *Tensor { return x.MinDim(0, true) }, []int64{1, 3}, []float64{1, 2, 3}},
		{"Var", func(x *Tensor) *Tensor { return x.Var(true) }, []int64{}, []float64{3.5}},
		{"VarDim", func(x *Tensor) *Tensor { return x.VarDim(false, false, 1) }, []int64{2}, []float64{2.0 / 3, 2.0 / 3}},
		{"LogSumExp", func(x *Tensor) *Tensor { return x.LogSumExp(1, false) }, []int64{2}, []float64{lse(1, 2, 3), lse(4, 5, 6)}},
		{"CumSum", func(x *Tensor) *Tensor { return x.CumSum(1) }, []int64{2, 3}, []float64{1, 3, 6, 4, 9, 15}},
		{"Norm", (*Tensor).Norm, []int64{}, []float64{math.Sqrt(91)}},

		{"Reshape", func(x *Tensor) *Tensor { return x.Transpose(0, 1).Reshape(2, -1) }, []int64{2, 3}, []float64{1, 4, 2, 5, 3, 6}},
		{"View", func(x *Tensor) *Tensor { return x.View(3, 2) }, []int64{3, 2}, []float64{1, 2, 3, 4, 5, 6}},
		{"Transpose", func(x *Tensor) *Tensor { return x.Transpose(0, 1) }, []int64{3, 2}, []float64{1, 4, 2, 5, 3, 6}},
		{"Permute", func(x *Tensor) *Tensor { return x.Permute(1, 0) }, []int64{3, 2}, []float64{1, 4, 2, 5, 3, 6}},
		{"Unsqueeze", func(x *Tensor) *Tensor { return x.Unsqueeze(1) }, []int64{2, 1, 3}, []float64{1, 2, 3, 4, 5, 6}},
		{"Squeeze", func(x *Tensor) *Tensor { return x.Unsqueeze(0).Squeeze(0) }, []int64{2, 3}, []float64{1, 2, 3, 4, 5, 6}},
		{"Flatten", func(x *Tensor) *Tensor { return x.Flatten(0, 1) }, []int64{6}, []float64{1, 2, 3, 4, 5, 6}},
		{"Expand", func(x *Tensor) *Tensor { return x.Slice(0, 0, 1).Expand(2, 3) }, []int64{2, 3}, []float64{1, 2, 3, 1, 2, 3}},
		{"Contiguous", func(x *Tensor) *Tensor { return x.Transpose(0, 1).Contiguous().View(6) }, []int64{6}, []float64{1, 4, 2, 5, 3, 6}},
		{"Clone", (*Tensor).Clone, []int64{2, 3}, []float64{1, 2, 3, 4, 5, 6}},
		{"Flip", func(x *Tensor) *Tensor { return x.Flip(1) }, []int64{2, 3}, []float64{3, 2, 1, 6, 5, 4}},
		{"Repeat", func(x *Tensor) *Tensor { return x.Select(0, 0).Repeat(2) }, []int64{6}, []float64{1, 2, 3, 1, 2, 3}},
		{"RepeatInterleave", func(x *Tensor) *Tensor { return x.Select(0, 0).RepeatInterleave(2, 0) }, []int64{6}, []float64{1, 1, 2, 2, 3, 3}},
		{"Narrow", func(x *Tensor) *Tensor { return x.Narrow(1, 1, 2) }, []int64{2, 2}, []float64{2, 3, 5, 6}},
		{"Slice", func(x *Tensor) *Tensor { return x.Slice(1, 0, -1) }, []int64{2, 2}, []float64{1, 2, 4, 5}},
		{"Select", func(x *Tensor) *Tensor { return x.Select(-1, 2) }, []int64{2}, []float64{3, 6}},
		{"Cat", func(x *Tensor) *Tensor { return Cat(1, x, x.Slice(1, 0, 1)) }, []int64{2, 4}, []float64{1, 2, 3, 1, 4, 5, 6, 4}},
		{"Stack", func(x *Tensor) *Tensor { return Stack(1, x.Select(0, 0), x.Select(0, 1)) }, []int64{3, 2}, []float64{1, 4, 2, 5, 3, 6}},
		{"Split", func(x *Tensor) *Tensor { return x.Split(2, 1)[1] }, []int64{2, 1}, []float64{3, 6}},
		{"SplitSizes", func(x *Tensor) *Tensor { return x.SplitSizes(1, 1, 2)[0] }, []int64{2, 1}, []float64{1, 4}},
		{"Chunk", func(x *Tensor) *Tensor { return x.Chunk(2, 0)[1] }, []int64{1, 3}, []float64{4, 5, 6}},
		{"Tril", func(x *Tensor) *Tensor { return x.Tril(0) }, []int64{2, 3}, []float64{1, 0, 0, 4, 5, 0}},
		{"Triu", func(x *Tensor) *Tensor { return x.Triu(1) }, []int64{2, 3}, []float64{0, 2, 3, 0, 0, 6}},

		{"IndexSelect", func(x *Tensor) *Tensor { return x.IndexSelect(1, i64(2, 0)) }, []int64{2, 2}, []float64{3, 1, 6, 4}},
		{"Gather", func(x *Tensor) *Tensor { return x.Gather(1, FromInt64([]int64{2, 0}, 2, 1)) }, []int64{2, 1}, []float64{3, 4}},
		{"ScatterAdd", func(x *Tensor) *Tensor { return x.ScatterAdd(1, FromInt64([]int64{0, 0, 2}, 1, 3), x.Slice(0, 1, 2)) }, nil, []float64{10, 2, 9, 4, 5, 6}},
		{"IndexAdd", func(x *Tensor) *Tensor { return x.IndexAdd(0, i64(1, 1), x) }, nil, []float64{1, 2, 3, 9, 12, 15}},
		{"Index", func(x *Tensor) *Tensor { return x.Index(nil, i64(1)) }, []int64{2, 1}, []float64{2, 5}},
		{"Index pairs", func(x *Tensor) *Tensor { return x.Index(i64(0, 1), i64(1, 2)) }, []int64{2}, []float64{2, 6}},
		{"MaskedSelect", func(x *Tensor) *Tensor { return x.MaskedSelect(x.GtScalar(4.5)) }, []int64{2}, []float64{5, 6}},
		{"Embedding", func(x *Tensor) *Tensor { return Embedding(x, FromInt64([]int64{1, 0, 1}, 1, 3)) }, []int64{1, 3, 3}, []float64{4, 5, 6, 1, 2, 3, 4, 5, 6}},
		{"Sort", func(x *Tensor) *Tensor { v, _ := x.Sort(1, true); return v }, []int64{2, 3}, []float64{3, 2, 1, 6, 5, 4}},
		{"TopK", func(x *Tensor) *Tensor { v, _ := x.TopK(2, 1); return v }, []int64{2, 2}, []float64{3, 2, 6, 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func() {
				want(t, c.name, c.op(m23()), c.shape, c.want...)
				if err := gradcheck.Check(func(in []*Tensor) *Tensor { return c.op(in[0]) }, m23()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestIndicesAndFlags(t *testing.T) {
	run(t, func() {
		want(t, "ArgMax", m23().ArgMax(1), []int64{2}, 2, 2)
		_, order := f64(3, 1, 2).Sort(0, false)
		want(t, "Sort's indices", order, nil, 1, 2, 0)
		_, top := f64(3, 1, 2).TopK(1, 0)
		want(t, "TopK's indices", top, nil, 0)
		want(t, "Any", bools(false, true).Any(), nil, 1)
		want(t, "All", bools(false, true).All(), nil, 0)
		if !m23().Equal(m23()) || m23().Equal(m23().Neg()) || m23().Equal(f64(1)) {
			t.Error("Equal")
		}
		x := m23()
		want(t, "IndexPutInPlace", x.IndexPutInPlace(f64(10, 20), false, i64(0, 1), i64(0, 0)), nil, 10, 2, 3, 20, 5, 6)
		want(t, "IndexPutInPlace adding", x.IndexPutInPlace(f64(1, 1), true, i64(0, 0), i64(1, 1)), nil, 10, 4, 3, 20, 5, 6)
	})
}

func TestNN(t *testing.T) {
	check := func(name string, f func(in []*Tensor) *Tensor, in ...*Tensor) {
		t.Helper()
		if err := gradcheck.Check(f, in...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	run(t, func() {
		a, w := m23(), FromFloat64([]float64{1, 0, -1, 2, 1, 0}, 2, 3)
		want(t, "MatMul", a.MatMul(w.Transpose(0, 1)), []int64{2, 2}, -2, 4, -2, 13)
		want(t, "BMM", a.Unsqueeze(0).BMM(w.Transpose(0, 1).Unsqueeze(0)), []int64{1, 2, 2}, -2, 4, -2, 13)
		want(t, "Linear", Linear(a, w), []int64{2, 2}, -2, 4, -2, 13)
		want(t, "LinearBias", LinearBias(a, w, f64(1, 2)), nil, -1, 6, -1, 15)
		check("MatMul", func(in []*Tensor) *Tensor { return in[0].MatMul(in[1]) }, a, w.Transpose(0, 1))
		check("BMM", func(in []*Tensor) *Tensor { return in[0].BMM(in[1]) }, a.Unsqueeze(0), w.Transpose(0, 1).Unsqueeze(0))
		check("Linear", func(in []*Tensor) *Tensor { return LinearBias(in[0], in[1], in[2]) }, a, w, f64(1, 2))

		e := math.E
		z := 1 + e + e*e
		want(t, "Softmax", f64(0, 1, 2).Softmax(-1), nil, 1/z, e/z, e*e/z)
		want(t, "LogSoftmax", f64(0, 1, 2).LogSoftmax(0), nil, -math.Log(z), 1-math.Log(z), 2-math.Log(z))
		check("Softmax", func(in []*Tensor) *Tensor { return in[0].Softmax(1) }, a)
		check("LogSoftmax", func(in []*Tensor) *Tensor { return in[0].LogSoftmax(0) }, a)

		logits := FromFloat64([]float64{0, 1, 2, 2, 0, 1, 5, 5, 5}, 3, 3)
		targets := i64(2, 1, -100)
		first, second := math.Log(z)-2, math.Log(z)
		want(t, "CrossEntropy none", CrossEntropy(logits, targets, -100, ReduceNone), []int64{3}, first, second, 0)
		want(t, "CrossEntropy mean", CrossEntropy(logits, targets, -100, ReduceMean), nil, (first+second)/2)
		want(t, "NLLLoss sum", NLLLoss(logits.LogSoftmax(1), targets, -100, ReduceSum), nil, first+second)
		check("CrossEntropy", func(in []*Tensor) *Tensor { return CrossEntropy(in[0], targets, -100, ReduceMean) }, logits)
		check("NLLLoss", func(in []*Tensor) *Tensor { return NLLLoss(in[0], targets, -100, ReduceNone) }, logits)
	})
}

func TestAttention(t *testing.T) {
	run(t, func() {
		// Two queries and keys of width 1, scale 1: scores are q k.
		q := FromFloat64([]float64{1, 2}, 1, 1, 2, 1)
		k := FromFloat64([]float64{0, 1}, 1, 1, 2, 1)
		v := FromFloat64([]float64{10, 20}, 1, 1, 2, 1)
		mix := func(score float64) float64 { p := 1 / (1 + math.Exp(-score)); return 10 + 10*p }
		want(t, "all", ScaledDotProductAttention(q, k, v, nil, false, 1), []int64{1, 1, 2, 1}, mix(1), mix(2))
		want(t, "scale", ScaledDotProductAttention(q, k, v, nil, false, 0.5), nil, mix(0.5), mix(1))
		want(t, "causal", ScaledDotProductAttention(q, k, v, nil, true, 1), nil, 10, mix(2))
		mask := FromBool([]bool{false, true, true, true}, 2, 2)
		want(t, "mask", ScaledDotProductAttention(q, k, v, mask, false, 1), nil, 20, mix(2))
		added := FromFloat64([]float64{0, 3, 0, 0}, 2, 2)
		want(t, "added mask", ScaledDotProductAttention(q, k, v, added, false, 1), nil, mix(4), mix(2))
		if err := gradcheck.Check(func(in []*Tensor) *Tensor {
			return ScaledDotProductAttention(in[0], in[1], in[2], mask, false, 0)
		}, q, k, v); err != nil {
			t.Error(err)
		}
		for _, dtype := range []DType{Float32, BFloat16} { // what is masked gets no weight at all
			zero := ScaledDotProductAttention(q.To(dtype), k.To(dtype), v.MulScalar(0).AddScalar(1).To(dtype), mask, false, 1)
			want(t, dtype.String(), zero, nil, 1, 1)
		}
	})
	if err := Run(func() error {
		x := Zeros(Float32, 1, 1, 2, 1)
		ScaledDotProductAttention(x, x, x, Ones(Bool, 2, 2), true, 1)
		return nil
	}); err == nil {
		t.Error("mask and causal accepted")
	}
}

func TestInPlace(t *testing.T) {
	for _, c := range []struct {
		name string
		op   func(x, a, b *Tensor) *Tensor
		want []float64
	}{
		{"AddInPlace", func(x, a, b *Tensor) *Tensor { return x.AddInPlace(a, 2) }, []float64{5, 14}},
		{"MulInPlace", func(x, a, b *Tensor) *Tensor { return x.MulInPlace(a) }, []float64{2, 20}},
		{"AddScalarInPlace", func(x, a, b *Tensor) *Tensor { return x.AddScalarInPlace(1) }, []float64{2, 5}},
		{"MulScalarInPlace", func(x, a, b *Tensor) *Tensor { return x.MulScalarInPlace(3) }, []float64{3, 12}},
		{"AddcmulInPlace", func(x, a, b *Tensor) *Tensor { return x.AddcmulInPlace(a, b, 0.5) }, []float64{5, -1}},
		{"AddcdivInPlace", func(x, a, b *Tensor) *Tensor { return x.AddcdivInPlace(a, b, 2) }, []float64{2, -1}},
		{"LerpInPlace", func(x, a, b *Tensor) *Tensor { return x.LerpInPlace(a, 0.25) }, []float64{1.25, 4.25}},
		{"CopyInPlace", func(x, a, b *Tensor) *Tensor { return x.CopyInPlace(a.To(Float32)) }, []float64{2, 5}},
		{"ZeroInPlace", func(x, a, b *Tensor) *Tensor { return x.ZeroInPlace() }, []float64{0, 0}},
		{"FillInPlace", func(x, a, b *Tensor) *Tensor { return x.FillInPlace(7) }, []float64{7, 7}},
		{"ClampMinInPlace", func(x, a, b *Tensor) *Tensor { return x.ClampMinInPlace(2) }, []float64{2, 4}},
		{"ClampMaxInPlace", func(x, a, b *Tensor) *Tensor { return x.ClampMaxInPlace(2) }, []float64{1, 2}},
		{"SqrtInPlace", func(x, a, b *Tensor) *Tensor { return x.SqrtInPlace() }, []float64{1, 2}},
	} {
		run(t, func() {
			x := f64(1, 4)
			if got := c.op(x, f64(2, 5), f64(4, -2)); got != x {
				t.Errorf("%s returns another tensor", c.name)
			}
			want(t, c.name, x, []int64{2}, c.want...)
		})
	}
}

func TestForeach(t *testing.T) {
	for _, c := range []struct {
		name          string
		op            func(x, a, b []*Tensor) []*Tensor // nil: in place
		first, second []float64
	}{
		{"AddInPlace", func(x, a, b []*Tensor) []*Tensor { ForeachAddInPlace(x, a, 2); return nil }, []float64{5, 14}, []float64{11}},
		{"MulInPlace", func(x, a, b []*Tensor) []*Tensor { ForeachMulInPlace(x, a); return nil }, []float64{2, 20}, []float64{9}},
		{"DivInPlace", func(x, a, b []*Tensor) []*Tensor { ForeachDivInPlace(x, a); return nil }, []float64{0.5, 0.8}, []float64{9}},
		{"AddScalarInPlace", func(x, a, b []*Tensor) []*Tensor { ForeachAddScalarInPlace(x, 1); return nil }, []float64{2, 5}, []float64{10}},
		{"MulScalarInPlace", func(x, a, b []*Tensor) []*Tensor { ForeachMulScalarInPlace(x, 3); return nil }, []float64{3, 12}, []float64{27}},
		{"AddcmulInPlace", func(x, a, b []*Tensor) []*Tensor { ForeachAddcmulInPlace(x, a, b, 0.5); return nil }, []float64{5, -1}, []float64{10}},
		{"AddcdivInPlace", func(x, a, b []*Tensor) []*Tensor { ForeachAddcdivInPlace(x, a, b, 2); return nil }, []float64{2, -1}, []float64{10}},
		{"ZeroInPlace", func(x, a, b []*Tensor) []*Tensor { ForeachZeroInPlace(x); return nil }, []float64{0, 0}, []float64{0}},
		{"Sqrt", func(x, a, b []*Tensor) []*Tensor { return ForeachSqrt(x) }, []float64{1, 2}, []float64{3}},
		{"Norm", func(x, a, b []*Tensor) []*Tensor { return ForeachNorm(x) }, []float64{math.Sqrt(17)}, []float64{9}},
	} {
		run(t, func() {
			x := []*Tensor{f64(1, 4), f64(9)}
			got := c.op(x, []*Tensor{f64(2, 5), f64(1)}, []*Tensor{f64(4, -2), f64(2)})
			if got == nil {
				got = x
			}
			want(t, c.name, got[0], nil, c.first...)
			want(t, c.name, got[1], nil, c.second...)
		})
	}
}
