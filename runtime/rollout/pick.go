package rollout

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// pick draws a token from the distribution with the given log-probabilities, [vocab], sharpened by
// temperature and cut to its nucleus (arXiv:1904.09751, equation 2). Of equals, greedy takes the first.
func pick(logProbs []float32, temperature, topP float64, r *rand.Rand) int {
	best := 0
	for i, l := range logProbs {
		if l > logProbs[best] {
			best = i
		}
	}
	if temperature == 0 {
		return best
	}
	weights := make([]float64, len(logProbs)) // relative to the best token's
	var total float64
	for i, l := range logProbs {
		weights[i] = math.Exp(float64(l-logProbs[best]) / temperature)
		total += weights[i]
	}
	if topP <= 0 || topP >= 1 {
		return draw(weights, nil, total, r)
	}
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weights[b], weights[a]) })
	var kept float64
	for n, i := range order {
		if kept += weights[i]; kept >= topP*total {
			order = order[:n+1]
			break
		}
	}
	return draw(weights, order, kept, r)
}

// draw picks one of the tokens in order (nil: all), by weight; total is the sum of theirs.
func draw(weights []float64, order []int, total float64, r *rand.Rand) int {
	at := r.Float64() * total
	n := len(order)
	if order == nil {
		n = len(weights)
	}
	token := 0
	for j := range n {
		i := j
		if order != nil {
			i = order[j]
		}
		if weights[i] == 0 {
			continue
		}
		token = i // the last possible one, should rounding leave at above 0
		if at -= weights[i]; at < 0 {
			break
		}
	}
	return token
}
