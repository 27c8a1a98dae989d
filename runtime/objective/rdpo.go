package objective

// RDPOParams are the constants of R-DPO.
type RDPOParams struct {
	// Beta is the strength of the implicit KL constraint, above 0.
	Beta float64
	// Alpha is the reward's price of a token, in units of the reward; 0 is DPO.
	Alpha float64
}

// RDPO is DPO regularised in length, arXiv:2403.19159 (in the form of table 3 of SimPO,
// arXiv:2405.14734):
//
//	-log sigmoid(beta z + alpha (Lw - Ll)),  z as in DPO, L the lengths
//
// The sign is plus: a longer chosen response explains its preference by length, and leaves less to learn.
// The rewards are beta (l - r), without the length.
func RDPO(policy, reference Logps, lengths Lengths, p RDPOParams) Preference {
	rewards := policy.sub(reference).scale(p.Beta)
	longer := lengths.Chosen.Sub(lengths.Rejected)                         // [pairs]
	loss := rewards.margin().AddScaled(longer, p.Alpha).LogSigmoid().Neg() // [pairs]
	return preference(loss, rewards)
}
