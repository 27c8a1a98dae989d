package objective

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// KTOParams are the constants of KTO.
type KTOParams struct {
	// Beta is the strength of the implicit KL constraint, above 0.
	Beta float64
	// DesirableWeight and UndesirableWeight are the paper's lambda_D and lambda_U, 0 or more.
	DesirableWeight, UndesirableWeight float64
}

// Unpaired is a loss of single responses, each [n].
type Unpaired struct {
	Loss *tensor.Tensor
	// Rewards are beta (l - r), without gradient.
	Rewards *tensor.Tensor
}

// KTO is Kahneman-Tversky Optimization, arXiv:2402.01306, section 4.1, equation 8:
//
//	desirable:   wD (1 - sigmoid(beta (l - r - z0)))
//	undesirable: wU (1 - sigmoid(beta (z0 - (l - r))))
//
// policy (l) and reference (r) are logps, [n], in nats. kl estimates KL(policy || reference) in nats a
// response, from responses to other prompts; it carries no gradient, and z0 = max(0, kl) is clamped here,
// after all of it was averaged. z0 is inside beta, as in TRL; the paper's z0 is beta times that.
func KTO(policy, reference *tensor.Tensor, desirable []bool, kl float64, p KTOParams) Unpaired {
	against := make([]float64, len(desirable)) // 1 - sigmoid(x) = sigmoid(-x), exact for a large x
	weight := make([]float64, len(desirable))
	for i, good := range desirable {
		against[i], weight[i] = p.Beta, p.UndesirableWeight
		if good {
			against[i], weight[i] = -p.Beta, p.DesirableWeight
		}
	}
	ratio := policy.Sub(reference)                                                           // [n]
	x := ratio.SubScalar(max(0, kl)).Mul(like(policy, against))                              // [n]
	return Unpaired{x.Sigmoid().Mul(like(policy, weight)), ratio.Detach().MulScalar(p.Beta)} // [n] each
}

// like makes numbers a tensor of t's type and device, [len(values)].
func like(t *tensor.Tensor, values []float64) *tensor.Tensor {
	return tensor.FromFloat64(values, int64(len(values))).To(t.DType()).ToDevice(t.Device())
}
