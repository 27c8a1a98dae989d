package objective

// DPOParams are the constants of DPO.
type DPOParams struct {
	// Beta is the strength of the implicit KL constraint, above 0.
	Beta float64
	// LabelSmoothing is the probability that a label is flipped, 0 to below 0.5; not 0 is cDPO.
	LabelSmoothing float64
}

// DPO is Direct Preference Optimization, arXiv:2305.18290, equation 7:
//
//	-log sigmoid(beta z),  z = (lw - rw) - (ll - rl)
//
// with lw, ll the policy's log-probabilities of the chosen and rejected response and rw, rl the
// reference's. A LabelSmoothing that is not 0 makes it cDPO. The rewards are beta (l - r).
func DPO(policy, reference Logps, p DPOParams) Preference {
	rewards := policy.sub(reference).scale(p.Beta)
	margin := rewards.margin()        // [pairs]
	loss := margin.LogSigmoid().Neg() // [pairs]
	if e := p.LabelSmoothing; e != 0 {
		loss = loss.MulScalar(1 - e).Sub(margin.Neg().LogSigmoid().MulScalar(e)) // [pairs]
	}
	return preference(loss, rewards)
}

// CDPO is conservative DPO: DPO's loss in expectation when a label is flipped with probability e
// (E. Mitchell, "A note on DPO with noisy preferences & relationship to IPO", 2023):
//
//	-(1-e) log sigmoid(beta z) - e log sigmoid(-beta z)
//
// It is least where sigmoid(beta z) = 1 - e.
func CDPO(policy, reference Logps, p DPOParams) Preference { return DPO(policy, reference, p) }
