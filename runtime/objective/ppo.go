package objective

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// Clipped is one of PPO's clipped losses, one element a response token, each [n].
type Clipped struct {
	Loss *tensor.Tensor
	// Ratio is exp(logps - oldLogps), without gradient (PPOPolicy; PPOValue: nil).
	Ratio *tensor.Tensor
	// ClipFraction is 1 where the clipped term is the larger one, so that the token has no gradient, else 0.
	ClipFraction *tensor.Tensor
}

// mostLogRatio keeps a ratio finite in float32: infinity times a clipped token's gradient of 0 is NaN.
const mostLogRatio = 80

// PPOPolicy is Proximal Policy Optimization's clipped loss, arXiv:1707.06347, equation 7, of each token:
//
//	max(-A ratio, -A clip(ratio, 1 - clip, 1 + clip)),  ratio = exp(logps - oldLogps)
//
// logps are those of the policy that learns, oldLogps of the one that sampled, advantages (A) as GAE has
// them; all are [n], of the tokens of responses. Only logps gets a gradient.
func PPOPolicy(logps, oldLogps, advantages *tensor.Tensor, clip float64) Clipped {
	ratio := logps.Sub(oldLogps).ClampMax(mostLogRatio).Exp()            // [n]
	gain := advantages.Neg()                                             // [n]
	free, held := ratio.Mul(gain), ratio.Clamp(1-clip, 1+clip).Mul(gain) // [n] each
	return Clipped{Loss: free.Maximum(held), Ratio: ratio.Detach(), ClipFraction: held.Gt(free).To(logps.DType())}
}

// PPOValue is the value function's clipped loss, of each token ("value function clipping" in
// arXiv:2005.12729, section 3), halved:
//
//	0.5 max((V - R)^2, (clip(V, Vold - clip, Vold + clip) - R)^2)
//
// values (V) are those of the value function that learns, oldValues (Vold) its own when the responses were
// sampled, returns (R) as GAE has them; all are [n], of the tokens of responses. Only values gets a
// gradient.
func PPOValue(values, oldValues, returns *tensor.Tensor, clip float64) Clipped {
	near := tensor.Call("aten::clamp.Tensor", 1, values, oldValues.SubScalar(clip), oldValues.AddScalar(clip))[0] // [n]
	free, held := values.Sub(returns).Square(), near.Sub(returns).Square()                                        // [n] each
	return Clipped{Loss: free.Maximum(held).MulScalar(0.5), ClipFraction: held.Gt(free).To(values.DType())}
}
