package objective

// RobustParams are the constants of robust DPO.
type RobustParams struct {
	// Beta is the strength of the implicit KL constraint, above 0.
	Beta float64
	// LabelSmoothing is the rate of flipped labels, 0 to below 0.5.
	LabelSmoothing float64
}

// Robust is provably robust DPO, arXiv:2403.00409, section 3: with flipped labels, its expectation is
// DPO's loss on clean ones.
//
//	(-(1-e) log sigmoid(beta z) + e log sigmoid(-beta z)) / (1-2e),  z as in DPO
//
// The loss is negative for a large margin. The rewards are beta (l - r).
func Robust(policy, reference Logps, p RobustParams) Preference {
	rewards := policy.sub(reference).scale(p.Beta)
	margin := rewards.margin() // [pairs]
	e := p.LabelSmoothing
	clean := margin.LogSigmoid().MulScalar(e - 1)       // [pairs]
	flipped := margin.Neg().LogSigmoid().MulScalar(e)   // [pairs]
	loss := clean.Add(flipped).MulScalar(1 / (1 - 2*e)) // [pairs]
	return preference(loss, rewards)
}
