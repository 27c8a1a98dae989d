package objective

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tensor/gradcheck"
)

func nearAll(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
	for i := range want {
		near(t, what, got[i], want[i], tolerance)
	}
}

func TestTokenRewards(t *testing.T) {
	got := TokenRewards([]float64{1, -2, 7}, [][]float64{{-1, -2}, {-3}, {}}, [][]float64{{-1.5, -1}, {-3}, {}}, .1)
	nearAll(t, "two tokens", got[0], []float64{-.05, .1 + 1}, 1e-15)
	nearAll(t, "one token", got[1], []float64{-2}, 0)
	nearAll(t, "no token", got[2], nil, 0)
}

func TestGAE(t *testing.T) {
	rewards, values := [][]float64{{-.1, .2, 0, 1}}, [][]float64{{.5, .4, .3, .2}}
	advantages, returns := GAE(rewards, values, 1, .95)
	nearAll(t, "advantages", advantages[0], []float64{.49065, .727, .66, .8}, 1e-15)
	nearAll(t, "returns", returns[0], []float64{.99065, 1.127, .96, 1}, 1e-15)

	// The sum of the definition, of responses of several lengths at once.
	random := rand.New(rand.NewPCG(5, 6))
	const gamma, lambda = .9, .7
	rewards, values = nil, nil
	for _, n := range []int{5, 1, 0, 3} {
		r, v := make([]float64, n), make([]float64, n)
		for i := range n {
			r[i], v[i] = random.NormFloat64(), random.NormFloat64()
		}
		rewards, values = append(rewards, r), append(values, v)
	}
	advantages, _ = GAE(rewards, values, gamma, lambda)
	for i, r := range rewards {
		want := make([]float64, len(r))
		for t := range r {
			for k := t; k < len(r); k++ {
				delta := r[k] - values[i][k]
				if k+1 < len(r) {
					delta += gamma * values[i][k+1]
				}
				want[t] += math.Pow(gamma*lambda, float64(k-t)) * delta
			}
		}
		nearAll(t, "definition", advantages[i], want, 1e-14)
	}
	// lambda 1: the returns are the rewards to come, whatever the values.
	_, returns = GAE([][]float64{{1, 2, 4}}, [][]float64{{9, -3, 5}}, 1, 1)
	nearAll(t, "Monte Carlo", returns[0], []float64{7, 6, 4}, 1e-14)
}

func TestWhiten(t *testing.T) {
	advantages := [][]float64{{1, 2}, {}, {3}, {4, 10}}
	Whiten(advantages)
	sd := math.Sqrt(12.5 + 1e-8) // of 1, 2, 3, 4, 10 with mean 4
	nearAll(t, "first", advantages[0], []float64{-3 / sd, -2 / sd}, 1e-15)
	nearAll(t, "third", advantages[2], []float64{-1 / sd}, 1e-15)
	nearAll(t, "fourth", advantages[3], []float64{0, 6 / sd}, 1e-15)

	for _, equal := range [][][]float64{{{5}}, {{5, 5}, {5}}, {{}}, nil} {
		Whiten(equal)
		for _, of := range equal {
			nearAll(t, "equal", of, make([]float64, len(of)), 0)
		}
	}
}

func TestAdaptKL(t *testing.T) {
	near(t, "on target", AdaptKL(.02, 6, 6, 10000, 512), .02, 0)
	near(t, "a little above", AdaptKL(.02, 6.6, 6, 10000, 512), .02*(1+.1*.0512), 1e-16)
	near(t, "far above", AdaptKL(.02, 60, 6, 10000, 512), .02*(1+.2*.0512), 1e-16)
	near(t, "below 0", AdaptKL(.02, -1, 6, 10000, 512), .02*(1-.2*.0512), 1e-16)
}

