package train

import (
	"iter"
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// lengths are the tokens of each response that count, [responses], in the type of logps.
func lengths(b data.Batch, logps *tensor.Tensor) *tensor.Tensor {
	return like(tensor.FromInt64(b.Lengths, int64(b.Responses)), logps)
}

// like is values in another's type and on its device.
func like(values, other *tensor.Tensor) *tensor.Tensor {
	return values.To(other.DType()).ToDevice(other.Device())
}

// heldOut evaluates in fixed micro-batches without gradients, divided among the ranks of g; its metrics are named
// eval_.... What loss leaves behind beside m counts only where idle is false.
func heldOut(g *distributed.Group, lengths []int, size int, loss func(examples []int, m *Metrics, idle bool)) map[string]float64 {
	m := newMetrics(true)
	inChunks(g, lengths, size, func(examples []int, idle bool) {
		of := m
		if idle {
			of = newMetrics(true)
		}
		loss(examples, of, idle)
	})
	values := map[string]float64{}
	for name, v := range m.Gather(g).Values() {
		if name != "num_tokens" {
			values["eval_"+name] = v
		}
	}
	return values
}

// inChunks calls f without gradients for micro-batches of all examples, divided among the ranks of g; an idle call
// must leave nothing behind (see Turns).
func inChunks(g *distributed.Group, lengths []int, size int, f func(examples []int, idle bool)) {
	chunks := evaluate.Chunks(lengths, size)
	for piece, idle := range g.Turns(len(chunks)) {
		tensor.Scoped(func() { tensor.NoGrad(func() { f(chunks[piece], idle) }) })
	}
}

// share is the micro-batches of this rank's part of a batch, of examples of like length, shortest first. Every rank
// has as many; those beyond its part are idle, and what comes of them must not count.
func share(g *distributed.Group, batch []int, lengths []int, size int) iter.Seq2[[]int, bool] {
	return func(yield func(examples []int, idle bool) bool) {
		var mine []int
		for i, example := range slices.Concat(data.Micro(batch, lengths, size)...) { // by length
			if i%g.World() == g.Rank() {
				mine = append(mine, example)
			}
		}
		most := (len(batch) + g.World() - 1) / g.World() // examples of a rank
		chunks := slices.Collect(slices.Chunk(mine, size))
		for i := range (most + size - 1) / size {
			examples, idle := batch[:1], true
			if i < len(chunks) {
				examples, idle = chunks[i], false
			}
			if !yield(examples, idle) {
				return
			}
		}
	}
}
