package optim

import (
	"math"

	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// ClipGradNorm returns the norm of all gradients taken as one vector, before clipping, and scales
// them so that it is at most limit; limit 0 only measures. When the norm is not finite the gradients
// are left alone: the caller must not step.
func ClipGradNorm(params []model.Parameter, limit float64) (norm float64) {
	return ClipShardedGradNorm(params, limit, nil)
}

// ClipShardedGradNorm is ClipGradNorm where every rank of g has a part of each parameter; the norm is of all parts.
func ClipShardedGradNorm(params []model.Parameter, limit float64, g *distributed.Group) (norm float64) {
	tensor.Scoped(func() {
		tensor.NoGrad(func() {
			var grads []*tensor.Tensor
			for _, p := range params {
				if g := p.Tensor.Grad(); g != nil {
					grads = append(grads, g)
				}
			}
			if len(grads) == 0 {
				return
			}
			norms := each("norm.Scalar", len(grads), grads, 2.0)
			norm = tensor.Stack(0, norms...).To(tensor.Float64).Norm().Item()
			if g.World() > 1 {
				norm = math.Sqrt(g.SumOf([]float64{norm * norm})[0])
			}
			if limit > 0 && norm > limit && !math.IsInf(norm, 0) {
				each("mul_.Scalar", 0, grads, limit/(norm+1e-6)) // as torch.nn.utils.clip_grad_norm_
			}
		})
	})
	return norm
}
