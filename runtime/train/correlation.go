package train

import (
	"math"
	"slices"
)

// spearman is the rank correlation of two lists of equal length; ok is false when one of them does
// not vary.
func spearman(x, y []float64) (r float64, ok bool) {
	a, b := ranksOf(x), ranksOf(y)
	var sum, ab, aa, bb float64
	for i := range a {
		sum += a[i] // the ranks' sum is the same for both
	}
	mean := sum / float64(max(1, len(a)))
	for i := range a {
		da, db := a[i]-mean, b[i]-mean
		ab, aa, bb = ab+da*db, aa+da*da, bb+db*db
	}
	if aa == 0 || bb == 0 {
		return 0, false
	}
	return ab / math.Sqrt(aa*bb), true
}

// ranksOf numbers values from 1 in ascending order; equal ones share the mean of their numbers.
func ranksOf(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		switch {
		case values[i] < values[j]:
			return -1
		case values[i] > values[j]:
			return 1
		}
		return 0
	})
	ranks := make([]float64, len(values))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && values[order[to]] == values[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			ranks[i] = float64(from+to+1) / 2
		}
		from = to
	}
	return ranks
}
