package objective

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// Ranked is a loss of prompts with several ranked responses each. A comparison is a pair of responses to
// one prompt of which one has the smaller rank; equal ranks are no comparison. They are listed prompt
// after prompt.
type Ranked struct {
	// Loss is each prompt's, [prompts].
	Loss *tensor.Tensor
	// Better and Worse are the scores that are compared, each [comparisons], without gradient.
	Better, Worse *tensor.Tensor
	// NLL is RRHF's negative log-likelihood of each prompt's best response before lambda, in nats, summed
	// over tokens (RewardModel: nil), [prompts], without gradient.
	NLL *tensor.Tensor
}

// comparisons are the pairs of responses of different rank. Responses are numbered prompt after prompt.
type comparisons struct {
	better, worse, prompt []int64 // [comparisons]
	perPrompt             []int   // [prompts]
	best                  []int64 // the first response of the smallest rank, [prompts] that have a response
	bestOf                []int64 // its prompt
}

func compare(ranks [][]float64) (c comparisons) {
	c.perPrompt = make([]int, len(ranks))
	var first int
	for p, of := range ranks {
		best := 0
		for i := range of {
			if of[i] < of[best] {
				best = i
			}
			for j := range of {
				if of[i] < of[j] {
					c.better = append(c.better, int64(first+i))
					c.worse = append(c.worse, int64(first+j))
					c.prompt = append(c.prompt, int64(p))
					c.perPrompt[p]++
				}
			}
		}
		if len(of) > 0 {
			c.best, c.bestOf = append(c.best, int64(first+best)), append(c.bestOf, int64(p))
		}
		first += len(of)
	}
	return c
}

// pick is values at the indices, [indices].
func pick(values *tensor.Tensor, indices []int64) *tensor.Tensor {
	return values.IndexSelect(0, indicesLike(values, indices))
}

// sumByPrompt adds values up by the prompt that they are of, [prompts].
func (c comparisons) sumByPrompt(values *tensor.Tensor, of []int64) *tensor.Tensor {
	none := tensor.Zeros(values.DType(), int64(len(c.perPrompt))).ToDevice(values.Device()) // [prompts]
	return none.IndexAdd(0, indicesLike(values, of), values)                                // [prompts]
}

func indicesLike(t *tensor.Tensor, indices []int64) *tensor.Tensor {
	return tensor.FromInt64(indices, int64(len(indices))).ToDevice(t.Device())
}
