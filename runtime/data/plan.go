package data

import (
	"math"
	"math/rand/v2"
	"slices"
)

// bucketBatches is how many batches' examples are sorted by length together: enough for little
// padding, few enough for batches to differ from epoch to epoch.
const bucketBatches = 16

// Plan returns the batches of an epoch, as indices into lengths: a permutation that depends on
// seed and epoch only, with examples of like length together, and the batches in random order.
// weights says how often each example comes: 2 is twice, 0.25 is a quarter of all examples of that
// weight, others each epoch; nil is once. What is left after the last full batch, a different random
// part each epoch, is left out, unless there is no full batch at all. All epochs have equally many
// batches.
func Plan(lengths []int, weights []float64, batchSize int, seed, epoch uint64) [][]int {
	random := rand.New(rand.NewPCG(seed, epoch))
	order := random.Perm(len(lengths))
	if weights != nil {
		order = repeat(order, weights)
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	if full := len(order) / batchSize * batchSize; full > 0 {
		order = order[:full]
	}
	var batches [][]int
	for window := range slices.Chunk(order, batchSize*bucketBatches) {
		sortByLength(window, lengths)
		batches = slices.AppendSeq(batches, slices.Chunk(window, batchSize))
	}
	random.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	return batches
}

// repeat has each example as often as its weight says; of a fraction, the first in order have one more.
func repeat(order []int, weights []float64) (out []int) {
	more := map[float64]float64{} // examples of a weight that come once more than its whole part
	for _, w := range weights {
		_, fraction := math.Modf(w)
		more[w] += fraction
	}
	for _, i := range order {
		w := weights[i]
		times := int(w)
		if more[w] >= 0.5 { // rounds
			more[w]--
			times++
		}
		for range times {
			out = append(out, i)
		}
	}
	return out
}

// Micro cuts a batch into micro-batches of examples of like length, shortest first.
func Micro(batch []int, lengths []int, microBatchSize int) [][]int {
	sorted := slices.Clone(batch)
	sortByLength(sorted, lengths)
	return slices.Collect(slices.Chunk(sorted, microBatchSize))
}

func sortByLength(index, lengths []int) {
	slices.SortStableFunc(index, func(a, b int) int { return lengths[a] - lengths[b] })
}

// Split holds out a fraction of n examples, chosen by seed: at least one of two or more, if
// fraction is positive. Both parts are in ascending order.
func Split(n int, fraction float64, seed uint64) (train, eval []int) {
	held := int(math.Round(float64(n) * fraction))
	if fraction > 0 {
		held = max(held, 1)
	}
	held = max(min(held, n-1), 0)
	order := rand.New(rand.NewPCG(seed, splitStream)).Perm(n)
	train, eval = order[held:], order[:held]
	slices.Sort(train)
	slices.Sort(eval)
	return train, eval
}

// splitStream keeps Split's random numbers apart from those of Plan's epochs.
const splitStream = math.MaxUint64

// Pick is from[i] for each i of index, as Plan, Micro and Split give it.
func Pick[T any](from []T, index []int) []T {
	out := make([]T, len(index))
	for i, j := range index {
		out[i] = from[j]
	}
	return out
}
