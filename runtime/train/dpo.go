package train

import (
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/rollout"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// DPO is direct preference optimisation (arXiv:2305.18290): a pair's two responses under
// the policy and under the frozen reference.
type DPO struct {
	Policy, Reference *model.Model
	Params            objective.DPOParams
	Examples, Held    []data.Pair
	Pad               int32
	MicroBatchSize    int // of evaluation and of precomputing
	// Rollout samples responses to KLPrompts held-out prompts, to estimate the KL.
	Rollout   rollout.Options
	KLPrompts int

	// reference logps [2*pairs], chosen before rejected, once Precompute ran; else nil.
	precomputed []float64
}

// Lengths implements Method.
func (d *DPO) Lengths() []int { return pairLengths(d.Examples) }

// Weight implements Method: the pairs of the whole batch.
func (d *DPO) Weight(batch []int) float64 { return float64(len(batch)) }

// Precompute keeps the reference's logps of every training pair, so that Loss need not
// run the reference. progress is told how many of how many pairs are done.
func (d *DPO) Precompute(progress func(done, of int)) {
	kept := make([]float64, 2*len(d.Examples))
	var done int
	for _, micro := range chunks(d.Lengths(), d.MicroBatchSize) {
		tensor.Scoped(func() {
			logps := d.referenceLogps(data.BatchPairs(data.Pick(d.Examples, micro), d.Pad)).Float64s()
			for j, i := range micro {
				copy(kept[2*i:2*i+2], logps[2*j:2*j+2])
			}
		})
		done += len(micro)
		progress(done, len(d.Examples))
	}
	d.precomputed = kept
}

// Loss implements Method.
func (d *DPO) Loss(examples []int, m *Metrics) *tensor.Tensor {
	batch := data.BatchPairs(data.Pick(d.Examples, examples), d.Pad)
	var reference *tensor.Tensor // [2*pairs]
	if d.precomputed == nil {
		reference = d.referenceLogps(batch)
	} else {
		var kept []float64
		for _, i := range examples {
			kept = append(kept, d.precomputed[2*i:2*i+2]...)
		}
		reference = tensor.FromFloat64(kept, int64(len(kept))).To(d.Policy.DType())
	}
	return d.loss(batch, reference, m)
}

func (d *DPO) loss(batch data.Batch, reference *tensor.Tensor, m *Metrics) *tensor.Tensor {
	tokens := tokenLogps(d.Policy, batch)
	policy := sumByResponse(tokens.TokenLogps, batch) // [2*pairs]
	pc, pr := split(policy)
	rc, rr := split(reference)
	p := objective.DPO(objective.Logps{Chosen: pc, Rejected: pr}, objective.Logps{Chosen: rc, Rejected: rr}, d.Params)
	loss := p.Loss.Sum()
	pairs := float64(batch.Responses / 2)
	m.Mean("loss", loss.Item(), pairs)
	m.MeanOf("rewards/chosen", p.ChosenRewards)
	m.MeanOf("rewards/rejected", p.RejectedRewards)
	m.MeanOf("rewards/margins", p.ChosenRewards.Sub(p.RejectedRewards))
	m.MeanOf("rewards/accuracies", p.ChosenRewards.Gt(p.RejectedRewards).To(tensor.Float32))
	m.MeanOf("logps/chosen", pc)
	m.MeanOf("logps/rejected", pr)
	if n := float64(len(batch.Targets)); m.Detailed {
		m.Mean("entropy", tokens.Entropy()*n, n)
	}
	m.Total("num_tokens", float64(batch.NumTokens))
	return loss
}

func (d *DPO) referenceLogps(batch data.Batch) (logps *tensor.Tensor) {
	tensor.NoGrad(func() {
		logps = sumByResponse(tokenLogps(d.Reference, batch).TokenLogps, batch)
	})
	return logps
}

// Evaluate implements Method. Its kl is an estimate of KL(policy || reference) in nats per
// response, over responses sampled from the policy.
func (d *DPO) Evaluate() map[string]float64 {
	values := heldOut(pairLengths(d.Held), d.MicroBatchSize, func(examples []int, m *Metrics) {
		batch := data.BatchPairs(data.Pick(d.Held, examples), d.Pad)
		d.loss(batch, d.referenceLogps(batch), m)
	})
	if kl, ok := d.kl(); ok {
		values["kl"] = kl
	}
	return values
}

func (d *DPO) kl() (float64, bool) {
	var prompts [][]int32
	for _, p := range d.Held[:min(d.KLPrompts, len(d.Held))] {
		prompts = append(prompts, p.Prompt)
	}
	if len(prompts) == 0 {
		return 0, false
	}
	responses := rollout.Generate(d.Policy, prompts, d.Rollout)
	var sampled []data.Sequence
	for i, r := range responses {
		if len(r) > 0 {
			mask := make([]bool, len(prompts[i])+len(r))
			for j := len(prompts[i]); j < len(mask); j++ {
				mask[j] = true
			}
			sampled = append(sampled, data.Sequence{Tokens: slices.Concat(prompts[i], r), ResponseMask: mask})
		}
	}
	m := newMetrics(false)
	for _, micro := range chunks(lengthsOf(sampled), d.MicroBatchSize) {
		tensor.Scoped(func() {
			tensor.NoGrad(func() {
				batch := data.BatchSequences(data.Pick(sampled, micro), d.Pad)
				ratio := tokenLogps(d.Policy, batch).TokenLogps.Sub(tokenLogps(d.Reference, batch).TokenLogps) // [n]
				// Unbiased and never negative, unlike the ratio itself: Schulman, "Approximating KL Divergence", k3.
				kl := ratio.Neg().Expm1().Add(ratio) // [n]
				m.Mean("kl", kl.Sum().Item(), float64(batch.Responses))
			})
		})
	}
	kl, ok := m.Values()["kl"]
	return kl, ok
}

// split takes [2*pairs] apart into chosen and rejected, each [pairs].
func split(logps *tensor.Tensor) (chosen, rejected *tensor.Tensor) {
	pairs := logps.Reshape(-1, 2)
	return pairs.Select(1, 0), pairs.Select(1, 1)
}

func pairLengths(pairs []data.Pair) []int {
	out := make([]int, len(pairs))
	for i, p := range pairs {
		out[i] = len(p.Prompt) + len(p.Chosen) + len(p.Rejected)
	}
	return out
}
