package objective_test

import (
	"math"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// dpo is the loss of pairs of (lw, ll, rw, rl) and its gradients with respect to lw and ll, in float64.
func dpo(t *testing.T, p objective.DPOParams, pairs ...[4]float64) (loss, dChosen, dRejected, chosenRewards, rejectedRewards []float64) {
	t.Helper()
	err := tensor.Run(func() error {
		var in [4]*tensor.Tensor
		for j := range in {
			column := make([]float64, len(pairs))
			for i, pair := range pairs {
				column[i] = pair[j]
			}
			in[j] = tensor.FromFloat64(column, int64(len(pairs))).RequiresGrad(j < 2)
		}
		out := objective.DPO(objective.Logps{Chosen: in[0], Rejected: in[1]}, objective.Logps{Chosen: in[2], Rejected: in[3]}, p)
		out.Loss.Sum().Backward()
		if out.ChosenRewards.NeedsGrad() || out.RejectedRewards.NeedsGrad() {
			t.Error("the rewards carry a gradient")
		}
		loss, dChosen, dRejected = out.Loss.Float64s(), in[0].Grad().Float64s(), in[1].Grad().Float64s()
		chosenRewards, rejectedRewards = out.ChosenRewards.Float64s(), out.RejectedRewards.Float64s()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if d := math.Abs(got - want); !(d <= tolerance) {
		t.Errorf("%s: got %.15g, want %.15g (off by %.2g)", what, got, want, d)
	}
}

func TestDPO(t *testing.T) {
	// z = (-12.5 - -13) - (-14 - -13.2) = 0.5 + 0.8 = 1.3; beta z = 0.13
	// -log sigmoid(0.13) = log(1 + exp(-0.13)) = 0.630258194682; gradient -beta (1 - sigmoid(0.13)) = -0.1 * 0.46754569
	worked := [4]float64{-12.5, -14, -13, -13.2}
	for _, c := range []struct {
		name           string
		p              objective.DPOParams
		pair           [4]float64
		loss           float64
		dChosen, slack float64 // dRejected is -dChosen
	}{
		{"DPO", objective.DPOParams{Beta: 0.1}, worked, .630258194682, -.046754569, 1e-9},
		{"cDPO", objective.DPOParams{Beta: 0.1, LabelSmoothing: 0.1}, worked, .643258194682, -.036754569, 1e-9},
		{"step 0", objective.DPOParams{Beta: 0.1}, [4]float64{-3, -5, -3, -5}, math.Ln2, -0.05, 1e-16},
		{"step 0, smoothed", objective.DPOParams{Beta: 0.1, LabelSmoothing: 0.2}, [4]float64{-3, -5, -3, -5}, math.Ln2, -0.03, 1e-16},
		{"beta z = 1000", objective.DPOParams{Beta: 1}, [4]float64{0, -1000, 0, 0}, 0, 0, 0},
		{"beta z = -1000", objective.DPOParams{Beta: 1}, [4]float64{-1000, 0, 0, 0}, 1000, -1, 0},
		{"beta z = 1000, smoothed", objective.DPOParams{Beta: 1, LabelSmoothing: 0.25}, [4]float64{0, -1000, 0, 0}, 250, 0.25, 0},
		{"beta z = -1000, smoothed", objective.DPOParams{Beta: 1, LabelSmoothing: 0.25}, [4]float64{-1000, 0, 0, 0}, 750, -0.75, 0},
		{"an empty response", objective.DPOParams{Beta: 0.1}, [4]float64{0, -14, 0, -13.2}, math.Log1p(math.Exp(-0.08)), -0.1 / (1 + math.Exp(0.08)), 1e-15},
	} {
		t.Run(c.name, func(t *testing.T) {
			loss, dChosen, dRejected, chosen, rejected := dpo(t, c.p, c.pair)
			near(t, "loss", loss[0], c.loss, 1e-12)
			near(t, "d/dlw", dChosen[0], c.dChosen, c.slack)
			near(t, "d/dll", dRejected[0], -c.dChosen, c.slack)
			near(t, "chosen reward", chosen[0], c.p.Beta*(c.pair[0]-c.pair[2]), 1e-15)
			near(t, "rejected reward", rejected[0], c.p.Beta*(c.pair[1]-c.pair[3]), 1e-15)
		})
	}
}

func TestDPOGradientIsTheSlope(t *testing.T) {
	for _, e := range []float64{0, 0.1, 0.45} {
		p := objective.DPOParams{Beta: 0.3, LabelSmoothing: e}
		for _, pair := range [][4]float64{{-12.5, -14, -13, -13.2}, {-1, -1, -1, -1}, {-2, -30, -9, -8}, {-40, -3, -20, -3.5}} {
			_, dChosen, dRejected, _, _ := dpo(t, p, pair)
			for j, got := range []float64{dChosen[0], dRejected[0]} {
				const h = 1e-5
				up, down := pair, pair
				up[j] += h
				down[j] -= h
				loss, _, _, _, _ := dpo(t, p, up, down)
				near(t, "slope", got, (loss[0]-loss[1])/(2*h), 1e-9)
			}
		}
	}
}

func TestDPOOfPairsIsEachPairsOwn(t *testing.T) {
	p := objective.DPOParams{Beta: 0.1, LabelSmoothing: 0.1}
	pairs := [][4]float64{{-12.5, -14, -13, -13.2}, {-3, -5, -3, -5}, {-9, -2, -1, -8}}
	loss, dChosen, _, _, _ := dpo(t, p, pairs...)
	for i, pair := range pairs {
		one, d, _, _, _ := dpo(t, p, pair)
		near(t, "loss", loss[i], one[0], 0)
		near(t, "gradient", dChosen[i], d[0], 0)
	}
}

func TestSFTIsASum(t *testing.T) {
	err := tensor.Run(func() error {
		tokenLogps := tensor.FromFloat64([]float64{-0.5, -2, -0.25}, 3).RequiresGrad(true)
		loss := objective.SFT(tokenLogps)
		loss.Backward()
		near(t, "loss", loss.Item(), 2.75, 0)
		for _, g := range tokenLogps.Grad().Float64s() {
			near(t, "gradient", g, -1, 0)
		}
		near(t, "of no tokens", objective.SFT(tensor.FromFloat64(nil, 0)).Item(), 0, 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
