package evaluate

import (
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Hidden runs a model's decoder over a batch, [rows*seqLen, hidden].
func Hidden(m *model.Model, b data.Batch) *tensor.Tensor {
	return m.Hidden(model.Input{Rows: b.Rows, SeqLen: b.SeqLen, Tokens: b.Tokens, Positions: b.Positions, Segments: b.Segments, Prefixes: b.Prefixes})
}

// TokenLogps runs a model over a batch: the log-probabilities of the tokens that count.
func TokenLogps(m *model.Model, b data.Batch) model.Logps {
	defer release(m)
	return m.TokenLogps(Hidden(m, b), b.Sources, b.Targets)
}

// Logps is TokenLogps, with entropy and accuracy where they are asked for.
func Logps(m *model.Model, b data.Batch, detailed bool) model.Logps {
	if detailed {
		defer release(m)
		return m.DetailedLogps(Hidden(m, b), b.Sources, b.Targets)
	}
	return TokenLogps(m, b)
}

// Scores are a reward model's scores of a batch's responses, at the last token of each, [responses].
func Scores(m *model.Model, b data.Batch) *tensor.Tensor {
	defer release(m)
	return m.Scores(Hidden(m, b), b.Ends)
}

// Values are a value model's estimates before each token that counts, [n].
func Values(m *model.Model, b data.Batch) *tensor.Tensor {
	defer release(m)
	return m.Scores(Hidden(m, b), b.Sources)
}

// release drops what a sharded model has gathered where no FinishBackward will.
func release(m *model.Model) {
	if !tensor.GradEnabled() {
		m.Release()
	}
}

// ByResponse adds up numbers of tokens that count, [n], such as log-probabilities, by response, [responses].
func ByResponse(tokenLogps *tensor.Tensor, b data.Batch) *tensor.Tensor {
	index := tensor.FromInt64(b.Sequence, int64(len(b.Sequence))).ToDevice(tokenLogps.Device()) // [n]
	zeros := tensor.Zeros(tokenLogps.DType(), int64(b.Responses)).ToDevice(tokenLogps.Device()) // [responses]
	return tensor.Call("aten::index_add", 1, zeros, 0, index, tokenLogps)[0]                    // [responses]
}

// Chunks cuts all examples, shortest first, into micro-batches.
func Chunks(lengths []int, size int) [][]int {
	order := make([]int, len(lengths))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return lengths[a] - lengths[b] })
	return slices.Collect(slices.Chunk(order, size))
}

// Lengths are the tokens that each example takes in a batch.
func Lengths[E interface{ Len() int }](examples []E) []int {
	out := make([]int, len(examples))
	for i, x := range examples {
		out[i] = x.Len()
	}
	return out
}
