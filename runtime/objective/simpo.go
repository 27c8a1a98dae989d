package objective

// SimPOParams are the constants of SimPO.
type SimPOParams struct {
	// Beta is the scale of the reward, above 0.
	Beta float64
	// Gamma is the target margin of the rewards. It is absolute, not multiplied by beta: SimPO's authors
	// tabulate gamma / beta elsewhere. 0 is their ablation without a margin.
	Gamma float64
	// LengthNormalize takes mean log-probabilities over a response's tokens; false, an ablation, sums.
	LengthNormalize bool
}

// SimPO is Simple Preference Optimization, arXiv:2405.14734, equation 6:
//
//	-log sigmoid(beta (aw - al) - gamma),  a = l / L, the mean log-probability of a response's tokens
//
// It needs no reference. The rewards are beta a (beta l without LengthNormalize).
func SimPO(policy Logps, lengths Lengths, p SimPOParams) Preference {
	if p.LengthNormalize {
		policy = policy.mean(lengths)
	}
	rewards := policy.scale(p.Beta)
	loss := rewards.margin().SubScalar(p.Gamma).LogSigmoid().Neg() // [pairs]
	return preference(loss, rewards)
}