func TestPPOPolicy(t *testing.T) {
	log := math.Log
	cases := []struct {
		ratio, advantage, loss, slope, clipped float64 // slope in the log-probability: ratio * -A where it counts
	}{
		{1, 2, -2, -2, 0},       // nothing learnt yet
		{1.1, 2, -2.2, -2.2, 0}, // inside the clip
		{1.5, 2, -2.4, 0, 1},    // has gained enough
		{.5, 2, -1, -1, 0},      // has lost what it should have gained: no clip holds it back
		{1.5, -2, 3, 3, 0},
		{.5, -2, 1.6, 0, 1},
		{.9, -2, 1.8, 1.8, 0},
		{1.5, 0, 0, 0, 0},
	}
	inTensors(t, func() {
		var logps, old, advantages []float64
		for i, c := range cases {
			old, advantages = append(old, -float64(i)-1), append(advantages, c.advantage)
			logps = append(logps, old[i]+log(c.ratio))
		}
		x := vector(logps...).RequiresGrad(true)
		out := PPOPolicy(x, vector(old...), vector(advantages...), .2)
		out.Loss.Sum().Backward()
		if out.Ratio.NeedsGrad() || out.ClipFraction.NeedsGrad() {
			t.Error("what is only reported carries a gradient")
		}
		loss, slope, ratio, clipped := out.Loss.Detach().Float64s(), x.Grad().Float64s(), out.Ratio.Float64s(), out.ClipFraction.Float64s()
		for i, c := range cases {
			near(t, "loss", loss[i], c.loss, 1e-14)
			near(t, "slope", slope[i], c.slope, 1e-14)
			near(t, "ratio", ratio[i], c.ratio, 1e-14)
			near(t, "clipped", clipped[i], c.clipped, 0)
		}
		if err := gradcheck.Check(func(in []*tensor.Tensor) *tensor.Tensor {
			return PPOPolicy(in[0], vector(old...), vector(advantages...), .2).Loss
		}, vector(logps...)); err != nil {
			t.Error(err)
		}
	})
	// A log-ratio of +-1000, in either type: finite, and no gradient where the clip holds.
	for _, dtype := range []tensor.DType{tensor.Float64, tensor.Float32} {
		inTensors(t, func() {
			x := vector(0, 0, -1000, -1000).To(dtype).RequiresGrad(true)
			out := PPOPolicy(x, vector(-1000, -1000, 0, 0).To(dtype), vector(1, -1, 1, -1).To(dtype), .2)
			out.Loss.Sum().Backward()
			nearAll(t, "slope", x.Grad().Float64s(), []float64{0, 0, 0, 0}, 0)
			for _, v := range out.Loss.Detach().Float64s() {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					t.Errorf("%v: loss %v", dtype, v)
				}
			}
		})
	}
}

func TestPPOValue(t *testing.T) {
	cases := []struct{ v, old, target, loss, slope, clipped float64 }{
		{.5, .5, 1, .125, -.5, 0},      // nothing learnt yet
		{.6, .5, 1, .08, -.4, 0},       // inside the clip
		{.9, .5, 1, .045, 0, 1},        // nearer to the return than the clip allows: .5 (.7 - 1)^2
		{1.6, .5, 1, .18, .6, 0},       // beyond the return: the unclipped error is the larger
		{-.5, .5, 1, 1.125, -1.5, 0},   // away from it
		{.1, .5, -1, .845, 0, 1},       // .5 (.3 + 1)^2
		{.15, .15 + 1./3, .2, 0, 0, 1}, // set below
	}
	last := &cases[len(cases)-1]
	off := .15 + 1./3 - .2 - .2
	last.loss = .5 * off * off
	inTensors(t, func() {
		var v, old, target []float64
		for _, c := range cases {
			v, old, target = append(v, c.v), append(old, c.old), append(target, c.target)
		}
		x := vector(v...).RequiresGrad(true)
		out := PPOValue(x, vector(old...), vector(target...), .2)
		out.Loss.Sum().Backward()
		if out.ClipFraction.NeedsGrad() || out.Ratio != nil {
			t.Error("the clip fraction carries a gradient, or there is a ratio")
		}
		loss, slope, clipped := out.Loss.Detach().Float64s(), x.Grad().Float64s(), out.ClipFraction.Float64s()
		for i, c := range cases {
			near(t, "loss", loss[i], c.loss, 1e-14)
			near(t, "slope", slope[i], c.slope, 1e-14)
			near(t, "clipped", clipped[i], c.clipped, 0)
		}
		if err := gradcheck.Check(func(in []*tensor.Tensor) *tensor.Tensor {
			return PPOValue(in[0], vector(old...), vector(target...), .2).Loss
		}, vector(v...)); err != nil {
			t.Error(err)
		}
	})
}

// TestPPOOfABatch: tokens do not know of each other.
func TestPPOOfABatch(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	const n = 11
	a, b, c := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range n {
		a[i], b[i], c[i] = random.NormFloat64(), random.NormFloat64(), random.NormFloat64()
	}
	order := random.Perm(n)
	permuted := func(v []float64) *tensor.Tensor {
		out := make([]float64, n)
		for i, j := range order {
			out[i] = v[j]
		}
		return vector(out...)
	}
	inTensors(t, func() {
		for _, loss := range []func(a, b, c *tensor.Tensor, clip float64) Clipped{PPOPolicy, PPOValue} {
			all := loss(vector(a...), vector(b...), vector(c...), .2).Loss.Float64s()
			other := loss(permuted(a), permuted(b), permuted(c), .2).Loss.Float64s()
			for i, j := range order {
				near(t, "permuted", other[i], all[j], 1e-14)
				near(t, "alone", loss(vector(a[j]), vector(b[j]), vector(c[j]), .2).Loss.Item(), all[j], 1e-14)
			}
		}
	})
}
