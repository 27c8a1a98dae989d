package train

import (
	"fmt"
	"math/rand/v2"
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

// PPO is reinforcement learning from a reward model as InstructGPT has it (arXiv:2203.02155, section 3.5
// and appendix C.4), with the pretraining mix of equation 2 when PTXCoefficient is above 0. A step samples
// responses to a batch of prompts, scores them, and takes several optimiser steps on them.
type PPO struct {
	Policy, Value *Learner
	// Average follows the policy's weights with EMADecay and is published in its place; nil: none does.
	Average           *Learner
	Reference, Reward *model.Model // frozen
	Settings          runconfig.PPOSettings
	// ValueRate is the value function's learning rate over the policy's.
	ValueRate float64
	Seed      uint64
	// Prompts to answer; Held are answered in an evaluation only.
	Prompts, Held [][]int32
	// Pretraining examples of the mix; the loss on HeldPretraining is evaluated.
	Pretraining, HeldPretraining []data.Sequence
	PretrainingWeights           []float64 // of data.Plan
	Rollout                      rollout.Options
	MicroBatchSize               int
	// Group's ranks divide the work among them; nil: this process does it all.
	Group *distributed.Group

	klCoefficient float64
	ptx           ptxCursor
}

// Start sets what changes from step to step to its first value.
func (p *PPO) Start() {
	p.klCoefficient = *p.Settings.KLCoefficient
	p.ptx = ptxCursor{lengths: evaluate.Lengths(p.Pretraining), weights: p.PretrainingWeights, size: p.Settings.PTXBatchSize, seed: p.Seed, epoch: -1}
}

// Lengths implements Method. All are the same: prompts of like length are alike in other ways too, and an
// iteration on them alone would be a biased one.
func (p *PPO) Lengths() []int { return make([]int, len(p.Prompts)) }

// Learners implements Method.
func (p *PPO) Learners() []*Learner {
	if p.Average == nil {
		return []*Learner{p.Policy, p.Value}
	}
	return []*Learner{p.Policy, p.Value, p.Average}
}

// Published implements Method.
func (p *PPO) Published() *model.Model {
	if p.Average != nil {
		return p.Average.Model
	}
	return p.Policy.Model
}

// Numbers implements Method.
func (p *PPO) Numbers() map[string]*float64 {
	return map[string]*float64{"kl_coefficient": &p.klCoefficient}
}

// Step implements Method.
func (p *PPO) Step(batch []int, at Position, m *Metrics) (gradNorm float64, err error) {
	s := p.Settings
	x := p.collect(data.Pick(p.Prompts, batch), at.Step)
	kl := x.metrics(p.klCoefficient, m)
	m.Total("episode", float64((at.Step+1)*len(batch)))
	if s.StopKL > 0 && kl > s.StopKL {
		return 0, fmt.Errorf("%w: the responses are %.4g nats from the reference, ppo.stopKL is %g", errStopped, kl, s.StopKL)
	}
	x.estimate(s, p.klCoefficient)

	random := rand.New(rand.NewPCG(p.Seed, uint64(at.Step)+orderStream))
	// The last minibatch is smaller where there are fewer prompts than a batch wants.
	updates := s.InnerEpochs * ((len(x.sequences) + s.MinibatchSize - 1) / s.MinibatchSize)
	update := at.Step * updates
	var ratios []float64 // each minibatch's mean
	for range s.InnerEpochs {
		for minibatch := range slices.Chunk(random.Perm(len(x.sequences)), s.MinibatchSize) {
			norm, ratio, err := p.update(x, minibatch, update, at.Rate, m)
			if err != nil {
				return gradNorm, err
			}
			gradNorm += norm / float64(updates)
			ratios = append(ratios, ratio)
			update++
		}
	}
	m.Mean("val/ratio_var", variance(ratios), 1)
	if s.KLTarget > 0 {
		p.klCoefficient = objective.AdaptKL(p.klCoefficient, kl, s.KLTarget, s.KLHorizon, len(batch))
	}
	return gradNorm, nil
}

// orderStream keeps the order of minibatches apart from the seeds' other uses.
const orderStream = 1 << 32

// update is one optimiser step of policy and value function on some of the responses. The gradients of
// the PPO loss and of the pretraining loss add up before it.
func (p *PPO) update(x *experience, minibatch []int, number int, rate float64, m *Metrics) (norm, ratio float64, err error) {
	s := p.Settings
	var tokens float64
	for _, i := range minibatch {
		tokens += float64(len(x.logps[i]))
	}
	const policySum, valueSum, ratioSum = 0, 1, 2
	var sums [3]float64
	var ptxLoss float64
	mine := newMetrics(m.Detailed)
	for micro, idle := range share(p.Group, minibatch, evaluate.Lengths(x.sequences), p.MicroBatchSize) {
		scale := 1 / tokens
		if idle {
			scale = 0
		}
		tensor.Scoped(func() {
			batch := data.BatchSequences(data.Pick(x.sequences, micro), p.Rollout.Pad)
			logps := evaluate.Logps(p.Policy.Model, batch, m.Detailed)
			of := func(perResponse [][]float64) *tensor.Tensor {
				return like(flat(data.Pick(perResponse, micro)), logps.TokenLogps)
			}
			old := of(x.logps)
			policy := objective.PPOPolicy(logps.TokenLogps, old, of(x.advantages), s.ClipRange)
			loss := policy.Loss.Sum()
			loss.MulScalar(scale).Backward()
			p.Policy.Model.FinishBackward()

			values := evaluate.Values(p.Value.Model, batch) // [n]
			value := objective.PPOValue(values, of(x.values), of(x.returns), s.ValueClipRange)
			vloss := value.Loss.Sum()
			vloss.MulScalar(scale).Backward()
			p.Value.Model.FinishBackward()

			if idle {
				return
			}
			n := float64(len(batch.Targets))
			sums[policySum] += loss.Item()
			sums[valueSum] += vloss.Item()
			sums[ratioSum] += policy.Ratio.Detach().Sum().Item()
			mine.MeanOf("policy/clipfrac_avg", policy.ClipFraction)
			mine.MeanOf("val/clipfrac_avg", value.ClipFraction)
			mine.MeanOf("val/ratio", policy.Ratio)
			mine.Mean("policy/approxkl_avg", 0.5*logps.TokenLogps.Detach().Sub(old).Square().Sum().Item(), n)
			if m.Detailed {
				mine.Mean("policy/entropy_avg", logps.Entropy()*n, n)
			}
			mine.Total("num_tokens", float64(batch.NumTokens))
		})
	}
	m.addAll(mine.Gather(p.Group))
	if s.PTXCoefficient > 0 {
		ptxLoss = p.mix(number, m)
	}
	all := p.Group.SumOf(sums[:])
	policyLoss, valueLoss := all[policySum]/tokens, all[valueSum]/tokens
	m.Mean("loss/policy_avg", policyLoss, 1)
	m.Mean("loss/value_avg", valueLoss, 1)
	m.Mean("loss", policyLoss+s.PTXCoefficient*ptxLoss, 1)

	if norm, err = p.Policy.Update(rate, policyLoss+ptxLoss); err != nil {
		return norm, 0, err
	}
	if _, err = p.Value.Update(rate*p.ValueRate, valueLoss); err != nil {
		return norm, 0, err
	}
	if p.Average != nil {
		p.Average.follow(p.Policy, s.EMADecay)
	}
	return norm, all[ratioSum] / tokens, nil
}

// mix adds the gradient of the pretraining loss, the second term of equation 2: PTXCoefficient times the
// mean negative log-likelihood, which it returns in nats per token.
func (p *PPO) mix(number int, m *Metrics) float64 {
	examples := data.Pick(p.Pretraining, p.ptx.batch(number))
	var tokens, sum float64
	for _, x := range examples {
		tokens += float64(counted(x))
	}
	all := make([]int, len(examples))
	for i := range all {
		all[i] = i
	}
	mine := newMetrics(false)
	for micro, idle := range share(p.Group, all, evaluate.Lengths(examples), p.MicroBatchSize) {
		scale := p.Settings.PTXCoefficient / tokens
		if idle {
			scale = 0
		}
		tensor.Scoped(func() {
			batch := data.BatchSequences(data.Pick(examples, micro), p.Rollout.Pad)
			loss := objective.SFT(evaluate.TokenLogps(p.Policy.Model, batch).TokenLogps)
			loss.MulScalar(scale).Backward()
			p.Policy.Model.FinishBackward()
			if !idle {
				sum += loss.Item()
				mine.Total("num_tokens", float64(batch.NumTokens))
			}
		})
	}
	m.addAll(mine.Gather(p.Group))
	sum = p.Group.SumOf([]float64{sum})[0]
	m.Mean("loss/ptx_avg", sum, tokens)
	return sum / tokens
}

// ptxCursor deals out the pretraining examples, an epoch after another; the n-th batch is a function of n.
type ptxCursor struct {
	lengths []int
	weights []float64 // of data.Plan
	size    int
	seed    uint64
	epoch   int // of plan
	plan    [][]int
}

func (c *ptxCursor) batch(n int) []int {
	if c.epoch < 0 {
		c.epoch, c.plan = 0, data.Plan(c.lengths, c.weights, c.size, c.seed, 0)
	}
	if e := n / len(c.plan); e != c.epoch { // all epochs have equally many batches
		c.epoch, c.plan = e, data.Plan(c.lengths, c.weights, c.size, c.seed, uint64(e))
	}
	return c.plan[n%len(c.plan)]
}

// Evaluate implements Method: over responses that the published policy samples to the held-out prompts,
// eval_objective/scores is their mean reward, kl an estimate of their KL to the reference in nats per
// response, eval_completions/... their length in tokens and how many did not end; eval_ptx_loss is the
// loss on held-out pretraining examples, in nats per token.
func (p *PPO) Evaluate() map[string]float64 {
	policy := p.Published()
	values := map[string]float64{}
	sampler := evaluate.Policy{Policy: policy, Reference: p.Reference, Reward: p.Reward, Rollout: p.Rollout, MicroBatchSize: p.MicroBatchSize, Group: p.Group}
	if m := evaluate.Mean(sampler.Answer(p.Held)); m.Responses > 0 {
		values["eval_objective/scores"], values["kl"] = m.Reward, m.KL
		values["eval_completions/mean_length"], values["eval_completions/clipped_ratio"] = m.Length, m.Clipped
	}
	ptx := heldOut(p.Group, evaluate.Lengths(p.HeldPretraining), p.MicroBatchSize, func(examples []int, m *Metrics, _ bool) {
		batch := data.BatchSequences(data.Pick(p.HeldPretraining, examples), p.Rollout.Pad)
		m.Mean("ptx_loss", objective.SFT(evaluate.TokenLogps(policy, batch).TokenLogps).Item(), float64(len(batch.Targets)))
	})
	for name, v := range ptx {
		values[name] = v
	}
	return values
}

// variance is the unbiased one; 0 for fewer than two values.
func variance(v []float64) float64 {
	var mean, sum float64
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		sum += (x - mean) * (x - mean)
	}
	return sum / float64(max(1, len(v)-1))
}
