package objective

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// inTensors runs f where tensors may be used.
func inTensors(t *testing.T, f func()) {
	t.Helper()
	if err := tensor.Run(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// near holds when got is within tolerance of want, absolutely, or relatively where want is above 1.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if d := math.Abs(got - want); !(d <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s: got %.15g, want %.15g (off by %.2g)", what, got, want, d)
	}
}

func vector(v ...float64) *tensor.Tensor { return tensor.FromFloat64(v, int64(len(v))) }

// Near is near for the tests outside of this package.
var Near = near

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// minusLogSigmoid is -log sigmoid(x), exact for a large |x|.
func minusLogSigmoid(x float64) float64 {
	return max(0, -x) + math.Log1p(math.Exp(-math.Abs(x)))
}

// pair is what the objectives of pairs are computed of: the log-probabilities of chosen and rejected
// response under policy and reference, and their lengths.
type pair struct{ lw, ll, rw, rl, Lw, Ll float64 }

// worked is the pair of the worked values.
var worked = pair{lw: -12.5, ll: -14, rw: -13, rl: -13.2, Lw: 10, Ll: 8}

type pairLoss func(policy, reference Logps, n Lengths) Preference

// computed is a loss of pairs and its gradients with respect to lw and ll, element by element.
type computed struct{ loss, dlw, dll, chosen, rejected, nll, oddsRatio []float64 }

// of computes a loss of pairs in the type, float32 or float64.
func of(loss pairLoss, dtype tensor.DType, pairs ...pair) (c computed) {
	tensor.Scoped(func() {
		column := func(get func(pair) float64) *tensor.Tensor {
			values := make([]float64, len(pairs))
			for i, p := range pairs {
				values[i] = get(p)
			}
			return vector(values...).To(dtype)
		}
		policy := Logps{
			Chosen:   column(func(p pair) float64 { return p.lw }).RequiresGrad(true),
			Rejected: column(func(p pair) float64 { return p.ll }).RequiresGrad(true),
		}
		reference := Logps{
			Chosen:   column(func(p pair) float64 { return p.rw }),
			Rejected: column(func(p pair) float64 { return p.rl }),
		}
		n := Lengths{
			Chosen:   column(func(p pair) float64 { return p.Lw }),
			Rejected: column(func(p pair) float64 { return p.Ll }),
		}
		out := loss(policy, reference, n)
		out.Loss.Sum().Backward()
		read := func(x *tensor.Tensor) []float64 {
			if x == nil {
				return nil
			}
			if x.NeedsGrad() {
				panic("what is only reported carries a gradient")
			}
			return x.Float64s()
		}
		c = computed{
			loss: out.Loss.Detach().Float64s(),
			dlw:  policy.Chosen.Grad().Float64s(), dll: make([]float64, len(pairs)),
			chosen: read(out.ChosenRewards), rejected: read(out.RejectedRewards),
			nll: read(out.NLL), oddsRatio: read(out.LogOddsRatio),
		}
		if g := policy.Rejected.Grad(); g != nil {
			c.dll = g.Float64s()
		}
	})
	return c
}

// randomPairs are pairs of plausible responses of 1 to 12 tokens.
func randomPairs(seed uint64, n int) []pair {
	r := rand.New(rand.NewPCG(seed, 0))
	pairs := make([]pair, n)
	for i := range pairs {
		p := pair{Lw: float64(1 + r.IntN(12)), Ll: float64(1 + r.IntN(12))}
		p.lw, p.ll = -p.Lw*r.ExpFloat64(), -p.Ll*r.ExpFloat64()
		p.rw, p.rl = p.lw+r.NormFloat64(), p.ll+r.NormFloat64()
		pairs[i] = p
	}
	return pairs
}
