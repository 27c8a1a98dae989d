package objective

import (
	"math"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// TestLog1mexp compares with log(1 - exp(a)) and its slope -1 / (exp(-a) - 1) in float64; a is rounded to
// the type first.
func TestLog1mexp(t *testing.T) {
	for _, dtype := range []tensor.DType{tensor.Float32, tensor.Float64} {
		tolerance := 4e-16
		if dtype == tensor.Float32 {
			tolerance = 3e-7
		}
		err := tensor.Run(func() error {
			a := tensor.FromFloat64([]float64{-1e-30, -1e-12, -1e-7, -1e-3, -.3, -math.Ln2 + 1e-6, -math.Ln2, -math.Ln2 - 1e-6, -1, -5, -20, -80, -1000}, 13).
				To(dtype).RequiresGrad(true)
			got := log1mexp(a)
			got.Sum().Backward()
			values, slopes := got.Detach().Float64s(), a.Grad().Float64s()
			for i, x := range a.Detach().Float64s() {
				want := math.Log1p(-math.Exp(x))
				if x > -.5 {
					want = math.Log(-math.Expm1(x))
				}
				if d := math.Abs(values[i] - want); !(d <= tolerance*math.Abs(want)) && !(d <= 1e-36) { // 1e-36: exp(-80) is nearly subnormal
					t.Errorf("%v: log1mexp(%g) = %.9g, want %.9g", dtype, x, values[i], want)
				}
				if want = -1 / math.Expm1(-x); !(math.Abs(slopes[i]-want) <= 4*tolerance*math.Abs(want)) && !(math.Abs(slopes[i]-want) <= 1e-36) {
					t.Errorf("%v: slope at %g is %.9g, want %.9g", dtype, x, slopes[i], want)
				}
			}
			zero := tensor.FromFloat64([]float64{0}, 1).To(dtype).RequiresGrad(true)
			at := log1mexp(zero)
			at.Sum().Backward()
			if v, g := at.Detach().Item(), zero.Grad().Item(); math.IsInf(v, 0) || v > -80 || g != 0 {
				t.Errorf("%v: at 0: %g with slope %g, want a large negative number with slope 0", dtype, v, g)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
