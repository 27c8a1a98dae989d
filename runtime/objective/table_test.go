package objective_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Policies here are tables: a softmax over all responses, 3 tokens of a vocabulary of 8, to each of 16
// prompts. Where an objective leads is then known exactly.
const (
	tablePrompts   = 16
	tableVocab     = 8
	tableTokens    = 3
	tableResponses = tableVocab * tableVocab * tableVocab
)

func normals(random *rand.Rand, n int, deviation float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = deviation * random.NormFloat64()
	}
	return out
}

// softmaxes turns logits, rows of the given width, into probabilities.
func softmaxes(logits []float64, width int) []float64 {
	out := make([]float64, len(logits))
	for row := 0; row < len(logits); row += width {
		var sum float64
		for i := row; i < row+width; i++ {
			out[i] = math.Exp(logits[i])
			sum += out[i]
		}
		for i := row; i < row+width; i++ {
			out[i] /= sum
		}
	}
	return out
}

// aligned is reference * exp(rewards / beta) / Z, of the responses of each prompt: what maximises the
// expected reward less beta times the KL to the reference.
func aligned(reference, rewards []float64, beta float64) []float64 {
	logits := make([]float64, len(reference))
	for i := range logits {
		logits[i] = math.Log(reference[i]) + rewards[i]/beta
	}
	return softmaxes(logits, tableResponses)
}

// totalVariation is the mean and the largest over prompts of half the L1 distance.
func totalVariation(a, b []float64) (mean, most float64) {
	for row := 0; row < len(a); row += tableResponses {
		var d float64
		for i := row; i < row+tableResponses; i++ {
			d += math.Abs(a[i]-b[i]) / 2
		}
		mean += d * tableResponses / float64(len(a))
		most = max(most, d)
	}
	return mean, most
}

// gradient is that of the sum of f at x, which f gets in rows of the given width.
func gradient(t *testing.T, x []float64, width int, f func(x *tensor.Tensor) *tensor.Tensor) (grad []float64) {
	t.Helper()
	err := tensor.Run(func() error {
		leaf := tensor.FromFloat64(x, int64(len(x)/width), int64(width)).RequiresGrad(true)
		f(leaf).Sum().Backward()
		grad = leaf.Grad().Float64s()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return grad
}

func descend(x, grad []float64, rate float64) {
	for i := range x {
		x[i] -= rate * grad[i]
	}
}

func vector(x []float64) *tensor.Tensor { return tensor.FromFloat64(x, int64(len(x))) }

// at is x, flattened, at the indices, [indices].
func at(x *tensor.Tensor, indices []int64) *tensor.Tensor {
	return x.Reshape(-1).IndexSelect(0, tensor.FromInt64(indices, int64(len(indices))))
}

// matching pairs up the responses of each prompt at random.
func matching(random *rand.Rand) (first, second []int64) {
	for prompt := range tablePrompts {
		order := random.Perm(tableResponses)
		for i := 0; i < tableResponses; i += 2 {
			first = append(first, int64(prompt*tableResponses+order[i]))
			second = append(second, int64(prompt*tableResponses+order[i+1]))
		}
	}
	return first, second
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// Bradley-Terry labels in expectation: each pair counts in both orders, weighed by their probabilities.
// With flipped labels, Robust must find what DPO finds without.
func TestDPOOfTableReachesItsOptimum(t *testing.T) {
	const beta, flipped = 0.5, 0.2
	for name, c := range map[string]struct {
		loss  func(policy, reference objective.Logps) *tensor.Tensor
		label func(p float64) float64
	}{
		"DPO": {func(policy, reference objective.Logps) *tensor.Tensor {
			return objective.DPO(policy, reference, objective.DPOParams{Beta: beta}).Loss
		}, func(p float64) float64 { return p }},
		"Robust, with flipped labels": {func(policy, reference objective.Logps) *tensor.Tensor {
			return objective.Robust(policy, reference, objective.RobustParams{Beta: beta, LabelSmoothing: flipped}).Loss
		}, func(p float64) float64 { return (1-flipped)*p + flipped*(1-p) }},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 1))
			reference := softmaxes(normals(random, tablePrompts*tableResponses, 1), tableResponses)
			rewards := normals(random, len(reference), 1)
			logits, frozen := make([]float64, len(reference)), make([]float64, len(reference))
			for i, p := range reference {
				frozen[i] = math.Log(p)
			}
			copy(logits, frozen)
			for range 1000 {
				first, second := matching(random)
				label := make([]float64, len(first))
				for i := range first {
					label[i] = c.label(sigmoid(rewards[first[i]] - rewards[second[i]]))
				}
				descend(logits, gradient(t, logits, tableResponses, func(x *tensor.Tensor) *tensor.Tensor {
					policy, ref := x.LogSoftmax(1), vector(frozen) // [prompts, responses]
					p := vector(label)                             // [pairs]
					ab := c.loss(objective.Logps{Chosen: at(policy, first), Rejected: at(policy, second)},
						objective.Logps{Chosen: at(ref, first), Rejected: at(ref, second)})
					ba := c.loss(objective.Logps{Chosen: at(policy, second), Rejected: at(policy, first)},
						objective.Logps{Chosen: at(ref, second), Rejected: at(ref, first)})
					return ab.Mul(p).Add(ba.Mul(p.Neg().AddScalar(1)))
				}), 2/(beta*beta)) // a pair's curvature is at most beta^2 / 2
			}
			_, most := totalVariation(softmaxes(logits, tableResponses), aligned(reference, rewards, beta))
			t.Logf("total variation: at most %.2g", most)
			if !(most < 1e-9) {
				t.Errorf("total variation of %.3g from reference * exp(r / beta) / Z", most)
			}
		})
	}
}
