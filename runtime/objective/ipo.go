package objective

// IPOParams are the constants of IPO.
type IPOParams struct {
	// Tau is the strength of the regularisation, above 0.
	Tau float64
	// Mean takes mean log-probabilities over a response's tokens, as TRL does; else they are summed, as in
	// the paper.
	Mean bool
}

// IPO is Identity Preference Optimisation, arXiv:2310.12036, equation 17:
//
//	(z - 1/(2 tau))^2,  z as in DPO
//
// With Mean, each log-probability in z is divided by its response's length. The rewards are tau (l - r),
// of sums or means as in the loss.
func IPO(policy, reference Logps, lengths Lengths, p IPOParams) Preference {
	ratios := policy.sub(reference)
	if p.Mean {
		ratios = ratios.mean(lengths)
	}
	loss := ratios.margin().SubScalar(1 / (2 * p.Tau)).Square() // [pairs]
	return preference(loss, ratios.scale(p.Tau))
}
