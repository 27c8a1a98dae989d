package objective

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// SFT is the summed negative log-likelihood of response tokens, a scalar. tokenLogps is [n]. The
// caller divides by the response tokens of the whole optimiser step, over all micro-batches and
// ranks: a mean per micro-batch would weigh tokens by the company they keep.
func SFT(tokenLogps *tensor.Tensor) *tensor.Tensor {
	return tokenLogps.Sum().Neg()
}
