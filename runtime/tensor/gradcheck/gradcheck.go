// Package gradcheck compares gradients with finite differences: the check of every differentiable function in the
// trainer. It is for tests, and imports package tensor only.
package gradcheck

import (
	"fmt"
	"math"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

const (
	step      = 1e-6 // of the central difference
	tolerance = 1e-6 // relative above 1, absolute below
)

// Check calls f, which must be deterministic and smooth around the inputs (float64, any shapes), and compares the
// derivative of a fixed weighted sum of its result with respect to every element of every input with the central
// difference. It must be called inside tensor.Run. The error names the input, the element and both numbers.
func Check(f func(in []*tensor.Tensor) *tensor.Tensor, inputs ...*tensor.Tensor) (err error) {
	tensor.Scoped(func() { err = check(f, inputs) })
	return err
}

func check(f func(in []*tensor.Tensor) *tensor.Tensor, inputs []*tensor.Tensor) error {
	leaves := make([]*tensor.Tensor, len(inputs))
	for i, in := range inputs {
		if in.DType() != tensor.Float64 {
			return fmt.Errorf("input %d is %v: differences need float64", i, in.DType())
		}
		leaves[i] = in.Detach().Clone().RequiresGrad(true)
	}
	weighted(f(leaves)).Backward()
	for i, leaf := range leaves {
		analytic := make([]float64, leaf.NumElements())
		if g := leaf.Grad(); g != nil {
			analytic = g.Float64s()
		}
		values, shape := leaf.Float64s(), leaf.Shape()
		at := func(j int, v float64) (loss float64) {
			tensor.Scoped(func() {
				changed := append([]float64(nil), values...)
				changed[j] = v
				in := append([]*tensor.Tensor(nil), leaves...)
				in[i] = tensor.FromFloat64(changed, shape...)
				tensor.NoGrad(func() { loss = weighted(f(in)).Item() })
			})
			return loss
		}
		for j, v := range values {
			numeric := (at(j, v+step) - at(j, v-step)) / (2 * step)
			// Negated, so that NaN fails.
			if !(math.Abs(analytic[j]-numeric) <= tolerance*math.Max(1, math.Abs(numeric))) {
				return fmt.Errorf("input %d, element %d: gradient %.9g, finite difference %.9g", i, j, analytic[j], numeric)
			}
		}
	}
	return nil
}

// weighted sums y's elements with weights that differ, so that no symmetry (rows of a softmax sum to 1) hides an error.
func weighted(y *tensor.Tensor) *tensor.Tensor {
	weights := make([]float64, y.NumElements())
	for i := range weights {
		weights[i] = 1 + 0.5*math.Cos(float64(3*i))
	}
	return y.Mul(tensor.FromFloat64(weights, y.Shape()...)).Sum()
}
