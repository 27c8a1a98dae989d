package objective

// CPOParams are the constants of CPO.
type CPOParams struct {
	// Beta is the scale of the reward, above 0.
	Beta float64
	// Lambda weighs the chosen response's likelihood, 0 or more; the paper's is 1.
	Lambda float64
	// MeanNLL divides the likelihood term by the chosen response's length, as TRL does; else it is summed.
	MeanNLL bool
}

// CPO is Contrastive Preference Optimization, arXiv:2401.08417, section 3.2: DPO with a uniform
// reference, and behaviour cloning of the chosen response.
//
//	-log sigmoid(beta (lw - ll)) - lambda lw
//
// It needs no reference. The rewards are beta l.
func CPO(policy Logps, lengths Lengths, p CPOParams) Preference {
	rewards := policy.scale(p.Beta)
	nll := policy.nll(lengths, p.MeanNLL)                                // [pairs]
	loss := rewards.margin().LogSigmoid().Neg().AddScaled(nll, p.Lambda) // [pairs]
	out := preference(loss, rewards)
	out.NLL = nll.Detach()
	return out
}
