package model

import (
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Dropout drops a share of the inputs of m's adapters in the forwards that follow, and in what FinishBackward recomputes
// of them, until stop is called. It does nothing where LoRA.Dropout is 0.
//
// Whether an input is dropped follows from seed, step, the adapter, the input's column, and the text that the token sees up
// to itself. So neither micro-batches nor padding, packing, recomputation or the number of ranks change what is dropped,
// and there is no random state to save. Tokens that have seen the same text in the same step lose the same inputs: a pair's two
// responses are told apart under one mask of their common beginning.
func (m *Model) Dropout(seed uint64, step int) (stop func()) {
	if m.lora == nil || m.lora.Dropout == 0 {
		return func() {}
	}
	start := mix(mix(seed) + uint64(step))
	m.dropout = &start
	return func() { m.dropout = nil }
}

// keysOfDropout stand for the text that each token sees, int64 [tokens, 1]; nil when nothing is dropped.
func (m *Model) keysOfDropout(in Input) *tensor.Tensor {
	if m.dropout == nil {
		return nil
	}
	keys := make([]int64, len(in.Tokens))
	for row := range in.Rows {
		seen := map[int64]uint64{} // of each segment, its tokens so far
		for i := row * in.SeqLen; i < (row+1)*in.SeqLen; i++ {
			segment := in.Segments[i]
			if segment < 0 {
				continue // padding, which nobody sees
			}
			key, begun := seen[segment]
			if !begun {
				if key, begun = seen[in.Prefixes[i]]; !begun {
					key = *m.dropout
				}
			}
			key = mix(key + uint64(in.Tokens[i]))
			seen[segment], keys[i] = key, int64(key)
		}
	}
	return tensor.FromInt64(keys, int64(len(keys)), 1).ToDevice(m.device)
}

// dropoutColumns are numbers at random for the columns of an adapter's input, int64 [n].
func (m *Model) dropoutColumns(name string, n int64) *tensor.Tensor {
	r := generator(0, name)
	columns := make([]int64, n)
	for i := range columns {
		columns[i] = int64(r.Uint64())
	}
	return tensor.FromInt64(columns, n).ToDevice(m.device)
}

// dropped is x, [tokens, in], with a share of its elements 0: where a hash of key and column is below that share of all numbers.
func dropped(x, keys, columns *tensor.Tensor, share float64) *tensor.Tensor {
	var drop *tensor.Tensor // bool [tokens, in]
	tensor.Scoped(func() {
		h := tensor.Call("aten::bitwise_xor.Tensor", 1, keys, columns)[0] // int64 [tokens, in]
		for _, factor := range []int64{-0x61c8864680b583eb, -0x3b314601e57a13ad} {
			tensor.Call("aten::mul_.Scalar", 0, h, factor)
			high := tensor.Call("aten::bitwise_right_shift.Tensor_Scalar", 1, h, 32)[0]
			tensor.Call("aten::bitwise_xor_.Tensor", 0, h, high)
		}
		tensor.Call("aten::mul_.Scalar", 0, h, int64(-0x61c8864680b583eb))
		limit := math.MinInt64 + int64(uint64(math.Ldexp(share, 64)))
		drop = tensor.Call("aten::lt.Scalar", 1, h, limit)[0].Keep()
	})
	return x.MaskedFill(drop, 0)
}

// generator's numbers depend on seed and name only.
func generator(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// mix is the finaliser of SplitMix64: every bit of x changes each bit of the result with probability one half.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
