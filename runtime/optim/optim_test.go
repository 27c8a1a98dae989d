package optim_test

import (
	"math"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/optim"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

func run(t *testing.T, f func()) {
	t.Helper()
	if err := tensor.Run(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

func near(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
	for i := range got {
		if d := math.Abs(got[i] - want[i]); !(d <= tolerance) {
			t.Errorf("%s: [%d]: got %.15g, want %.15g", what, i, got[i], want[i])
		}
	}
}

func parameter(name string, decay bool, dtype tensor.DType, values ...float64) model.Parameter {
	return model.Parameter{Name: name, Decay: decay, Tensor: tensor.FromFloat64(values, int64(len(values))).To(dtype).RequiresGrad(true)}
}

func setGrad(p model.Parameter, values ...float64) {
	p.Tensor.SetGrad(tensor.FromFloat64(values, int64(len(values))).To(p.Tensor.DType()))
}

func TestAdamWByHand(t *testing.T) {
	run(t, func() {
		decayed, plain := parameter("w", true, tensor.Float64, 2), parameter("b", false, tensor.Float64, 2)
		idle := parameter("idle", true, tensor.Float64, 2) // has no gradient
		a := optim.NewAdamW([]model.Parameter{decayed, plain, idle}, optim.AdamWParams{Beta1: 0.5, Beta2: 0.75, Epsilon: 0.1, WeightDecay: 0.2})
		setGrad(decayed, 3)
		setGrad(plain, 3)
		a.Step(0.5)
		// m = 0.5*3 = 1.5, v = 0.25*9 = 2.25; corrected 1.5/0.5 = 3 and 2.25/0.25 = 9; 0.5 * 3 / (3 + 0.1) = 0.483870967741935
		near(t, "plain", plain.Tensor.Float64s(), []float64{2 - 0.483870967741935}, 1e-14)
		// The decay is of the weight before the step: 2 * (1 - 0.5*0.2) = 1.8
		near(t, "decayed", decayed.Tensor.Float64s(), []float64{1.8 - 0.483870967741935}, 1e-14)
		near(t, "idle", idle.Tensor.Float64s(), []float64{2}, 0)
		setGrad(plain, -1)
		decayed.Tensor.ZeroGrad()
		a.Step(0.5)
		// m = 0.5*1.5 - 0.5 = 0.25, v = 0.75*2.25 + 0.25 = 1.9375; corrected 0.25/0.75 and 1.9375/0.4375
		want := 2 - 0.483870967741935 - 0.5*(0.25/0.75)/(math.Sqrt(1.9375/0.4375)+0.1)
		near(t, "plain, second step", plain.Tensor.Float64s(), []float64{want}, 1e-14)
		a.ZeroGrad()
		if plain.Tensor.Grad() != nil {
			t.Error("ZeroGrad left a gradient")
		}
	})
}

func TestStateResumesBitForBit(t *testing.T) {
	for _, dtype := range []tensor.DType{tensor.Float32, tensor.Float64} {
		run(t, func() {
			constants := optim.AdamWParams{Beta1: 0.9, Beta2: 0.99, Epsilon: 1e-8, WeightDecay: 0.1}
			w := parameter("w", true, dtype, 0.5, -1, 2)
			a := optim.NewAdamW([]model.Parameter{w}, constants)
			step := func(a *optim.AdamW, w model.Parameter, i int) {
				setGrad(w, math.Sin(float64(i)), 0.1*float64(i), -1)
				a.Step(0.01)
			}
			for i := range 3 {
				step(a, w, i)
			}
			w2 := parameter("w", true, dtype, w.Tensor.Float64s()...)
			b := optim.NewAdamW([]model.Parameter{w2}, constants)
			from, to := a.State(), b.State()
			for i := range from {
				if from[i].Name != to[i].Name {
					t.Fatalf("state %d: %s and %s", i, from[i].Name, to[i].Name)
				}
				tensor.NoGrad(func() {
					to[i].Tensor.CopyInPlace(tensor.FromBytes(from[i].Tensor.DType(), from[i].Tensor.Bytes(), from[i].Tensor.Shape()...))
				})
			}
			for i := range 3 {
				step(a, w, 3+i)
				step(b, w2, 3+i)
			}
			near(t, dtype.String(), w2.Tensor.Float64s(), w.Tensor.Float64s(), 0)
		})
	}
}

func TestClipGradNorm(t *testing.T) {
	run(t, func() {
		a, b := parameter("a", true, tensor.Float64, 0, 0), parameter("b", true, tensor.Float64, 0)
		params := []model.Parameter{a, b, parameter("idle", true, tensor.Float64, 0)}
		clip := func(limit float64, grads ...float64) float64 {
			setGrad(a, grads[0], grads[1])
			setGrad(b, grads[2])
			return optim.ClipGradNorm(params, limit)
		}
		near(t, "norm", []float64{clip(1, 2, 3, 6)}, []float64{7}, 1e-14) // 4 + 9 + 36 = 49
		near(t, "clipped", append(a.Tensor.Grad().Float64s(), b.Tensor.Grad().Float64s()...), []float64{2. / 7, 3. / 7, 6. / 7}, 1e-6)
		near(t, "norm below the limit", []float64{clip(8, 2, 3, 6)}, []float64{7}, 1e-14)
		near(t, "left alone", a.Tensor.Grad().Float64s(), []float64{2, 3}, 0)
		near(t, "no limit", []float64{clip(0, 2, 3, 6)}, []float64{7}, 1e-14)
		near(t, "measured only", a.Tensor.Grad().Float64s(), []float64{2, 3}, 0)
		if n := clip(1, 2, 3, math.NaN()); !math.IsNaN(n) {
			t.Errorf("a gradient that is not a number: got norm %g", n)
		}
		near(t, "left alone at NaN", a.Tensor.Grad().Float64s(), []float64{2, 3}, 0)
		if n := clip(1, 2, 3, math.Inf(1)); !math.IsInf(n, 1) {
			t.Errorf("an infinite gradient: got norm %g", n)
		}
		near(t, "left alone at Inf", a.Tensor.Grad().Float64s(), []float64{2, 3}, 0)
	})
}

func TestSchedule(t *testing.T) {
	for name, c := range map[string]struct {
		s    optim.Schedule
		want []float64 // at steps 0, 1, ...
	}{
		"constant":           {optim.Schedule{Kind: "constant", Peak: 8, TotalSteps: 3}, []float64{8, 8, 8}},
		"constant, warm-up":  {optim.Schedule{Kind: "constant", Peak: 8, TotalSteps: 5, WarmupSteps: 3}, []float64{2, 4, 6, 8, 8}},
		"linear":             {optim.Schedule{Kind: "linear", Peak: 8, TotalSteps: 4}, []float64{8, 6, 4, 2, 0}},
		"linear to a fourth": {optim.Schedule{Kind: "linear", Peak: 8, TotalSteps: 5, WarmupSteps: 1, MinRatio: 0.25}, []float64{4, 8, 6.5, 5, 3.5, 2, 2}},
		"cosine":             {optim.Schedule{Kind: "cosine", Peak: 8, TotalSteps: 4}, []float64{8, 4 + 4*math.Sqrt(0.5), 4, 4 - 4*math.Sqrt(0.5), 0}},
		"cosine to a half":   {optim.Schedule{Kind: "cosine", Peak: 8, TotalSteps: 3, WarmupSteps: 1, MinRatio: 0.5}, []float64{4, 8, 6, 4}},
		"warm-up only":       {optim.Schedule{Kind: "cosine", Peak: 8, TotalSteps: 3, WarmupSteps: 3}, []float64{2, 4, 6}},
	} {
		var got []float64
		for step := range c.want {
			got = append(got, c.s.At(step))
		}
		near(t, name, got, c.want, 1e-14)
	}
}
