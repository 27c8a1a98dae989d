package train

import (
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// tokenLogps runs a model over a batch: the log-probabilities of its response tokens.
func tokenLogps(m *model.Model, b data.Batch) model.Logps {
	hidden := m.Hidden(model.Input{Rows: b.Rows, SeqLen: b.SeqLen, Tokens: b.Tokens, Positions: b.Positions, Segments: b.Segments, Prefixes: b.Prefixes})
	return m.TokenLogps(hidden, b.Sources, b.Targets)
}

// sumByResponse adds up token log-probabilities [n] into logps [responses].
func sumByResponse(tokenLogps *tensor.Tensor, b data.Batch) *tensor.Tensor {
	index := tensor.FromInt64(b.Sequence, int64(len(b.Sequence)))            // [n]
	zeros := tensor.Zeros(tokenLogps.DType(), int64(b.Responses))            // [responses]
	return tensor.Call("aten::index_add", 1, zeros, 0, index, tokenLogps)[0] // [responses]
}

// heldOut evaluates in fixed micro-batches without gradients; its metrics are named eval_....
func heldOut(lengths []int, size int, loss func(examples []int, m *Metrics)) map[string]float64 {
	m := newMetrics(true)
	for _, micro := range chunks(lengths, size) {
		tensor.Scoped(func() { tensor.NoGrad(func() { loss(micro, m) }) })
	}
	values := map[string]float64{}
	for name, v := range m.Values() {
		if name != "num_tokens" {
			values["eval_"+name] = v
		}
	}
	return values
}

// chunks cuts all examples, shortest first, into micro-batches.
func chunks(lengths []int, size int) [][]int {
	order := make([]int, len(lengths))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return lengths[a] - lengths[b] })
	return slices.Collect(slices.Chunk(order, size))
}
