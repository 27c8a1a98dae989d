package objective

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tensor/gradcheck"
)

func rewardModel(scores []float64, ranks ...[]float64) (loss, grad, better, worse []float64) {
	tensor.Scoped(func() {
		r := vector(scores...).RequiresGrad(true)
		out := RewardModel(r, ranks)
		out.Loss.Sum().Backward()
		if out.Better.NeedsGrad() || out.Worse.NeedsGrad() {
			panic("the scores compared carry a gradient")
		}
		loss, grad = out.Loss.Detach().Float64s(), r.Grad().Float64s()
		better, worse = out.Better.Float64s(), out.Worse.Float64s()
	})
	return
}

func TestRewardModel(t *testing.T) {
	scores := []float64{2, 1, .5, -1}
	inTensors(t, func() {
		loss, grad, better, worse := rewardModel(scores, []float64{1, 2, 3, 4})
		near(t, "all pairs", loss[0], .227613431713, 1e-12)
		want := make([]float64, 4)
		var sum float64
		for i := range scores {
			for j := i + 1; j < 4; j++ {
				d := scores[i] - scores[j]
				sum += minusLogSigmoid(d) / 6
				want[i] -= sigmoid(-d) / 6
				want[j] += sigmoid(-d) / 6
			}
		}
		near(t, "all pairs", loss[0], sum, 1e-15)
		for i := range want {
			near(t, "gradient", grad[i], want[i], 1e-15)
		}
		if len(better) != 6 || len(worse) != 6 {
			t.Fatalf("%d and %d compared, want 6", len(better), len(worse))
		}
		for i := range better {
			if better[i] <= worse[i] {
				t.Errorf("comparison %d: %g against %g", i, better[i], worse[i])
			}
		}

		// Ties are no pair: of 1, 2, 2, 4 five are left, and the sum is divided by five.
		tied, grad, _, _ := rewardModel(scores, []float64{1, 2, 2, 4})
		near(t, "a tie", tied[0], (sum*6-minusLogSigmoid(.5))/5, 1e-15)
		near(t, "gradient", grad[1], (sigmoid(-1)-sigmoid(-2))/5, 1e-15)

		// No pair at all, and one response: nothing to learn. A prompt beside keeps its own loss.
		loss, grad, _, _ = rewardModel([]float64{5, -5, 3, 2, 1}, []float64{1, 1}, []float64{7}, []float64{2, 1})
		near(t, "all tied", loss[0], 0, 0)
		near(t, "one response", loss[1], 0, 0)
		near(t, "beside them", loss[2], minusLogSigmoid(-1), 1e-15)
		for i, want := range []float64{0, 0, 0, sigmoid(1), -sigmoid(1)} {
			near(t, "gradient", grad[i], want, 1e-15)
		}
		loss, grad, better, _ = rewardModel([]float64{5, -5}, []float64{1, 1})
		if loss[0] != 0 || grad[0] != 0 || grad[1] != 0 || len(better) != 0 {
			t.Errorf("only ties: loss %v, gradient %v, compared %v", loss, grad, better)
		}

		// The response order does not matter, only the ranks, whose distance does not matter either.
		loss, _, _, _ = rewardModel([]float64{-1, 2, .5, 1}, []float64{40, -3, 2.5, 2})
		near(t, "another order", loss[0], sum, 1e-15)
		// A reward is defined but for a constant.
		loss, _, _, _ = rewardModel([]float64{102, 101, 100.5, 99}, []float64{1, 2, 3, 4})
		near(t, "shifted", loss[0], sum, 1e-13)
		// Two responses are DPO's Bradley-Terry model.
		loss, _, _, _ = rewardModel([]float64{-12.5, -14}, []float64{1, 2})
		near(t, "a pair", loss[0], of(dpo(DPOParams{Beta: 1}), tensor.Float64, pair{lw: -12.5, ll: -14}).loss[0], 1e-15)
		// Equal scores: ln 2, and slopes of a half. Far apart: no overflow.
		loss, grad, _, _ = rewardModel([]float64{3, 3, -500, 500, 500, -500}, []float64{1, 2}, []float64{1, 2}, []float64{1, 2})
		for i, want := range []float64{math.Ln2, 1000, 0} {
			near(t, "extreme", loss[i], want, 0)
		}
		for i, want := range []float64{-.5, .5, -1, 1, 0, 0} {
			near(t, "extreme gradient", grad[i], want, 0)
		}
	})
}

