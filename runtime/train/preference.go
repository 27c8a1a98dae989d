package train

import (
	"fmt"
	"slices"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/rollout"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// PairLoss is an objective of pairs. Those without a reference do not look at it.
type PairLoss func(policy, reference objective.Logps, lengths objective.Lengths) objective.Preference

// PairLossOf makes the objective that a run config names.
func PairLossOf(o runconfig.Objective) (loss PairLoss, err error) {
	type (
		logps   = objective.Logps
		lengths = objective.Lengths
		result  = objective.Preference
	)
	switch o.Type {
	case "DPO", "CDPO":
		p := objective.DPOParams{Beta: o.Beta, LabelSmoothing: o.LabelSmoothing}
		return func(policy, reference logps, _ lengths) result { return objective.DPO(policy, reference, p) }, nil
	case "Robust":
		p := objective.RobustParams{Beta: o.Beta, LabelSmoothing: o.LabelSmoothing}
		return func(policy, reference logps, _ lengths) result { return objective.Robust(policy, reference, p) }, nil
	case "IPO":
		p := objective.IPOParams{Tau: o.Tau, Mean: o.IPOReduction == "mean"}
		return func(policy, reference logps, n lengths) result { return objective.IPO(policy, reference, n, p) }, nil
	case "RDPO":
		p := objective.RDPOParams{Beta: o.Beta, Alpha: *o.Alpha}
		return func(policy, reference logps, n lengths) result { return objective.RDPO(policy, reference, n, p) }, nil
	case "SimPO":
		p := objective.SimPOParams{Beta: o.Beta, Gamma: *o.Gamma, LengthNormalize: *o.LengthNormalize}
		return func(policy, _ logps, n lengths) result { return objective.SimPO(policy, n, p) }, nil
	case "CPO":
		p := objective.CPOParams{Beta: o.Beta, Lambda: *o.Lambda, MeanNLL: o.NLLReduction == "mean"}
		return func(policy, _ logps, n lengths) result { return objective.CPO(policy, n, p) }, nil
	case "ORPO":
		p := objective.ORPOParams{Lambda: *o.Lambda}
		return func(policy, _ logps, n lengths) result { return objective.ORPO(policy, n, p) }, nil
	case "SLiCHF":
		p := objective.SLiCHFParams{Delta: *o.Delta, Lambda: *o.Lambda, MeanNLL: o.NLLReduction == "mean"}
		return func(policy, _ logps, n lengths) result { return objective.SLiCHF(policy, n, p) }, nil
	}
	return nil, fmt.Errorf("objective.type: %s is not an objective of pairs", o.Type)
}

// Preference is a method whose examples are pairs: DPO (arXiv:2305.18290) and its relatives, with a
// frozen reference; SimPO (arXiv:2405.14734) and its, without.
type Preference struct {
	Policy         *model.Model
	Reference      *model.Model // nil for an objective without
	Objective      PairLoss
	Examples, Held []data.Pair
	Pad            int32
	MicroBatchSize int // of evaluation and of precomputing
	// Rollout samples responses to SamplePrompts held-out prompts, for their length and their KL to the
	// reference.
	Rollout       rollout.Options
	SamplePrompts int
	// Group's ranks divide the work among them; nil: this process does it all.
	Group *distributed.Group

	// ReferenceLogps are the reference's of each response, [2*(examples+held)], chosen before rejected; nil: every step computes those that
	// it needs.
	ReferenceLogps []float64
}

// Lengths implements Loss.
func (d *Preference) Lengths() []int { return evaluate.Lengths(d.Examples) }

// Begin implements Loss: the pairs of the whole batch.
func (d *Preference) Begin(batch []int) float64 { return float64(len(batch)) }

// Precompute is what ReferenceLogps may be set to, so that no step need run the reference. progress is told how many of how many
// pairs are done.
func (d *Preference) Precompute(progress func(done, of int)) []float64 {
	pairs := slices.Concat(d.Examples, d.Held)
	kept := make([]float64, 2*len(pairs))
	var done int
	inChunks(d.Group, evaluate.Lengths(pairs), d.MicroBatchSize, func(micro []int, idle bool) {
		logps := d.referenceLogps(data.BatchPairs(data.Pick(pairs, micro), d.Pad)).Float64s()
		if idle {
			return
		}
		for j, i := range micro {
			copy(kept[2*i:2*i+2], logps[2*j:2*j+2])
		}
		done += len(micro)
		progress(min(done*d.Group.World(), len(pairs)), len(pairs))
	})
	return d.Group.SumOf(kept) // each is computed by one rank
}

// Of implements Loss.
func (d *Preference) Of(examples []int, m *Metrics) *tensor.Tensor {
	batch := data.BatchPairs(data.Pick(d.Examples, examples), d.Pad)
	loss, _ := d.loss(batch, d.reference(batch, examples, 0), m)
	return loss
}

// loss also returns the policy's logps.
func (d *Preference) loss(batch data.Batch, reference *tensor.Tensor, m *Metrics) (loss *tensor.Tensor, policy objective.Logps) {
	tokens := evaluate.Logps(d.Policy, batch, m.Detailed)
	policy = split(evaluate.ByResponse(tokens.TokenLogps, batch)) // each [pairs]
	n := split(lengths(batch, tokens.TokenLogps))
	var ref objective.Logps
	if reference != nil {
		ref = split(like(reference, tokens.TokenLogps))
	}
	p := d.Objective(policy, ref, objective.Lengths(n))
	loss = p.Loss.Sum()

	pairs := float64(batch.Responses / 2)
	m.Mean("loss", loss.Item(), pairs)
	m.MeanOf("rewards/chosen", p.ChosenRewards)
	m.MeanOf("rewards/rejected", p.RejectedRewards)
	m.MeanOf("rewards/margins", p.ChosenRewards.Sub(p.RejectedRewards))
	m.MeanOf("rewards/accuracies", p.ChosenRewards.Gt(p.RejectedRewards).To(tensor.Float32))
	m.MeanOf("logps/chosen", policy.Chosen)
	m.MeanOf("logps/rejected", policy.Rejected)
	if p.NLL != nil {
		m.MeanOf("nll_loss", p.NLL)
	}
	if p.LogOddsRatio != nil {
		m.MeanOf("log_odds_ratio", p.LogOddsRatio)
	}
	if n := float64(len(batch.Targets)); m.Detailed {
		m.Mean("entropy", tokens.Entropy()*n, n)
	}
	m.Total("num_tokens", float64(batch.NumTokens))
	return loss, policy
}

// reference is [2*pairs], looked up for examples, which count from first, or computed.
func (d *Preference) reference(batch data.Batch, examples []int, first int) *tensor.Tensor {
	if d.ReferenceLogps == nil {
		return d.referenceLogps(batch)
	}
	var kept []float64
	for _, i := range examples {
		kept = append(kept, d.ReferenceLogps[2*(first+i):2*(first+i)+2]...)
	}
	return tensor.FromFloat64(kept, int64(len(kept)))
}

// referenceLogps is nil without a reference.
func (d *Preference) referenceLogps(batch data.Batch) (logps *tensor.Tensor) {
	if d.Reference == nil {
		return nil
	}
	tensor.NoGrad(func() {
		logps = evaluate.ByResponse(evaluate.TokenLogps(d.Reference, batch).TokenLogps, batch)
	})
	return logps
}

// Evaluate implements Loss. With a reference, its kl is an estimate of KL(policy || reference) in nats per
// response, over responses sampled from the policy. Its eval_logps/length_correlation is Spearman's
// between a chosen response's mean log-probability and its length (SimPO, section 4.2): a model that has
// learnt to prefer length has a large one.
func (d *Preference) Evaluate() map[string]float64 {
	likelihood, length := make([]float64, len(d.Held)), make([]float64, len(d.Held))
	values := heldOut(d.Group, evaluate.Lengths(d.Held), d.MicroBatchSize, func(examples []int, m *Metrics, idle bool) {
		batch := data.BatchPairs(data.Pick(d.Held, examples), d.Pad)
		_, policy := d.loss(batch, d.reference(batch, examples, len(d.Examples)), m)
		for i, logp := range policy.Chosen.Float64s() {
			if n := float64(batch.Lengths[2*i]); !idle {
				likelihood[examples[i]], length[examples[i]] = logp/n, n
			}
		}
	})
	if r, ok := spearman(d.Group.SumOf(likelihood), d.Group.SumOf(length)); ok {
		values["eval_logps/length_correlation"] = r
	}
	var prompts [][]int32
	for _, p := range d.Held[:min(d.SamplePrompts, len(d.Held))] {
		prompts = append(prompts, p.Prompt)
	}
	sampler := evaluate.Policy{Policy: d.Policy, Reference: d.Reference, Rollout: d.Rollout, MicroBatchSize: d.MicroBatchSize, Group: d.Group}
	if m := evaluate.Mean(sampler.Answer(prompts)); m.Responses > 0 {
		values["eval_completions/mean_length"] = m.Length
		if d.Reference != nil {
			values["kl"] = m.KL
		}
	}
	return values
}

// split takes [2*pairs] apart into chosen and rejected, each [pairs].
func split(responses *tensor.Tensor) objective.Logps {
	pairs := responses.Reshape(-1, 2)
	return objective.Logps{Chosen: pairs.Select(1, 0), Rejected: pairs.Select(1, 1)}
}
