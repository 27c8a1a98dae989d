package model_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

var everywhere = model.LoRA{Rank: 3, Alpha: 6, TargetModules: []string{model.AllLinear}}

// adapted has adapters with B as far from 0 as A.
func adapted(t testing.TB, base *model.Model, l model.LoRA) *model.Model {
	t.Helper()
	m, err := base.WithLoRA(l, 5)
	if err != nil {
		t.Fatal(err)
	}
	tensor.NoGrad(func() {
		for i, p := range m.AdapterParameters() {
			if n := p.Tensor.NumElements(); strings.HasSuffix(p.Name, "lora_B.weight") {
				p.Tensor.CopyInPlace(tensor.FromFloat64(wave(n, i), p.Tensor.Shape()...))
			}
		}
	})
	return m
}

func TestNewAdaptersChangeNothing(t *testing.T) {
	run(t, func() {
		base := newModel(t, tiny, tensor.Float64)
		want := base.Hidden(sharedRows).Float64s()
		tensors, bytes := tensor.Live()
		m, err := base.WithLoRA(everywhere, 5)
		if err != nil {
			t.Fatal(err)
		}
		tensor.NoGrad(func() { near(t, "hidden states", m.Hidden(sharedRows).Float64s(), want, 0) })
		if m.Base() != base || len(base.Trainable()) != 0 {
			t.Errorf("the base is another, or has %d trained parameters", len(base.Trainable()))
		}
		var own int64
		for _, p := range m.Trainable() {
			own += p.Tensor.NumElements() * 8
			if !p.Decay {
				t.Errorf("%s has no weight decay", p.Name)
			}
			values := p.Tensor.Float64s()
			if strings.HasSuffix(p.Name, "lora_B.weight") {
				near(t, p.Name, values, make([]float64, len(values)), 0)
				continue
			}
			bound, most := 1/math.Sqrt(float64(p.Tensor.Dim(1))), 0.0
			for _, v := range values {
				most = max(most, math.Abs(v))
			}
			if most > bound || most < 0.8*bound {
				t.Errorf("%s is at most %g, want up to %g", p.Name, most, bound)
			}
		}
		if n := len(m.Trainable()); n != 2*7*2 || len(m.AdapterParameters()) != n || len(m.Parameters()) != n+len(base.Parameters()) {
			t.Errorf("%d trained parameters, %d of adapters, %d in all", n, len(m.AdapterParameters()), len(m.Parameters()))
		}
		if n, b := tensor.Live(); n != tensors+28+1 || b > bytes+own*5/4+8*12*20 { // hidden states, and what a block is larger
			t.Errorf("%d tensors of %d bytes more, want 28 of %d", n-tensors, b-bytes, own)
		}
		again, err := base.WithLoRA(everywhere, 5)
		if err != nil {
			t.Fatal(err)
		}
		other, err := base.WithLoRA(everywhere, 6)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range m.AdapterParameters() {
			near(t, p.Name+" of the same seed", again.AdapterParameters()[i].Tensor.Float64s(), p.Tensor.Float64s(), 0)
			if strings.HasSuffix(p.Name, "A.weight") && slices.Equal(other.AdapterParameters()[i].Tensor.Float64s(), p.Tensor.Float64s()) {
				t.Errorf("%s of another seed is the same", p.Name)
			}
		}
	})
}

func TestAdaptersDoNotReachTheBase(t *testing.T) {
	run(t, func() {
		base := newModel(t, tiny, tensor.Float64)
		want := base.Hidden(sharedRows).Float64s()
		m := adapted(t, base, everywhere)
		if slices.Equal(m.Hidden(sharedRows).Float64s(), want) {
			t.Fatal("the adapters change nothing")
		}
		near(t, "the base's states", base.Hidden(sharedRows).Float64s(), want, 0)
		grads := gradientsOf(m, func() { likelihood(m).Backward() })
		for _, p := range m.Parameters() {
			if adapter := strings.Contains(p.Name, ".lora_"); (grads[p.Name] != nil) != adapter {
				t.Errorf("%s has a gradient: %t", p.Name, !adapter)
			}
		}
	})
}