func TestRRHF(t *testing.T) {
	// p = -1, -2, -.5, -2: of the pairs of 1, 2, 2, 4, the first and third are in the wrong order (by .5).
	logps, lengths := []float64{-4, -6, -1, -16}, []float64{4, 3, 2, 8}
	ranks := []float64{1, 2, 2, 4}
	rrhf := func(logps, lengths []float64, p RRHFParams, ranks ...[]float64) (loss, grad, better, worse, nll []float64) {
		tensor.Scoped(func() {
			l := vector(logps...).RequiresGrad(true)
			out := RRHF(l, vector(lengths...), ranks, p)
			out.Loss.Sum().Backward()
			if out.Better.NeedsGrad() || out.Worse.NeedsGrad() || out.NLL.NeedsGrad() {
				panic("what is only reported carries a gradient")
			}
			loss, grad = out.Loss.Detach().Float64s(), l.Grad().Float64s()
			better, worse, nll = out.Better.Float64s(), out.Worse.Float64s(), out.NLL.Float64s()
		})
		return
	}
	inTensors(t, func() {
		loss, grad, better, worse, nll := rrhf(logps, lengths, RRHFParams{Lambda: 1, LengthExponent: 1}, ranks)
		near(t, "loss", loss[0], .5+4, 1e-15)
		near(t, "likelihood", nll[0], 4, 0)
		for i, want := range []float64{-1./4 - 1, 0, 1. / 2, 0} {
			near(t, "gradient", grad[i], want, 1e-15)
		}
		for i, want := range []struct{ better, worse float64 }{{-1, -2}, {-1, -.5}, {-1, -2}, {-2, -2}, {-.5, -2}} {
			near(t, "better", better[i], want.better, 0)
			near(t, "worse", worse[i], want.worse, 0)
		}

		// Sums instead of means: 4 is ahead of 1 in the third alone (by 3); lambda 0 leaves the likelihood out.
		loss, grad, _, _, _ = rrhf(logps, lengths, RRHFParams{}, ranks)
		near(t, "sums", loss[0], 3, 0)
		for i, want := range []float64{-1, 0, 1, 0} {
			near(t, "gradient of sums", grad[i], want, 0)
		}

		// The exponent between the two.
		loss, _, _, _, _ = rrhf([]float64{-4, -1}, []float64{4, 9}, RRHFParams{Lambda: .5, LengthExponent: .5}, []float64{1, 2})
		near(t, "square root", loss[0], -1./3+2+2, 1e-15)

		// The first of two best; all tied: only the likelihood is left. A batch is its prompts, in any order.
		loss, grad, _, _, _ = rrhf([]float64{-9, -3, -5, -4, -6, -1, -16}, []float64{9, 1, 5, 4, 3, 2, 8}, RRHFParams{Lambda: 1, LengthExponent: 1}, []float64{2, 1, 1}, ranks)
		near(t, "two best", loss[0], 3+2, 1e-15) // p = -1, -3, -1
		near(t, "beside it", loss[1], 4.5, 1e-15)
		near(t, "gradient of the second best", grad[2], 0, 0)
		loss, grad, better, _, _ = rrhf([]float64{-2, -3}, []float64{2, 1}, RRHFParams{Lambda: 1, LengthExponent: 1}, []float64{1, 1})
		if loss[0] != 2 || grad[0] != -1 || grad[1] != 0 || len(better) != 0 {
			t.Errorf("only ties: loss %v, gradient %v, compared %v", loss, grad, better)
		}
		// An empty response has score 0.
		loss, grad, _, _, _ = rrhf([]float64{-3, 0}, []float64{3, 0}, RRHFParams{Lambda: 1, LengthExponent: 1}, []float64{1, 2})
		near(t, "empty", loss[0], 1+3, 0)
		near(t, "empty gradient", grad[0], -1./3-1, 1e-15)
	})
}

func TestRankedFiniteDifferences(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	ranks := [][]float64{{1, 2, 2, 4}, {2, 1}, {1, 1, 1}, {3, 1, 2, 5, 4}}
	var values, lengths []float64
	for range 14 {
		values, lengths = append(values, -10*random.ExpFloat64()), append(lengths, float64(1+random.IntN(9)))
	}
	inTensors(t, func() {
		if err := gradcheck.Check(func(in []*tensor.Tensor) *tensor.Tensor { return RewardModel(in[0], ranks).Loss }, vector(values...)); err != nil {
			t.Error("RewardModel:", err)
		}
		if err := gradcheck.Check(func(in []*tensor.Tensor) *tensor.Tensor {
			return RRHF(in[0], vector(lengths...), ranks, RRHFParams{Lambda: .7, LengthExponent: .8}).Loss
		}, vector(values...)); err != nil {
			t.Error("RRHF:", err)
		}
	})
}
