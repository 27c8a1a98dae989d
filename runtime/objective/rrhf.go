package objective

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// RRHFParams are the constants of RRHF.
type RRHFParams struct {
	// Lambda weighs the best response's likelihood, 0 or more; the paper's is 1.
	Lambda float64
	// LengthExponent is a in the score l / L^a: 1, the paper's, is the mean log-probability, 0 the sum.
	LengthExponent float64
}

// RRHF is Rank Responses to align with Human Feedback, arXiv:2304.05302, section 3.1. A prompt's
// loss is, over its pairs of a better response j and a worse one i,
//
//	sum of max(0, p_i - p_j) - lambda l(best),  p = l / L^a
//
// logps (l) are summed over each response's tokens, in nats, lengths (L) count them, EOS included, as
// floats; both are [responses], numbered prompt after prompt. ranks has a number for each response of
// each prompt; smaller is better, equal is a tie and no pair. The best response is the first of the
// smallest rank. It needs no reference. Better and Worse are p. At the hinge's corner its gradient is 0.
func RRHF(logps, lengths *tensor.Tensor, ranks [][]float64, p RRHFParams) Ranked {
	c := compare(ranks)
	scores := logps.Div(lengths.ClampMin(1).Pow(p.LengthExponent)) // [responses]
	better, worse := pick(scores, c.better), pick(scores, c.worse) // [comparisons] each
	wrong := c.sumByPrompt(worse.Sub(better).Relu(), c.prompt)     // [prompts]
	nll := c.sumByPrompt(pick(logps, c.best), c.bestOf).Neg()      // [prompts]
	return Ranked{wrong.AddScaled(nll, p.Lambda), better.Detach(), worse.Detach(), nll.Detach()}
}
