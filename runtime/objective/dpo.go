package objective

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// DPOParams are the constants of DPO.
type DPOParams struct {
	// Beta is the strength of the implicit KL constraint, above 0.
	Beta float64
	// LabelSmoothing is the probability that a label is flipped, 0 to below 0.5; not 0 is cDPO.
	LabelSmoothing float64
}

// Preference is a preference loss with its implicit rewards, each [pairs].
type Preference struct {
	Loss *tensor.Tensor
	// ChosenRewards and RejectedRewards are beta (policy - reference), without gradient.
	ChosenRewards, RejectedRewards *tensor.Tensor
}

// DPO is Direct Preference Optimization, arXiv:2305.18290, equation 7; with label smoothing e its
// conservative form (cDPO): -(1-e) log sigmoid(beta z) - e log sigmoid(-beta z), where
// z = (policyChosen - referenceChosen) - (policyRejected - referenceRejected).
// All inputs are logps, summed over response tokens, [pairs].
func DPO(policyChosen, policyRejected, referenceChosen, referenceRejected *tensor.Tensor, p DPOParams) Preference {
	chosen := policyChosen.Sub(referenceChosen).MulScalar(p.Beta)       // [pairs]
	rejected := policyRejected.Sub(referenceRejected).MulScalar(p.Beta) // [pairs]
	margin := chosen.Sub(rejected)                                      // [pairs]
	loss := margin.LogSigmoid().Neg()
	if e := p.LabelSmoothing; e != 0 {
		loss = loss.MulScalar(1 - e).Sub(margin.Neg().LogSigmoid().MulScalar(e))
	}
	return Preference{Loss: loss, ChosenRewards: chosen.Detach(), RejectedRewards: rejected.Detach()}
}