func TestScoreHeadsAreTrainedBesideAdapters(t *testing.T) {
	run(t, func() {
		base := scorer(t, tiny, tensor.Float64)
		m := adapted(t, base, everywhere)
		m.SetRewardShift(0.5)
		clone := m.Clone()
		head := parameter(t, m, "score.weight")
		near(t, "head", head.Float64s(), parameter(t, base, "score.weight").Float64s(), 0)
		want := m.Scores(m.Hidden(sharedRows), []int64{6, 8}).Float64s()
		fitTo(m, 3)
		if slices.Equal(head.Float64s(), parameter(t, base, "score.weight").Float64s()) {
			t.Error("the head was not trained, or the base's was too")
		}
		near(t, "the clone's scores", clone.Scores(clone.Hidden(sharedRows), []int64{6, 8}).Float64s(), want, 0)
		want = m.Scores(m.Hidden(sharedRows), []int64{6, 8}).Float64s()
		merged := m.Merge()
		near(t, "merged", merged.Scores(merged.Hidden(sharedRows), []int64{6, 8}).Float64s(), want, 1e-12)
	})
}

// fitTo takes n plain gradient steps.
func fitTo(m *model.Model, n int) {
	for range n {
		tensor.Scoped(func() {
			likelihood(m).Backward()
			m.FinishBackward()
			tensor.NoGrad(func() {
				for _, p := range m.Trainable() {
					p.Tensor.AddInPlace(p.Tensor.Grad(), -0.01)
					p.Tensor.ZeroGrad()
				}
			})
		})
	}
}

func TestClonedAdaptersShareTheBase(t *testing.T) {
	run(t, func() {
		base := newModel(t, tiny, tensor.Float64)
		m := adapted(t, base, everywhere)
		clone := m.Clone()
		if clone.Base() != base || len(clone.Trainable()) != len(m.Trainable()) {
			t.Fatal("a clone of adapters has another base, or other adapters")
		}
		want := m.Hidden(sharedRows).Float64s()
		near(t, "the clone's states", clone.Hidden(sharedRows).Float64s(), want, 0)
		fitTo(m, 2)
		if slices.Equal(m.Hidden(sharedRows).Float64s(), want) {
			t.Fatal("two steps change nothing")
		}
		near(t, "the clone's states after m's steps", clone.Hidden(sharedRows).Float64s(), want, 0)
	})
}

func TestCachedTokensMeetAdapters(t *testing.T) {
	run(t, func() {
		m := adapted(t, newModel(t, tiny, tensor.Float64), everywhere)
		toks := tokens(6, 2)
		want := m.Hidden(rowsOf(alone(toks))).Float64s()
		tensor.NoGrad(func() {
			c := m.NewCache(1, 6)
			var got []float64
			for i, token := range toks {
				attends := make([]bool, i+1)
				for k := range attends {
					attends[k] = true
				}
				got = append(got, c.Step(1, []int64{token}, []int64{int64(i)}, attends).Float64s()...)
			}
			near(t, "states", got, want, 1e-12)
		})
	})
}

func TestCheckpointedAdaptersHaveThePlainGradients(t *testing.T) {
	for name, c := range architectures() {
		for _, targets := range [][]string{{model.AllLinear}, {"v_proj"}, {"model.layers.0.mlp.up_proj"}, lastLayer(c)} {
			for _, score := range []bool{false, true} {
				run(t, func() {
					base := newModel(t, c, tensor.Float64)
					if score {
						base = scorer(t, c, tensor.Float64)
					}
					m := adapted(t, base, model.LoRA{Rank: 2, Alpha: 4, Dropout: 0.3, TargetModules: targets})
					defer m.Dropout(3, 9)()
					var losses [2]float64
					var grads [2]map[string][]float64
					for i, on := range []bool{false, true} {
						m.CheckpointActivations(on)
						grads[i] = gradientsOf(m, func() {
							loss := likelihood(m)
							losses[i] = loss.Item()
							loss.Backward()
							m.FinishBackward()
						})
					}
					t.Log(name, targets, score)
					near(t, "loss", losses[1:], losses[:1], 0)
					for _, p := range m.Parameters() {
						near(t, "gradient of "+p.Name, grads[1][p.Name], grads[0][p.Name], 1e-13)
						if (grads[0][p.Name] != nil) != p.Tensor.NeedsGrad() {
							t.Errorf("%s: gradient %v", p.Name, grads[0][p.Name])
						}
					}
				})
			}
		}
	}
}

