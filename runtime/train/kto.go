package train

import (
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// KTO is Kahneman-Tversky optimisation (arXiv:2402.01306): single responses, each desirable or not.
type KTO struct {
	Policy, Reference *model.Model
	Params            objective.KTOParams
	Examples, Held    []data.Unpaired
	Pad               int32
	MicroBatchSize    int // of evaluation and of the KL's estimate
	// Group's ranks divide the work among them; nil: this process does it all.
	Group *distributed.Group

	kl float64 // the current batch's estimate, in nats per response
}

// Lengths implements Loss. All are the same: batches of like length would separate desirable responses from
// undesirable ones wherever these differ in length.
func (k *KTO) Lengths() []int { return make([]int, len(k.Examples)) }

// Begin implements Loss: the responses of the whole batch. It estimates the batch's KL, over all of its
// micro-batches, as the mean over mismatched pairs of a prompt with the next example's response.
func (k *KTO) Begin(batch []int) float64 {
	k.kl = k.estimate(data.Pick(k.Examples, batch))
	return float64(len(batch))
}

// estimate has no gradient (section 4.1), so one pass before the batch serves all of its micro-batches.
func (k *KTO) estimate(examples []data.Unpaired) float64 {
	mismatched := make([]data.Unpaired, len(examples))
	for i, x := range examples {
		mismatched[i] = data.Unpaired{Prompt: x.Prompt, Response: examples[(i+1)%len(examples)].Response}
	}
	var sum float64
	inChunks(k.Group, evaluate.Lengths(mismatched), k.MicroBatchSize, func(micro []int, idle bool) {
		batch := k.batch(data.Pick(mismatched, micro))
		ratio := evaluate.TokenLogps(k.Policy, batch).TokenLogps.Sub(evaluate.TokenLogps(k.Reference, batch).TokenLogps) // [n]
		if !idle {
			sum += ratio.Sum().Item()
		}
	})
	return k.Group.SumOf([]float64{sum})[0] / float64(len(examples))
}

// Of implements Loss.
func (k *KTO) Of(examples []int, m *Metrics) *tensor.Tensor {
	return k.loss(data.Pick(k.Examples, examples), k.kl, m)
}

func (k *KTO) loss(examples []data.Unpaired, kl float64, m *Metrics) *tensor.Tensor {
	batch := k.batch(examples)
	tokens := evaluate.Logps(k.Policy, batch, m.Detailed)
	policy := evaluate.ByResponse(tokens.TokenLogps, batch) // [n]
	var reference *tensor.Tensor
	tensor.NoGrad(func() { reference = evaluate.ByResponse(evaluate.TokenLogps(k.Reference, batch).TokenLogps, batch) })
	desirable := make([]bool, len(examples))
	for i, x := range examples {
		desirable[i] = x.Desirable
	}
	u := objective.KTO(policy, reference, desirable, kl, k.Params)
	loss := u.Loss.Sum()

	m.Mean("loss", loss.Item(), float64(len(examples)))
	m.Mean("kl", kl*float64(len(examples)), float64(len(examples)))
	rewards, logps := u.Rewards.Float64s(), policy.Detach().Float64s()
	for i, good := range desirable {
		side := "rejected"
		if good {
			side = "chosen"
		}
		m.Mean("rewards/"+side, rewards[i], 1)
		m.Mean("logps/"+side, logps[i], 1)
	}
	if n := float64(len(batch.Targets)); m.Detailed {
		m.Mean("entropy", tokens.Entropy()*n, n)
	}
	m.Total("num_tokens", float64(batch.NumTokens))
	return loss
}

// Evaluate implements Loss.
func (k *KTO) Evaluate() map[string]float64 {
	if len(k.Held) == 0 {
		return map[string]float64{}
	}
	kl := k.estimate(k.Held)
	return heldOut(k.Group, evaluate.Lengths(k.Held), k.MicroBatchSize, func(examples []int, m *Metrics, _ bool) {
		k.loss(data.Pick(k.Held, examples), kl, m)
	})
}

func (k *KTO) batch(examples []data.Unpaired) data.Batch {
	groups := make([]data.Group, len(examples))
	for i, x := range examples {
		groups[i] = data.Group{Prompt: x.Prompt, Responses: [][]int32{x.Response}}
	}
	return data.BatchGroups(groups, k.Pad)
}
