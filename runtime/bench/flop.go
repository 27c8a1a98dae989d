package bench

import (
	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/model"
)

// FLOP are the floating-point operations that an optimiser step needs, two for each product and sum, as model FLOP utilisation
// counts them (PaLM, arXiv:2204.02311, appendix B): forward, and twice that for the backward pass; not what is computed again to
// save memory, and nothing outside of matrix products. Unlike there, attention counts the half of the pairs that a causal mask
// leaves, the embedding's rows are read and not multiplied, and the head has the rows whose next token counts. A pair's prompt
// counts once; DPO's reference adds a forward pass.
func FLOP(c model.Config, method runconfig.Method, seqLen, batch int) float64 {
	tokens, targets, pairs := float64(seqLen), float64(seqLen-1), causal(float64(seqLen))
	passes := 3.
	if method == runconfig.DPO {
		half := float64(seqLen / 2)
		tokens, targets, pairs = 3*half, 2*half, causal(half)+2*(causal(2*half)-causal(half))
		passes++
	}
	attention := 4 * float64(c.NumHiddenLayers*c.NumAttentionHeads*c.HeadDim) * pairs
	forward := 2*tokens*float64(c.NumLinear()) + attention + 2*targets*float64(c.HiddenSize*c.VocabSize)
	return float64(batch) * passes * forward
}

// causal are the pairs of a query and a key of n tokens.
func causal(n float64) float64 { return n * (n + 1) / 2 }
