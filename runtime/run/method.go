package run

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/rollout"
	"github.com/alignment-dev/alignment-operator/runtime/train"
)

// samplePrompts is how many responses an evaluation of a preference method samples.
const samplePrompts = 64

// plan is a method whose examples are read and whose models are not.
type plan struct {
	// weights say how often each training example comes; nil is once.
	weights []float64
	// questions are held-out ones that the report answers.
	questions []data.Question
	// method takes over the policy.
	method func(policy *model.Model) (train.Method, error)
	// prepare is called before the first step; it may be nil.
	prepare func(ctx context.Context, m train.Method) error
	// finish is called after the last step and adds to the metrics; it may be nil.
	finish func(m train.Method, metrics map[string]float64)
}

// plan reads the run's examples.
func (r *run) plan(e *data.Encoder) (p plan, err error) {
	var held []int // the records of the held-out examples
	switch c := r.config; {
	case c.Method == runconfig.SFT:
		p, held, err = r.planSFT(e)
	case c.Method == runconfig.RewardModel:
		p, held, err = r.planRewardModel(e)
	case c.Method == runconfig.PPO:
		p, held, err = r.planPPO(e)
	case c.Objective.Type == "KTO":
		p, held, err = r.planKTO(e)
	case c.Objective.Type == "RRHF":
		p, held, err = r.planRRHF(e)
	case c.Method == runconfig.DPO || c.Method == runconfig.SimPO:
		p, held, err = r.planPreference(e)
	default:
		err = invalidField("method", fmt.Errorf("got %q", c.Method))
	}
	if err != nil || r.config.Method == runconfig.RewardModel { // which answers nothing
		return p, err
	}
	p.questions, err = r.questions(e, held)
	return p, err
}

func (r *run) planSFT(e *data.Encoder) (plan, []int, error) {
	s, err := load(r, one(e.Sequence))
	return plan{weights: s.weights, method: func(policy *model.Model) (train.Method, error) {
		return r.descend(policy, &train.SFT{Policy: policy, Examples: s.train, Held: s.held, Pad: r.pad(e), Packing: r.config.Data.Packing, MicroBatchSize: r.config.Training.MicroBatchSize, Group: r.group})
	}}, s.heldRecords, err
}

func (r *run) planPreference(e *data.Encoder) (plan, []int, error) {
	c := r.config
	s, err := load(r, one(e.Pair))
	p := plan{weights: s.weights}
	if c.Objective.PrecomputeReference {
		p.prepare = r.precompute
	}
	p.method = func(policy *model.Model) (train.Method, error) {
		loss, err := train.PairLossOf(*c.Objective)
		if err != nil {
			return nil, invalidField("objective.type", err)
		}
		m := &train.Preference{
			Policy: policy, Objective: loss, Examples: s.train, Held: s.held,
			Pad: r.pad(e), MicroBatchSize: c.Training.MicroBatchSize, Rollout: r.sampling(e), SamplePrompts: samplePrompts, Group: r.group,
		}
		m.Rollout.Temperature = 1
		if c.Method == runconfig.DPO {
			if m.Reference, err = r.loadReference(e, policy); err != nil {
				return nil, err
			}
		}
		return r.descend(policy, m)
	}
	return p, s.heldRecords, err
}

func (r *run) planKTO(e *data.Encoder) (plan, []int, error) {
	c := r.config
	s, err := load(r, e.Unpaired)
	return plan{weights: s.weights, method: func(policy *model.Model) (train.Method, error) {
		reference, err := r.loadReference(e, policy)
		if err != nil {
			return nil, err
		}
		return r.descend(policy, &train.KTO{
			Policy: policy, Reference: reference, Examples: s.train, Held: s.held,
			Params: objective.KTOParams{Beta: c.Objective.Beta, DesirableWeight: *c.Objective.DesirableWeight, UndesirableWeight: *c.Objective.UndesirableWeight},
			Pad:    r.pad(e), MicroBatchSize: c.Training.MicroBatchSize, Group: r.group,
		})
	}}, s.heldRecords, err
}

