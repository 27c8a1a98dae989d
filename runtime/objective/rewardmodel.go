package objective

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// RewardModel is the K-wise loss of a reward model, InstructGPT, arXiv:2203.02155, equation 1. A prompt's
// loss is the mean, over its pairs of a better response w and a worse one l, of
//
//	-log sigmoid(r_w - r_l)
//
// Without ties those are all C(K, 2) pairs. One prompt is one element, however many pairs it has: that is
// what keeps the model from seeing a response K - 1 times an epoch. A prompt without a pair has loss and
// gradient 0.
//
// scores (r) are [responses], numbered prompt after prompt. ranks has a number for each response of each
// prompt; smaller is better, equal is a tie and no pair. Better and Worse are r.
func RewardModel(scores *tensor.Tensor, ranks [][]float64) Ranked {
	c := compare(ranks)
	weight := make([]float64, len(c.prompt)) // [comparisons]
	for i, p := range c.prompt {
		weight[i] = 1 / float64(c.perPrompt[p])
	}
	better, worse := pick(scores, c.better), pick(scores, c.worse) // [comparisons] each
	loss := better.Sub(worse).LogSigmoid().Neg()                   // [comparisons]
	return Ranked{
		Loss:   c.sumByPrompt(loss.Mul(like(scores, weight)), c.prompt), // [prompts]
		Better: better.Detach(), Worse: worse.Detach(),
	}
}
