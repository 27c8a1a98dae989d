package objective

import "math"

// TokenRewards are the rewards of each response token, InstructGPT, arXiv:2203.02155, equation 2, with the
// KL penalty spread over the tokens:
//
//	-klCoefficient (logp - refLogp), and at the last token plus the response's score
//
// scores has the reward model's (with any penalty), logps those of the policy that sampled and refLogps
// the reference's, in nats, a slice for each response. A response without tokens has no place for its
// score.
func TokenRewards(scores []float64, logps, refLogps [][]float64, klCoefficient float64) [][]float64 {
	rewards := make([][]float64, len(logps))
	for i := range logps {
		rewards[i] = make([]float64, len(logps[i]))
		for t := range logps[i] {
			rewards[i][t] = klCoefficient * (refLogps[i][t] - logps[i][t])
		}
		if n := len(rewards[i]); n > 0 {
			rewards[i][n-1] += scores[i]
		}
	}
	return rewards
}

// GAE is Generalized Advantage Estimation, arXiv:1506.02438, equation 16, of each response token, and the
// returns that the value function learns (advantages + values):
//
//	A_t = delta_t + gamma lambda A_{t+1},  delta_t = r_t + gamma V_{t+1} - V_t
//
// where A and V are 0 after a response's last token: an episode ends there, with EOS or without.
// rewards and values have a slice for each response.
func GAE(rewards, values [][]float64, gamma, lambda float64) (advantages, returns [][]float64) {
	advantages, returns = make([][]float64, len(rewards)), make([][]float64, len(rewards))
	for i := range rewards {
		n := len(rewards[i])
		advantages[i], returns[i] = make([]float64, n), make([]float64, n)
		var nextAdvantage, nextValue float64
		for t := n - 1; t >= 0; t-- {
			delta := rewards[i][t] + gamma*nextValue - values[i][t]
			advantages[i][t] = delta + gamma*lambda*nextAdvantage
			returns[i][t] = advantages[i][t] + values[i][t]
			nextAdvantage, nextValue = advantages[i][t], values[i][t]
		}
	}
	return advantages, returns
}

// Whiten brings advantages, a slice for each response, to mean 0 and variance 1 over all tokens of all
// responses, in place: (A - mean) / sqrt(variance + 1e-8), of the unbiased variance. The variance of a
// single token counts as 0, so that it becomes 0 like any token of a batch of equal ones.
func Whiten(advantages [][]float64) {
	var n, sum, squares float64
	for _, of := range advantages {
		for _, a := range of {
			n++
			sum += a
		}
	}
	mean := sum / n
	for _, of := range advantages {
		for _, a := range of {
			squares += (a - mean) * (a - mean)
		}
	}
	scale := 1 / math.Sqrt(squares/max(1, n-1)+1e-8)
	for _, of := range advantages {
		for t := range of {
			of[t] = (of[t] - mean) * scale
		}
	}
}

// AdaptKL is the next coefficient of an adaptive KL penalty, arXiv:1909.08593, section 2.2:
//
//	coefficient (1 + clip(kl / target - 1, -0.2, 0.2) n / horizon)
//
// kl is the mean over the n responses just seen, in nats a response, like target; horizon counts
// responses.
func AdaptKL(coefficient, kl, target, horizon float64, n int) float64 {
	return coefficient * (1 + min(max(kl/target-1, -0.2), 0.2)*float64(n)/horizon)
}