func lastLayer(c model.Config) []string {
	modules, err := c.LoRAModules([]string{"q_proj"})
	if err != nil {
		panic(err)
	}
	return modules[len(modules)-1:]
}

func TestCheckpointingAdaptersTakesLessMemory(t *testing.T) {
	run(t, func() {
		c := tiny
		c.NumHiddenLayers, c.HiddenSize, c.IntermediateSize, c.HeadDim = 24, 32, 64, 8
		m := adapted(t, newModel(t, c, tensor.Float32), everywhere)
		toks := tokens(64, 1)
		in := rowsOf(alone(toks), alone(toks), alone(toks), alone(toks))
		peak := func(on bool) int64 {
			m.CheckpointActivations(on)
			_, before := tensor.Live()
			tensor.ResetPeak()
			gradientsOf(m, func() {
				objective.SFT(m.TokenLogps(m.Hidden(in), []int64{10, 100}, []int64{1, 2}).TokenLogps).Backward()
				m.FinishBackward()
			})
			return tensor.PeakBytes() - before
		}
		plain, checkpointed := peak(false), peak(true)
		t.Logf("plain %d bytes, checkpointed %d", plain, checkpointed)
		if checkpointed*4 > plain {
			t.Errorf("checkpointed %d bytes, plain %d: want less than a quarter", checkpointed, plain)
		}
	})
}

func TestDropoutIsOfStepAndTextAlone(t *testing.T) {
	run(t, func() {
		m := adapted(t, newModel(t, tiny, tensor.Float64), model.LoRA{Rank: 2, Alpha: 4, Dropout: 0.5, TargetModules: []string{model.AllLinear}})
		prompt, chosen, rejected := tokens(4, 1), tokens(5, 9), tokens(3, 14)
		states := func(in model.Input, rows ...int64) []float64 {
			return m.Hidden(in).IndexSelect(0, tensor.FromInt64(rows, int64(len(rows)))).Float64s()
		}
		alone1, alone2 := rowsOf(alone(prompt, chosen)), rowsOf(alone(prompt, rejected))
		shared := rowsOf([]segment{
			padding(2),
			{tokens: prompt, id: 4, prefix: -1},
			{tokens: chosen, id: 1, prefix: 4, positions: 4},
			{tokens: rejected, id: 2, prefix: 4, positions: 4},
		}, append(alone(prompt, rejected), padding(7)))

		plain := states(alone1, 8)
		stop := m.Dropout(1, 0)
		first, second := states(alone1, 8), states(alone2, 6)
		near(t, "of a shared prompt", states(shared, 10, 13, 14+6), slices.Concat(first, second, second), 1e-12)
		near(t, "again", states(alone1, 8), first, 0)
		for what, values := range map[string][]float64{"nothing was dropped": plain, "another step drops the same": after(m, 1, 1, alone1), "another seed drops the same": after(m, 2, 0, alone1)} {
			if slices.Equal(values, first) {
				t.Error(what)
			}
		}
		stop()
		near(t, "after stop", states(alone1, 8), plain, 0)
		near(t, "the base", m.Base().Hidden(alone1).Float64s(), newModel(t, tiny, tensor.Float64).Hidden(alone1).Float64s(), 0)
	})
}

func after(m *model.Model, seed uint64, step int, in model.Input) []float64 {
	m.Dropout(seed, step)
	return m.Hidden(in).Narrow(0, 8, 1).Float64s()
}