func (r *run) planRRHF(e *data.Encoder) (plan, []int, error) {
	c := r.config
	s, err := load(r, one(e.Ranked))
	return plan{weights: s.weights, method: func(policy *model.Model) (train.Method, error) {
		return r.descend(policy, &train.RRHF{
			Policy: policy, Examples: s.train, Held: s.held,
			Params: objective.RRHFParams{Lambda: *c.Objective.Lambda, LengthExponent: *c.Objective.LengthExponent},
			Pad:    r.pad(e), MicroBatchSize: c.Training.MicroBatchSize, Group: r.group,
		})
	}}, s.heldRecords, err
}

func (r *run) planRewardModel(e *data.Encoder) (plan, []int, error) {
	c := r.config
	s, err := load(r, one(e.Ranked))
	if err != nil {
		return plan{}, nil, err
	}
	demonstrations := train.Best(s.train)
	if len(c.Data.Demonstrations) > 0 {
		if demonstrations, _, _, err = encodeAll(r, c.Data.Demonstrations, one(demonstration(e))); err != nil {
			return plan{}, nil, dataError("data.demonstrations", err)
		}
	}
	if c.Objective.Type == "ShuffledPairs" {
		s.train, s.weights = train.SplitPairs(s.train, s.weights)
	}
	return plan{
		weights: s.weights,
		method: func(policy *model.Model) (train.Method, error) {
			return r.descend(policy, &train.RewardModel{Policy: policy, Examples: s.train, Held: s.held, Pad: r.pad(e), MicroBatchSize: c.Training.MicroBatchSize, Group: r.group})
		},
		finish: func(m train.Method, metrics map[string]float64) {
			reward := m.(*train.Descent).Loss.(*train.RewardModel)
			metrics["reward_shift"] = reward.Normalise(demonstrations)
		},
	}, s.heldRecords, nil
}

// demonstration encodes a record as a prompt with the one response that it shows.
func demonstration(e *data.Encoder) func(data.Record) (data.Group, bool, error) {
	return func(rec data.Record) (data.Group, bool, error) {
		s, kept, err := e.Sequence(rec)
		if err != nil || !kept {
			return data.Group{}, false, err
		}
		begin := slices.Index(s.ResponseMask, true)
		return data.Group{Prompt: s.Tokens[:begin], Responses: [][]int32{s.Tokens[begin:]}}, true, nil
	}
}

// pretrainingHeldOut is the share of the pretraining examples, at most maxPretrainingHeldOut of them, that
// PPO is evaluated on.
const (
	pretrainingHeldOut    = 0.05
	maxPretrainingHeldOut = 512
)

func (r *run) planPPO(e *data.Encoder) (plan, []int, error) {
	c := r.config
	asking := *e
	asking.MaxLength -= c.PPO.MaxNewTokens // room for the response
	s, err := load(r, func(rec data.Record) ([][]int32, bool, error) {
		q, ok, err := asking.Question(rec)
		return [][]int32{q.Prompt}, ok, err
	})
	if err != nil {
		return plan{}, nil, err
	}
	e.Template = asking.Template
	var mix, heldMix []data.Sequence
	var mixWeights []float64
	if len(c.Data.Pretraining) > 0 {
		all, _, weights, err := encodeAll(r, c.Data.Pretraining, one(e.Sequence))
		if err != nil {
			return plan{}, nil, dataError("data.pretraining", err)
		}
		in, out := data.Split(len(all), min(pretrainingHeldOut, maxPretrainingHeldOut/float64(len(all))), c.Seed)
		mix, heldMix = data.Pick(all, in), data.Pick(all, out)
		if weights != nil {
			mixWeights = data.Pick(weights, in)
		}
	}
	return plan{weights: s.weights, method: func(policy *model.Model) (train.Method, error) {
		reference, err := r.loadReference(e, policy)
		if err != nil {
			return nil, err
		}
		reward, err := r.loadReward("ppo.rewardModel", c.PPO.RewardModel, e, policy)
		if err != nil {
			return nil, err
		}
		// Before the clones: what is frozen is shared by policy, average and reference, and by reward model and value function.
		if err := r.freeze("ppo.rewardModel", reward); err != nil {
			return nil, err
		}
		value := reward
		switch {
		case c.PPO.Value != nil:
			if value, err = r.loadReward("ppo.value", *c.PPO.Value, e, policy); err != nil {
				return nil, err
			}
			if err := r.freeze("ppo.value", value); err != nil {
				return nil, err
			}
		case c.Training.LoRA == nil: // else the value function's adapters are on the reward model's weights
			value = reward.Clone()
		}
		if value, err = r.adapt(value); err != nil {
			return nil, err
		}
		m := &train.PPO{
			Policy: r.learner("policy", policy), Value: r.learner("value", value),
			Reference: reference, Reward: reward.Freeze(), Settings: *c.PPO, ValueRate: c.PPO.ValueLearningRate / c.Training.LearningRate,
			Seed: c.Seed, Prompts: s.train, Held: s.held, Pretraining: mix, PretrainingWeights: mixWeights, HeldPretraining: heldMix,
			Rollout: r.sampling(e), MicroBatchSize: c.Training.MicroBatchSize, Group: r.group,
		}
		m.Rollout.MaxNewTokens, m.Rollout.Temperature = c.PPO.MaxNewTokens, 1
		if c.PPO.EMADecay > 0 {
			m.Average = train.NewAverage(m.Policy)
		}
		m.Start()
		return m, nil
	}}, s.heldRecords, nil
}

