package model

import (
	"math"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// scoreName is transformers' for the weight of a score head, which has no bias, in every family.
const scoreName = "score.weight"

func (c *Config) scoreSpec() spec {
	return spec{scoreName, []int64{1, int64(c.HiddenSize)}, 1 / float64(c.HiddenSize+1)}
}

// WithScore returns a model of m's weights with a new score head, drawn as New draws it, in place of m's
// head; its RewardShift is 0. The weights are not copied and an untied head is freed: m must not be used
// afterwards.
func (m *Model) WithScore(seed uint64) *Model {
	out := *m
	out.config.Architectures, out.config.RewardShift = []string{m.config.family().name + scoreSuffix}, 0
	out.params = nil
	for _, p := range m.params {
		if p.Tensor == m.score || p.Tensor == m.head && m.head != m.embedding {
			m.discard(p)
			continue
		}
		out.params = append(out.params, p)
	}
	s := out.config.scoreSpec()
	tensor.Scoped(func() {
		head := out.parameter(s, tensor.FromFloat32(initial(s, seed), s.shape...))
		out.keep(head)
		out.params = append(out.params, head)
		out.head, out.score = nil, head.Tensor
	})
	return &out
}

// HasScore says that the model gives scores, and no distribution over the vocabulary.
func (m *Model) HasScore() bool { return m.score != nil }

// SetRewardShift replaces Config().RewardShift, which Scores adds. It panics for a model without a score
// head and for a v that is not finite, which config.json could not hold.
func (m *Model) SetRewardShift(v float64) {
	m.needScore("model.SetRewardShift")
	if math.IsNaN(v) || math.IsInf(v, 0) {
		panic(&tensor.Error{Op: "model.SetRewardShift", Message: "the shift is not a finite number"})
	}
	m.config.RewardShift = v
}

// Scores are those of the tokens in rows `at` of hidden, each seeing what that token sees: [n], float32 or
// wider, RewardShift added. It panics for a model without a score head.
func (m *Model) Scores(hidden *tensor.Tensor, at []int64) *tensor.Tensor {
	m.needScore("model.Scores")
	n := int64(len(at))
	var out *tensor.Tensor
	tensor.Scoped(func() {
		rows := hidden.IndexSelect(0, tensor.FromInt64(at, n).ToDevice(m.device)) // [n, hidden]
		weight := m.score                                                         // [1, hidden]
		if m.narrow() {
			rows, weight = rows.To(tensor.Float32), weight.To(tensor.Float32)
		}
		out = tensor.Linear(rows, weight).Reshape(n).AddScalar(m.config.RewardShift).Keep() // [n]
	})
	return out
}

func (m *Model) needScore(op string) {
	if m.score == nil {
		panic(&tensor.Error{Op: op, Message: "the model has a head for the vocabulary, and none for scores"})
	}
}
