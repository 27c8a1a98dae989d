package cases

import (
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// tokens are numbers of the tokens of responses.
type tokens struct {
	lists [][]float64
	leaf  *tensor.Tensor // all of them, one response after another, [tokens]
}

// newTokens makes leaves of the numbers, with gradient or without.
func newTokens(lists [][]float64, grad bool) tokens {
	return tokens{lists, vector(slices.Concat(lists...)).RequiresGrad(grad)}
}

func vector(v []float64) *tensor.Tensor { return tensor.FromFloat64(v, int64(len(v))) }

// sums are over each response's tokens, [responses].
func (t tokens) sums() *tensor.Tensor {
	response := []int64{}
	for i, of := range t.lists {
		response = append(response, slices.Repeat([]int64{int64(i)}, len(of))...)
	}
	none := tensor.Zeros(tensor.Float64, int64(len(t.lists)))                         // [responses]
	return none.IndexAdd(0, tensor.FromInt64(response, int64(len(response))), t.leaf) // [responses]
}

// lengths count each response's tokens, [responses].
func (t tokens) lengths() *tensor.Tensor {
	n := make([]float64, len(t.lists))
	for i, of := range t.lists {
		n[i] = float64(len(of))
	}
	return vector(n)
}

// grad is the gradient of each token, ragged like the input.
func (t tokens) grad() [][]float64 {
	flat := make([]float64, t.leaf.NumElements())
	if g := t.leaf.Grad(); g != nil {
		flat = g.Float64s()
	}
	out := make([][]float64, len(t.lists))
	for i, of := range t.lists {
		out[i], flat = flat[:len(of):len(of)], flat[len(of):]
	}
	return out
}

// mean is of a tensor's elements.
func mean(t *tensor.Tensor) float64 { return t.Detach().Mean().Item() }