// freeze stops the gradients of as many layers as the run says.
func (r *run) freeze(field string, m *model.Model) error {
	n := r.config.Training.FreezeLayers
	if layers := m.Config().NumHiddenLayers; n > layers {
		return invalidField("training.freezeLayers", fmt.Errorf("got %d, %s has %d layers", n, field, layers))
	}
	if n > 0 {
		m.FreezeLayers(n)
	}
	return nil
}

// descend makes the Method of a Loss.
func (r *run) descend(policy *model.Model, loss train.Loss) (train.Method, error) {
	c := r.config
	return &train.Descent{Loss: loss, Policy: r.learner("policy", policy), MicroBatchSize: c.Training.MicroBatchSize, Group: r.group, Seed: c.Seed}, nil
}

// learner gives a model an optimiser, which the run's ranks share.
func (r *run) learner(name string, m *model.Model) *train.Learner {
	l := train.NewLearner(name, m, r.config.Training)
	l.Group = r.group
	return l
}

// loadReference is the frozen reference: the one that is named, or the policy before its first step, which with
// adapters is the policy without them.
func (r *run) loadReference(e *data.Encoder, policy *model.Model) (*model.Model, error) {
	if r.config.Reference == nil {
		if base := policy.Base(); base != nil {
			return base, nil
		}
		return policy.Clone().Freeze(), nil
	}
	m, err := r.openModel("reference.uri", *r.config.Reference, e.Tokenizer, policy.DType(), policy.Device())
	if err != nil {
		return nil, err
	}
	return m.Freeze(), nil
}

// loadReward loads a checkpoint with a score head, whose tokenizer must be the policy's.
func (r *run) loadReward(field string, s runconfig.Source, e *data.Encoder, policy *model.Model) (*model.Model, error) {
	tok, err := r.openTokenizer(field+".uri", s)
	if err != nil {
		return nil, err
	}
	if !tok.SameVocabulary(e.Tokenizer) {
		return nil, invalidData(field+".uri", errors.New("its tokenizer is another than the policy's (model.uri): the same ids would be other words"))
	}
	m, err := r.openReward(field+".uri", s, tok, r.weightType(), policy.Device())
	if err != nil {
		return nil, err
	}
	r.mixPrecision(m)
	return m, nil
}

// pad is what fills rows: without a padding token it is token 0, which no mask lets through.
func (r *run) pad(e *data.Encoder) int32 {
	id, _ := e.Tokenizer.Pad()
	return id
}

// sampling is greedy.
func (r *run) sampling(e *data.Encoder) rollout.Options {
	return rollout.Options{MaxNewTokens: r.config.Evaluation.MaxNewTokens, EOS: e.Stops(), Pad: r.pad(e), Seed: r.config.Seed}
}

// one adapts an encoder of one example a record.
func one[T any](encode func(data.Record) (T, bool, error)) func(data.Record) ([]T, bool, error) {
	return func(rec data.Record) ([]T, bool, error) {
		x, kept, err := encode(rec)
		return []T{x}, kept, err
	}
}
