package objective

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tensor/gradcheck"
)

// kto is the loss of responses with log-probabilities l under the policy and r under the reference, and
// its gradient.
func kto(l, r []float64, desirable []bool, kl float64, p KTOParams) (loss, grad, rewards []float64) {
	tensor.Scoped(func() {
		policy := vector(l...).RequiresGrad(true)
		out := KTO(policy, vector(r...), desirable, kl, p)
		out.Loss.Sum().Backward()
		loss, grad, rewards = out.Loss.Detach().Float64s(), policy.Grad().Float64s(), out.Rewards.Float64s()
		if out.Rewards.NeedsGrad() {
			panic("the rewards carry a gradient")
		}
	})
	return
}

func TestKTO(t *testing.T) {
	standard := KTOParams{Beta: .1, DesirableWeight: 1, UndesirableWeight: 1}
	inTensors(t, func() {
		// beta (l - r - z0) = .1 (.5 - .3) = .02 and .1 (-.8 - .3) = -.11
		loss, grad, rewards := kto([]float64{-12.5, -14}, []float64{-13, -13.2}, []bool{true, false}, .3, standard)
		near(t, "mean of the two", (loss[0]+loss[1])/2, .483763931158, 1e-12)
		near(t, "d/dlw", grad[0]/2, -.012498750, 1e-9)
		near(t, "d/dll", grad[1]/2, .012462264, 1e-9)
		near(t, "desirable", loss[0], 1-sigmoid(.02), 1e-15)
		near(t, "undesirable", loss[1], 1-sigmoid(.11), 1e-15)
		near(t, "d/dlw", grad[0], -.1*sigmoid(.02)*sigmoid(-.02), 1e-15)
		near(t, "d/dll", grad[1], .1*sigmoid(.11)*sigmoid(-.11), 1e-15)
		near(t, "reward", rewards[0], .05, 1e-15)
		near(t, "reward", rewards[1], -.08, 1e-15)

		// A negative estimate counts as 0.
		negative, _, _ := kto([]float64{-12.5}, []float64{-13}, []bool{true}, -5, standard)
		zero, _, _ := kto([]float64{-12.5}, []float64{-13}, []bool{true}, 0, standard)
		near(t, "clamped", negative[0], zero[0], 0)
		near(t, "without KL", zero[0], 1-sigmoid(.05), 1e-15)

		// Policy = reference, empty responses (log-probability 0) too: half of the weight, at the steepest slope.
		weighted := KTOParams{Beta: .1, DesirableWeight: 1.5, UndesirableWeight: .25}
		loss, grad, _ = kto([]float64{-3, -3, 0}, []float64{-3, -3, 0}, []bool{true, false, false}, 0, weighted)
		for i, w := range []float64{1.5, .25, .25} {
			near(t, "at the reference", loss[i], w/2, 0)
			near(t, "slope", math.Abs(grad[i]), .1*w/4, 1e-17)
		}

		// beta (l - r) = +-1000
		loss, grad, _ = kto([]float64{0, -1e4, 0, -1e4}, []float64{-1e4, 0, -1e4, 0}, []bool{true, true, false, false}, 0, standard)
		for i, want := range []float64{0, 1, 1, 0} {
			near(t, "far", loss[i], want, 0)
			near(t, "slope far away", grad[i], 0, 0)
		}

		// beta -> 0
		loss, _, _ = kto([]float64{-3, -8}, []float64{-5, -2}, []bool{true, false}, 2, KTOParams{Beta: 1e-12, DesirableWeight: 1, UndesirableWeight: 1})
		near(t, "beta 0", loss[0], .5, 1e-11)
		near(t, "beta 0", loss[1], .5, 1e-11)
	})
}

func TestKTOOfABatch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const n = 9
	p := KTOParams{Beta: .3, DesirableWeight: 1.2, UndesirableWeight: .8}
	l, r, desirable := make([]float64, n), make([]float64, n), make([]bool, n)
	for i := range n {
		l[i], r[i], desirable[i] = -10*random.ExpFloat64(), -10*random.ExpFloat64(), random.IntN(2) == 0
	}
	inTensors(t, func() {
		loss, grad, _ := kto(l, r, desirable, .7, p)
		for i := range n {
			x := p.Beta * (l[i] - r[i] - .7)
			want, slope := p.DesirableWeight*sigmoid(-x), -p.DesirableWeight*p.Beta*sigmoid(x)*sigmoid(-x)
			if !desirable[i] {
				want, slope = p.UndesirableWeight*sigmoid(x), p.UndesirableWeight*p.Beta*sigmoid(x)*sigmoid(-x)
			}
			near(t, "loss", loss[i], want, 1e-12)
			near(t, "gradient", grad[i], slope, 1e-12)
		}
		order := random.Perm(n)
		pick := func(v []float64) (out []float64) {
			for _, i := range order {
				out = append(out, v[i])
			}
			return out
		}
		var good []bool
		for _, i := range order {
			good = append(good, desirable[i])
		}
		permuted, _, _ := kto(pick(l), pick(r), good, .7, p)
		for i, want := range pick(loss) {
			near(t, "permuted", permuted[i], want, 1e-14)
		}
		if err := gradcheck.Check(func(in []*tensor.Tensor) *tensor.Tensor {
			return KTO(in[0], vector(r...), desirable, .7, p).Loss
		}, vector(l...)); err != nil {
			t.Error(err)
		}
	})
}
