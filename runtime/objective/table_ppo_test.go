package objective_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// An autoregressive table has a softmax for each beginning of a response: none of its tokens, one, or two.
const tableStates = 1 + tableVocab + tableVocab*tableVocab

// state is the row of a prompt's response of which the first t tokens are known.
func state(prompt, response, t int) int {
	switch t {
	case 0:
		return prompt * tableStates
	case 1:
		return prompt*tableStates + 1 + response/(tableVocab*tableVocab)
	default:
		return prompt*tableStates + 1 + tableVocab + response/tableVocab
	}
}

// token is token t of a response, the number that its tokens are the digits of.
func token(response, t int) int {
	return response / [...]int{tableVocab * tableVocab, tableVocab, 1}[t] % tableVocab
}

// ofResponses are the probabilities of whole responses, [prompts * responses], from those of tokens.
func ofResponses(tokens []float64) []float64 {
	out := make([]float64, tablePrompts*tableResponses)
	for i := range out {
		out[i] = 1
		for t := range tableTokens {
			r := i % tableResponses
			out[i] *= tokens[state(i/tableResponses, r, t)*tableVocab+token(r, t)]
		}
	}
	return out
}

// draw is an index of p, which sums to 1.
func draw(random *rand.Rand, p []float64) int {
	u := random.Float64()
	for i, x := range p[:len(p)-1] {
		if u -= x; u < 0 {
			return i
		}
	}
	return len(p) - 1
}

// adam is Adam's step on x, which it changes in place.
type adam struct {
	x, first, second []float64
	steps            int
}

func newAdam(x []float64) *adam {
	return &adam{x: x, first: make([]float64, len(x)), second: make([]float64, len(x))}
}

func (a *adam) step(grad []float64, rate float64) {
	const decay1, decay2 = 0.9, 0.99
	a.steps++
	unbias1, unbias2 := 1-math.Pow(decay1, float64(a.steps)), 1-math.Pow(decay2, float64(a.steps))
	for i, g := range grad {
		a.first[i] += (1 - decay1) * (g - a.first[i])
		a.second[i] += (1 - decay2) * (g*g - a.second[i])
		a.x[i] -= rate * a.first[i] / unbias1 / (math.Sqrt(a.second[i]/unbias2) + 1e-12)
	}
}

// Sampled responses, per-token rewards, GAE with a learned value function, minibatches and two inner epochs,
// so that ratios leave 1. At the optimum a response's reward is the same for all, whatever was sampled:
// there an advantage is 0, and so is the noise, unless whitening blows it up.
func TestPPOOfTableReachesTheOptimumOfDPO(t *testing.T) {
	for name, c := range map[string]struct {
		whiten bool
		most   float64 // mean total variation from the optimum
	}{"advantages": {false, 0.01}, "whitened advantages": {true, 0.01}} {
		t.Run(name, func(t *testing.T) {
			const beta, steps, each, clip, valueClip = 0.5, 500, 128, 0.1, 0.2
			random := rand.New(rand.NewPCG(2, 2))
			logits := normals(random, tablePrompts*tableStates*tableVocab, 1)
			reference := softmaxes(logits, tableVocab)
			rewards := normals(random, tablePrompts*tableResponses, 0.5)
			policy, value := newAdam(logits), newAdam(make([]float64, tablePrompts*tableStates))
			want := aligned(ofResponses(reference), rewards, beta)
			before, _ := totalVariation(ofResponses(reference), want)

			var clipped, tokens float64
			for step := range steps {
				now := softmaxes(policy.x, tableVocab)
				var scores []float64
				var logps, refLogps, values [][]float64
				var states, choices [][]int64
				for prompt := range tablePrompts {
					for range each {
						var response int
						var l, r, v []float64
						var s, chosen []int64
						for k, place := range [...]int{tableVocab * tableVocab, tableVocab, 1} {
							row := state(prompt, response, k)
							next := draw(random, now[row*tableVocab:(row+1)*tableVocab])
							response += next * place
							i := row*tableVocab + next
							l, r, v = append(l, math.Log(now[i])), append(r, math.Log(reference[i])), append(v, value.x[row])
							s, chosen = append(s, int64(row)), append(chosen, int64(i))
						}
						scores = append(scores, rewards[prompt*tableResponses+response])
						logps, refLogps, values = append(logps, l), append(refLogps, r), append(values, v)
						states, choices = append(states, s), append(choices, chosen)
					}
				}
				advantages, returns := objective.GAE(objective.TokenRewards(scores, logps, refLogps, beta), values, 1, 0.95)
				if c.whiten {
					objective.Whiten(advantages)
				}
				rate := 0.05 * (1 - float64(step)/steps)
				for range 2 {
					for minibatch := range slices.Chunk(random.Perm(len(scores)), len(scores)/2) {
						of := func(x [][]float64) *tensor.Tensor { // [tokens]
							var all []float64
							for _, i := range minibatch {
								all = append(all, x[i]...)
							}
							return vector(all)
						}
						rows := func(x [][]int64) (all []int64) {
							for _, i := range minibatch {
								all = append(all, x[i]...)
							}
							return all
						}
						policyGrad := gradient(t, policy.x, tableVocab, func(x *tensor.Tensor) *tensor.Tensor {
							out := objective.PPOPolicy(at(x.LogSoftmax(1), rows(choices)), of(logps), of(advantages), clip)
							clipped += out.ClipFraction.Sum().Item()
							tokens += float64(out.ClipFraction.NumElements())
							return out.Loss
						})
						valueGrad := gradient(t, value.x, 1, func(x *tensor.Tensor) *tensor.Tensor {
							return objective.PPOValue(at(x, rows(states)), of(values), of(returns), valueClip).Loss
						})
						policy.step(policyGrad, rate)
						value.step(valueGrad, rate)
					}
				}
			}
			after, most := totalVariation(ofResponses(softmaxes(policy.x, tableVocab)), want)
			t.Logf("total variation from reference * exp(r / beta) / Z: %.3g before, %.3g after (at most %.3g); %.2g of the tokens clipped",
				before, after, most, clipped/tokens)
			if !(after < c.most) {
				t.Errorf("total variation of %.3g, want below %g", after, c.most)
			}
			if clipped == 0 {
				t.Error("no ratio was ever clipped: the test does not reach that far")
			}
		})
	}
}
