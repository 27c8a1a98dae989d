package objective

import (
	"math"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// ORPOParams are the constants of ORPO.
type ORPOParams struct {
	// Lambda weighs the odds ratio, 0 or more.
	Lambda float64
}

// ORPO is Odds Ratio Preference Optimization, arXiv:2403.07691, equations 6 and 7:
//
//	-aw - lambda log sigmoid((aw - al) - (log(1 - exp(aw)) - log(1 - exp(al))))
//
// with a = l / L, the mean log-probability of a response's tokens: the odds are those of the geometric
// mean probability. It needs no reference. The rewards are lambda a, as TRL logs them.
//
// A response of probability 1, or an empty one (a = 0), has infinite odds: there the odds of the largest
// finite a take their place, and only the rest of the loss has a gradient.
func ORPO(policy Logps, lengths Lengths, p ORPOParams) Preference {
	mean := policy.mean(lengths)
	never := Logps{log1mexp(mean.Chosen), log1mexp(mean.Rejected)}           // [pairs] each
	ratio := mean.margin().Sub(never.margin()).LogSigmoid()                  // [pairs]
	nll := mean.Chosen.Neg()                                                 // [pairs]
	out := preference(nll.AddScaled(ratio, -p.Lambda), mean.scale(p.Lambda)) // [pairs]
	out.NLL, out.LogOddsRatio = nll.Detach(), ratio.Detach()
	return out
}

// log1mexp is log(1 - exp(a)) of a below 0, of a's shape. Near 0, exp(a) loses a beside 1, and far from 0
// expm1(a) loses exp(a): so each has its side of -ln 2 (M. Maechler, "Accurately computing
// log(1 - exp(-|a|))", 2012). What is closer to 0 than the smallest normal number counts as that, with
// gradient 0.
func log1mexp(a *tensor.Tensor) *tensor.Tensor {
	least := 0x1p-126 // float32's; bfloat16's too
	if a.DType() == tensor.Float64 {
		least = 0x1p-1022
	}
	// Clamped apart: in the backward pass of Where, the side not taken is multiplied by 0, and must be finite.
	near := a.Clamp(-math.Ln2, -least).Expm1().Neg().Log()
	far := a.ClampMax(-math.Ln2).Exp().Neg().Log1p()
	return tensor.Where(a.GtScalar(-math.Ln2), near, far)
}
