package evaluate

import (
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/rollout"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Policy is a policy to be measured by what it answers.
type Policy struct {
	Policy            *model.Model
	Reference, Reward *model.Model // nil: no KL, no reward
	Rollout           rollout.Options
	MicroBatchSize    int
	// Group's ranks divide the work among them; nil: this process does it all.
	Group *distributed.Group
}

// Response is a sampled response, measured.
type Response struct {
	Tokens []int32 // without the prompt; empty for an empty prompt, which is not measured
	Ended  bool    // with an EOS token, before MaxNewTokens
	Reward float64 // the reward model's score; 0 without Reward
	KL     float64 // its part of an estimate of KL(policy || reference), in nats; 0 without Reference
}

// Answer samples a response to each prompt and measures it.
func (p Policy) Answer(prompts [][]int32) []Response {
	out := make([]Response, len(prompts))
	var from []int // of each sequence, the prompt
	answers := Sample(p.Group, p.Policy, prompts, p.Rollout)
	for i, r := range answers {
		if n := len(r.Tokens); n > 0 {
			out[i].Tokens, out[i].Ended = r.Tokens, slices.Contains(p.Rollout.EOS, r.Tokens[n-1])
			from = append(from, i)
		}
	}
	sequences := Join(prompts, answers)
	reward, kl := make([]float64, len(prompts)), make([]float64, len(prompts))
	chunks := Chunks(Lengths(sequences), p.MicroBatchSize)
	for piece, idle := range p.Group.Turns(len(chunks)) {
		micro := chunks[piece]
		set := func(to []float64, values *tensor.Tensor) {
			for j, v := range values.Float64s() {
				if !idle {
					to[from[micro[j]]] = v
				}
			}
		}
		tensor.Scoped(func() {
			tensor.NoGrad(func() {
				batch := data.BatchSequences(data.Pick(sequences, micro), p.Rollout.Pad)
				if p.Reward != nil {
					set(reward, Scores(p.Reward, batch))
				}
				if p.Reference != nil {
					terms := klTerms(TokenLogps(p.Policy, batch).TokenLogps, TokenLogps(p.Reference, batch).TokenLogps)
					set(kl, ByResponse(terms, batch))
				}
			})
		})
	}
	reward, kl = p.Group.SumOf(reward), p.Group.SumOf(kl)
	for i := range out {
		out[i].Reward, out[i].KL = reward[i], kl[i]
	}
	return out
}

// Measures are means over sampled responses.
type Measures struct {
	Responses int     `json:"responses"`
	Reward    float64 `json:"reward"`       // the reward model's score
	KL        float64 `json:"kl"`           // KL(policy || reference), in nats per response
	Length    float64 `json:"meanLength"`   // in tokens, EOS counted
	Clipped   float64 `json:"clippedRatio"` // the share that reached MaxNewTokens before an EOS token
}

// Mean is of the responses that are not empty.
func Mean(responses []Response) (m Measures) {
	for _, r := range responses {
		if len(r.Tokens) == 0 {
			continue
		}
		m.Responses++
		m.Reward += r.Reward
		m.KL += r.KL
		m.Length += float64(len(r.Tokens))
		if !r.Ended {
			m.Clipped++
		}
	}
	n := float64(max(1, m.Responses))
	m.Reward, m.KL, m.Length, m.Clipped = m.Reward/n, m.KL/n, m.Length/n, m.Clipped/n
	return m
}

// Join makes sequences of prompts and their sampled responses, leaving out empty ones.
func Join(prompts [][]int32, responses []rollout.Response) (out []data.Sequence) {
	for i, r := range responses {
		if len(r.Tokens) == 0 {
			continue
		}
		s := data.Sequence{Tokens: slices.Concat(prompts[i], r.Tokens)}
		s.ResponseMask = make([]bool, len(s.Tokens))
		for j := len(prompts[i]); j < len(s.Tokens); j++ {
			s.ResponseMask[j] = true
		}
		out = append(out, s)
	}
	return out
}

// klTerms are terms, one a token, whose mean over the policy's samples is the KL to the reference:
// unbiased and, unlike the log-ratio itself, never negative (Schulman, "Approximating KL Divergence", k3).
func klTerms(policy, reference *tensor.Tensor) *tensor.Tensor {
	ratio := policy.Sub(reference) // [n]
	return ratio.Neg().Expm1().Add(ratio)
}
