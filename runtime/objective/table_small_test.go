package objective_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Two answers to a prompt, of which the first is always preferred: the loss's minimum is in closed form.
func TestTwoAnswersReachTheirClosedForm(t *testing.T) {
	for _, c := range []struct {
		name  string
		loss  func(policy, reference objective.Logps) objective.Preference
		ratio float64 // log (pi_w / ref_w) - log (pi_l / ref_l)
		rate  float64
	}{
		{"IPO, tau 0.1", ipo(0.1, 0), 5, 0.1},
		{"IPO, tau 0.5", ipo(0.5, 0), 1, 0.1},
		{"IPO of means over 3 tokens, tau 0.5", ipo(0.5, 3), 3, 1},
		{"cDPO, beta 1, e 0.1", cdpo(1, 0.1), math.Log(9), 4},
		{"cDPO, beta 0.1, e 0.25", cdpo(0.1, 0.25), 10 * math.Log(3), 400},
		{"cDPO, beta 2, e 0.4", cdpo(2, 0.4), math.Log(1.5) / 2, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			const prompts = 16
			frozen := normals(rand.New(rand.NewPCG(3, 3)), 2*prompts, 1)
			frozen[0], frozen[1] = 0, 0 // one uniform reference
			logits := append([]float64(nil), frozen...)
			side := func(x *tensor.Tensor) objective.Logps {
				logps := x.LogSoftmax(1) // [prompts, 2]
				return objective.Logps{Chosen: logps.Select(1, 0), Rejected: logps.Select(1, 1)}
			}
			for range 400 {
				descend(logits, gradient(t, logits, 2, func(x *tensor.Tensor) *tensor.Tensor {
					return c.loss(side(x), side(tensor.FromFloat64(frozen, prompts, 2))).Loss
				}), c.rate)
			}
			for i := 0; i < len(logits); i += 2 {
				near(t, "log ratio", logits[i]-logits[i+1]-(frozen[i]-frozen[i+1]), c.ratio, 1e-9)
			}
			near(t, "probability from a uniform reference", softmaxes(logits, 2)[0], sigmoid(c.ratio), 1e-9)
		})
	}
}

// ipo of means over tokens, or of sums if that is 0.
func ipo(tau float64, tokens float64) func(policy, reference objective.Logps) objective.Preference {
	return func(policy, reference objective.Logps) objective.Preference {
		n := tensor.FullLike(policy.Chosen, tokens)
		return objective.IPO(policy, reference, objective.Lengths{Chosen: n, Rejected: n}, objective.IPOParams{Tau: tau, Mean: tokens > 0})
	}
}

func cdpo(beta, e float64) func(policy, reference objective.Logps) objective.Preference {
	return func(policy, reference objective.Logps) objective.Preference {
		return objective.CDPO(policy, reference, objective.DPOParams{Beta: beta, LabelSmoothing: e})
	}
}

// permutations of the numbers below n.
func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, shorter := range permutations(n - 1) {
		for i := 0; i <= len(shorter); i++ {
			p := append([]int(nil), shorter[:i]...)
			all = append(all, append(append(p, n-1), shorter[i:]...))
		}
	}
	return all
}

// Rankings of four responses as Plackett and Luce have them, whose pairs are Bradley and Terry's, in
// expectation: every ranking counts, weighed by its probability. The second case tells only which response
// is the best, the rest tied: the pairs that are left still have Bradley and Terry's odds.
func TestRewardModelRecoversRewards(t *testing.T) {
	const prompts, responses, k = 16, 8, 4
	for name, ranks := range map[string]func(position int) float64{
		"whole rankings":   func(position int) float64 { return float64(position + 1) },
		"the rest is tied": func(position int) float64 { return min(2, float64(position+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(4, 4))
			truth := normals(random, prompts*responses, 1.5)
			scores := make([]float64, len(truth))
			orders := permutations(k)
			for range 1500 {
				var shown []int64      // [elements * k]
				var ranked [][]float64 // of an element's responses
				var weight []float64   // [elements]
				for prompt := range prompts {
					some := random.Perm(responses)[:k]
					for _, order := range orders {
						probability, left := 1.0, 0.0
						of := make([]float64, k)
						for position := k - 1; position >= 0; position-- { // from the worst
							e := math.Exp(truth[prompt*responses+some[order[position]]])
							left += e
							probability *= e / left
							of[order[position]] = ranks(position)
						}
						for _, r := range some {
							shown = append(shown, int64(prompt*responses+r))
						}
						ranked, weight = append(ranked, of), append(weight, probability)
					}
				}
				descend(scores, gradient(t, scores, responses, func(x *tensor.Tensor) *tensor.Tensor {
					return objective.RewardModel(at(x, shown), ranked).Loss.Mul(vector(weight))
				}), 6) // an element's curvature is at most 1/6 for six pairs
			}
			var worst float64
			for p := 0; p < len(scores); p += responses {
				for i := p; i < p+responses; i++ {
					worst = max(worst, math.Abs(scores[i]-scores[p]-(truth[i]-truth[p])))
				}
			}
			t.Logf("differences of rewards: at most %.2g off", worst)
			if !(worst < 1e-9) {
				t.Errorf("a difference of rewards is off by %.3g", worst)
			}
		})
	}
}
