package train

import (
	"fmt"
	"math"

	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// RRHF (arXiv:2304.05302) ranks a prompt's responses by their length-normalised likelihood.
type RRHF struct {
	Policy         *model.Model
	Params         objective.RRHFParams
	Examples, Held []data.Group
	Pad            int32
	MicroBatchSize int // of evaluation
	// Group's ranks divide the work among them; nil: this process does it all.
	Group *distributed.Group
}

// Lengths implements Loss.
func (r *RRHF) Lengths() []int { return evaluate.Lengths(r.Examples) }

// Begin implements Loss: the prompts of the whole batch.
func (r *RRHF) Begin(batch []int) float64 { return float64(len(batch)) }

// Of implements Loss.
func (r *RRHF) Of(examples []int, m *Metrics) *tensor.Tensor {
	return r.loss(data.Pick(r.Examples, examples), m)
}

func (r *RRHF) loss(groups []data.Group, m *Metrics) *tensor.Tensor {
	batch := data.BatchGroups(groups, r.Pad)
	tokens := evaluate.Logps(r.Policy, batch, m.Detailed)
	logps := evaluate.ByResponse(tokens.TokenLogps, batch) // [responses]
	ranked := objective.RRHF(logps, lengths(batch, logps), ranksIn(groups), r.Params)
	if n := float64(len(batch.Targets)); m.Detailed {
		m.Mean("entropy", tokens.Entropy()*n, n)
	}
	return rankedMetrics(ranked, batch, m)
}

// Evaluate implements Loss.
func (r *RRHF) Evaluate() map[string]float64 {
	return heldOut(r.Group, evaluate.Lengths(r.Held), r.MicroBatchSize, func(examples []int, m *Metrics, _ bool) {
		r.loss(data.Pick(r.Held, examples), m)
	})
}

// RewardModel learns to score responses from people's rankings: InstructGPT (arXiv:2203.02155), equation 1.
// With ranked examples as they are, all pairs of a prompt are one element of a batch; with
// SplitPairs of them, every pair is an element of its own.
type RewardModel struct {
	Policy         *model.Model // with a score head
	Examples, Held []data.Group
	Pad            int32
	MicroBatchSize int // of evaluation
	// Group's ranks divide the work among them; nil: this process does it all.
	Group *distributed.Group
}

// Lengths implements Loss.
func (r *RewardModel) Lengths() []int { return evaluate.Lengths(r.Examples) }

// Begin implements Loss: the prompts of the whole batch.
func (r *RewardModel) Begin(batch []int) float64 { return float64(len(batch)) }

// Of implements Loss.
func (r *RewardModel) Of(examples []int, m *Metrics) *tensor.Tensor {
	_, loss := r.loss(data.Pick(r.Examples, examples), m)
	return loss
}

func (r *RewardModel) loss(groups []data.Group, m *Metrics) (objective.Ranked, *tensor.Tensor) {
	batch := data.BatchGroups(groups, r.Pad)
	ranked := objective.RewardModel(evaluate.Scores(r.Policy, batch), ranksIn(groups))
	return ranked, rankedMetrics(ranked, batch, m)
}

// calibrationBins are the bins of the probability that the model gives to the response it prefers.
const calibrationBins = 5

// Evaluate implements Loss. Beside accuracy and margins it tells how well the margins are calibrated:
// equation 1 makes sigmoid(margin) the probability that the higher-scored response is the better one.
// eval_calibration/0.8-0.9 is how often it is, where that probability is between 0.8 and 0.9;
// eval_calibration_error is the expected calibration error over all bins.
func (r *RewardModel) Evaluate() map[string]float64 {
	var bins [3 * calibrationBins]float64
	values := heldOut(r.Group, evaluate.Lengths(r.Held), r.MicroBatchSize, func(examples []int, m *Metrics, idle bool) {
		ranked, _ := r.loss(data.Pick(r.Held, examples), m)
		if idle {
			return
		}
		right, claimed, count := bins[:calibrationBins], bins[calibrationBins:2*calibrationBins], bins[2*calibrationBins:]
		worse := ranked.Worse.Float64s()
		for i, better := range ranked.Better.Float64s() {
			margin := better - worse[i]
			p := 1 / (1 + math.Exp(-math.Abs(margin)))
			bin := min(int((p-0.5)*2*calibrationBins), calibrationBins-1)
			count[bin]++
			claimed[bin] += p
			if margin > 0 {
				right[bin]++
			}
		}
	})
	sums := r.Group.SumOf(bins[:])
	right, claimed, count := sums[:calibrationBins], sums[calibrationBins:2*calibrationBins], sums[2*calibrationBins:]
	var total, off float64
	for bin, n := range count {
		if n == 0 {
			continue
		}
		low := 0.5 + float64(bin)/(2*calibrationBins)
		values[fmt.Sprintf("eval_calibration/%.1f-%.1f", low, low+0.5/calibrationBins)] = right[bin] / n
		total += n
		off += math.Abs(right[bin] - claimed[bin])
	}
	if total > 0 {
		values["eval_calibration_error"] = off / total
	}
	return values
}

// Normalise shifts the scores so that their mean over demonstrations is 0 (InstructGPT, section 3.5),
// and returns the shift, which is saved with the model.
func (r *RewardModel) Normalise(demonstrations []data.Group) (shift float64) {
	r.Policy.SetRewardShift(0)
	m := newMetrics(false)
	inChunks(r.Group, evaluate.Lengths(demonstrations), r.MicroBatchSize, func(micro []int, idle bool) {
		scores := evaluate.Scores(r.Policy, data.BatchGroups(data.Pick(demonstrations, micro), r.Pad))
		if !idle {
			m.MeanOf("score", scores)
		}
	})
	shift = -m.Gather(r.Group).Values()["score"]
	r.Policy.SetRewardShift(shift)
	return shift
}

// Best are the best responses of ranked examples, the first of equals: what a reward model is normalised
// on when there are no demonstrations.
func Best(groups []data.Group) []data.Group {
	out := make([]data.Group, len(groups))
	for i, g := range groups {
		best := 0
		for k, rank := range g.Ranks {
			if rank < g.Ranks[best] {
				best = k
			}
		}
		out[i] = data.Group{Prompt: g.Prompt, Responses: g.Responses[best : best+1], Ranks: []float64{1}}
	}
	return out
}

// SplitPairs makes an example of every two responses of different rank. InstructGPT found that a model
// trained on them in shuffled order overfits, as each response then counts in K-1 steps of an epoch.
func SplitPairs(groups []data.Group, weights []float64) (pairs []data.Group, of []float64) {
	for k, g := range groups {
		for i, better := range g.Ranks {
			for j, worse := range g.Ranks {
				if better < worse {
					pairs = append(pairs, data.Group{Prompt: g.Prompt, Responses: [][]int32{g.Responses[i], g.Responses[j]}, Ranks: []float64{1, 2}})
					if weights != nil {
						of = append(of, weights[k])
					}
				}
			}
		}
	}
	return pairs, of
}

func rankedMetrics(ranked objective.Ranked, batch data.Batch, m *Metrics) (loss *tensor.Tensor) {
	loss = ranked.Loss.Sum()
	m.Mean("loss", loss.Item(), float64(ranked.Loss.NumElements()))
	m.MeanOf("rewards/chosen", ranked.Better)
	m.MeanOf("rewards/rejected", ranked.Worse)
	m.MeanOf("rewards/margins", ranked.Better.Sub(ranked.Worse))
	m.MeanOf("rewards/accuracies", ranked.Better.Gt(ranked.Worse).To(tensor.Float32))
	if ranked.NLL != nil {
		m.MeanOf("nll_loss", ranked.NLL)
	}
	m.Total("num_tokens", float64(batch.NumTokens))
	return loss
}

func ranksIn(groups []data.Group) [][]float64 {
	out := make([][]float64, len(groups))
	for i, g := range groups {
		out[i] = g.Ranks
	}
	return out
}
