package optim

import (
	"math"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// AdamWParams are AdamW's constants.
type AdamWParams struct {
	Beta1, Beta2, Epsilon float64
	// WeightDecay applies to parameters with Decay.
	WeightDecay float64
}

// AdamW is Adam with decoupled weight decay, arXiv:1711.05101, as torch.optim.AdamW computes it. Parameters are
// float32 or wider, as a model that computes in bfloat16 has them: a narrower type would lose most steps.
type AdamW struct {
	constants AdamWParams
	params    []model.Parameter
	step      *tensor.Tensor // int64 [1], finished steps
	// Moments of each parameter, in the order of params.
	first, second []*tensor.Tensor
}

// Named is a tensor with a name, for checkpoints.
type Named struct {
	Name   string
	Tensor *tensor.Tensor
	// Shape is that of the whole where Tensor is a rank's part of it; else nil.
	Shape []int64
}

// NewAdamW makes an optimiser at step 0. Its state lives in the innermost scope.
func NewAdamW(params []model.Parameter, constants AdamWParams) *AdamW {
	a := &AdamW{constants: constants, params: params, step: tensor.Zeros(tensor.Int64, 1)}
	tensor.NoGrad(func() {
		for _, p := range params {
			a.first = append(a.first, tensor.ZerosLike(p.Tensor))
			a.second = append(a.second, tensor.ZerosLike(p.Tensor))
		}
	})
	return a
}

// Step updates the parameters by their gradients. One without a gradient stays as it is, decay included.
func (a *AdamW) Step(rate float64) {
	c := a.constants
	tensor.Scoped(func() {
		tensor.NoGrad(func() {
			a.step.CopyInPlace(a.step.AddScalar(1))
			t := a.step.Item()
			correction1, correction2 := 1-math.Pow(c.Beta1, t), 1-math.Pow(c.Beta2, t)

			var decayed, weights, grads, first, second []*tensor.Tensor
			for i, p := range a.params {
				g := p.Tensor.Grad()
				if g == nil {
					continue
				}
				if p.Decay {
					decayed = append(decayed, p.Tensor)
				}
				weights, grads = append(weights, p.Tensor), append(grads, g)
				first, second = append(first, a.first[i]), append(second, a.second[i])
			}
			if len(weights) == 0 {
				return
			}
			if c.WeightDecay != 0 && len(decayed) > 0 {
				each("mul_.Scalar", 0, decayed, 1-rate*c.WeightDecay)
			}
			each("mul_.Scalar", 0, first, c.Beta1)
			each("add_.List", 0, first, grads, 1-c.Beta1)
			each("mul_.Scalar", 0, second, c.Beta2)
			each("addcmul_.Scalar", 0, second, grads, grads, 1-c.Beta2)
			scale := each("sqrt", len(second), second)
			each("div_.Scalar", 0, scale, math.Sqrt(correction2))
			each("add_.Scalar", 0, scale, c.Epsilon)
			each("addcdiv_.Scalar", 0, weights, first, scale, -rate/correction1)
		})
	})
}

// ZeroGrad forgets the gradients of all parameters.
func (a *AdamW) ZeroGrad() {
	for _, p := range a.params {
		p.Tensor.ZeroGrad()
	}
}

// State is all that a resumed run needs besides the parameters: to be written, or copied into.
func (a *AdamW) State() []Named {
	out := []Named{{Name: "step", Tensor: a.step}}
	for i, p := range a.params {
		out = append(out, Named{"exp_avg." + p.Name, a.first[i], p.Shape}, Named{"exp_avg_sq." + p.Name, a.second[i], p.Shape})
	}
	return out
}

// each calls one of libtorch's operators on lists of tensors.
func each(op string, nout int, args ...any) []*tensor.Tensor {
	return tensor.Call("aten::_foreach_"+op, nout, args...)
}
