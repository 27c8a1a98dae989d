package train

import (
	"math"
	"slices"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// experience is what a step of PPO learns from: sampled responses and what the models say of them. All
// but scores and ended have a number for each token of each response.
type experience struct {
	sequences               []data.Sequence
	ended                   []bool    // with an EOS token
	scores                  []float64 // the reward model's, less the penalty for not ending
	logps, refLogps, values [][]float64
	sampledLogps            [][]float64 // the sampler's own
	advantages, returns     [][]float64
	penalty                 float64
}

// collect answers prompts with the policy. The log-probabilities are computed anew, by the same code as
// in training: then the first ratio is 1, and the difference to the sampler's is a metric.
func (p *PPO) collect(prompts [][]int32, step int) *experience {
	o := p.Rollout
	o.Seed = p.Seed + uint64(step)*0x9e3779b97f4a7c15 // another stream each step
	answers := evaluate.Sample(p.Group, p.Policy.Model, prompts, o)
	x := &experience{sequences: evaluate.Join(prompts, answers), penalty: *p.Settings.MissingEOSPenalty}
	for _, a := range answers {
		if len(a.Tokens) > 0 {
			x.sampledLogps = append(x.sampledLogps, a.TokenLogps)
		}
	}
	n := len(x.sequences)
	x.ended, x.scores = make([]bool, n), make([]float64, n)
	x.logps, x.refLogps, x.values = make([][]float64, n), make([][]float64, n), make([][]float64, n)
	for i, s := range x.sequences {
		x.ended[i] = slices.Contains(o.EOS, s.Tokens[len(s.Tokens)-1])
	}
	inChunks(p.Group, evaluate.Lengths(x.sequences), p.MicroBatchSize, func(micro []int, idle bool) {
		batch := data.BatchSequences(data.Pick(x.sequences, micro), o.Pad)
		score := evaluate.Scores(p.Reward, batch).Float64s()
		logps, refLogps := evaluate.TokenLogps(p.Policy.Model, batch).TokenLogps, evaluate.TokenLogps(p.Reference, batch).TokenLogps
		values := evaluate.Values(p.Value.Model, batch)
		if idle {
			return
		}
		for j, i := range micro {
			if x.scores[i] = score[j]; !x.ended[i] {
				x.scores[i] -= x.penalty
			}
		}
		deal(x.logps, micro, batch, logps)
		deal(x.refLogps, micro, batch, refLogps)
		deal(x.values, micro, batch, values)
	})
	x.gather(p.Group)
	return x
}

// gather fills in what the other ranks have computed of the responses.
func (x *experience) gather(g *distributed.Group) {
	if g.World() == 1 {
		return
	}
	x.scores = g.SumOf(x.scores)
	type numbers struct{ Logps, RefLogps, Values [][]float64 }
	for _, of := range distributed.Gather(g, numbers{x.logps, x.refLogps, x.values}) {
		for i := range x.sequences {
			if len(of.Logps[i]) > 0 {
				x.logps[i], x.refLogps[i], x.values[i] = of.Logps[i], of.RefLogps[i], of.Values[i]
			}
		}
	}
}

// estimate computes advantages and returns from per-token rewards.
func (x *experience) estimate(s runconfig.PPOSettings, klCoefficient float64) {
	rewards := objective.TokenRewards(x.scores, x.logps, x.refLogps, klCoefficient)
	x.advantages, x.returns = objective.GAE(rewards, x.values, s.Gamma, s.GAELambda)
	if *s.Whiten {
		objective.Whiten(x.advantages)
	}
}

// metrics reports the responses under TRL's names and returns the mean KL to the reference, in nats per
// response.
func (x *experience) metrics(klCoefficient float64, m *Metrics) (kl float64) {
	n := float64(len(x.sequences))
	var score, entropy, ended, tokens, off float64
	for i := range x.sequences {
		score += x.scores[i]
		tokens += float64(len(x.logps[i]))
		if x.ended[i] {
			ended++
		}
		for t, logp := range x.logps[i] {
			kl += logp - x.refLogps[i][t]
			entropy -= logp
			off += math.Abs(logp - x.sampledLogps[i][t])
		}
	}
	m.Mean("objective/kl", kl, n)
	m.Mean("objective/entropy", entropy, n)
	m.Mean("objective/scores", score, n)
	m.Mean("objective/non_score_reward", -klCoefficient*kl, n)
	m.Mean("objective/rlhf_reward", score-klCoefficient*kl, n)
	m.Mean("objective/kl_coef", klCoefficient, 1)
	m.Mean("completions/mean_length", tokens, n)
	m.Mean("completions/logp_difference", off, tokens) // sampler and trainer, a token
	m.Total("val/num_eos_tokens", ended)
	return kl / n
}

// deal hands a batch's numbers, one for each token that counts, to the responses that they are of.
func deal(to [][]float64, micro []int, batch data.Batch, values *tensor.Tensor) {
	for k, v := range values.Float64s() {
		i := micro[batch.Sequence[k]]
		to[i] = append(to[i], v)
	}
}

// flat joins the numbers of responses, [tokens], in the order of a batch of them.
func flat(perResponse [][]float64) *tensor.Tensor {
	all := slices.Concat(perResponse...)
	return tensor.FromFloat64(all, int64(len(all)))
}

// follow moves an average towards a model's weights: decay * average + (1 - decay) * weights.
func (l *Learner) follow(other *Learner, decay float64) {
	weights := func(of *Learner) (list []*tensor.Tensor) {
		for _, p := range of.params {
			list = append(list, p.Tensor)
		}
		return list
	}
	tensor.NoGrad(func() {
		tensor.ForeachMulScalarInPlace(weights(l), decay)
		tensor.ForeachAddInPlace(weights(l), weights(other), 1-decay)
	})
}

// NewAverage is a copy of a learner's model that is to follow it and has no gradients. It is not frozen: it keeps
// what a step changes, however narrow it computes.
func NewAverage(of *Learner) *Learner {
	m := of.Model.Clone()
	params := m.Trainable() // what is frozen in the learner is shared with it
	for _, p := range m.Parameters() {
		p.Tensor.RequiresGrad(false)
	}
	return &Learner{Name: "average", Model: m, params: params, Group: of.Group}
}
