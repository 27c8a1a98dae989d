package objective

// SLiCHFParams are the constants of SLiC-HF.
type SLiCHFParams struct {
	// Delta is the margin of log-probabilities below which a pair still counts, in nats, 0 or more.
	Delta float64
	// Lambda weighs the chosen response's likelihood, 0 or more.
	Lambda float64
	// MeanNLL divides the likelihood term by the chosen response's length, as TRL does; else it is summed.
	MeanNLL bool
}

// SLiCHF is Sequence Likelihood Calibration with human feedback, arXiv:2305.10425, equation 1, with the
// chosen response as the target of its regularisation (as in table 3 of SimPO, arXiv:2405.14734):
//
//	max(0, delta - lw + ll) - lambda lw
//
// It needs no reference. The rewards are the log-probabilities themselves. At the hinge's corner its
// gradient is 0.
func SLiCHF(policy Logps, lengths Lengths, p SLiCHFParams) Preference {
	nll := policy.nll(lengths, p.MeanNLL)                                            // [pairs]
	loss := policy.margin().Neg().AddScalar(p.Delta).Relu().AddScaled(nll, p.Lambda) // [pairs]
	out := preference(loss, policy)
	out.NLL = nll.Detach()
	return out
}
