package train

import (
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// lengths are the tokens of each response that count, [responses].
func lengths(b data.Batch, dtype tensor.DType) *tensor.Tensor {
	return tensor.FromInt64(b.Lengths, int64(b.Responses)).To(dtype)
}

// heldOut evaluates in fixed micro-batches without gradients; its metrics are named eval_....
func heldOut(lengths []int, size int, loss func(examples []int, m *Metrics)) map[string]float64 {
	m := newMetrics(true)
	for _, micro := range evaluate.Chunks(lengths, size) {
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
