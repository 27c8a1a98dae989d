package model_test

import (
	"errors"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// architectures are those whose gradients take different ways.
func architectures() map[string]model.Config {
	plain := tiny
	plain.AttentionBias, plain.NumKeyValueHeads, plain.NumHiddenLayers = false, plain.NumAttentionHeads, 3
	single := tiny
	single.NumHiddenLayers = 1
	return map[string]model.Config{"grouped queries, biases, untied": tiny, "the same, tied": tied(tiny), "no biases, untied": plain, "one layer": single}
}

// sharedRows has a shared prompt, packing and padding.
var sharedRows = rowsOf(
	[]segment{
		{tokens: tokens(4, 1), id: 0, prefix: -1},
		{tokens: tokens(3, 9), id: 1, prefix: 0, positions: 4},
		{tokens: tokens(2, 5), id: 2, prefix: 0, positions: 4},
	},
	[]segment{{tokens: tokens(3, 2), id: 0, prefix: -1}, {tokens: tokens(4, 3), id: 1, prefix: -1}, padding(2)},
)

// likelihood is a loss on sharedRows, of a policy or of scores.
func likelihood(m *model.Model) *tensor.Tensor {
	hidden := m.Hidden(sharedRows)
	if m.HasScore() {
		return m.Scores(hidden, []int64{6, 8, 15}).Square().Sum()
	}
	return objective.SFT(m.TokenLogps(hidden, []int64{0, 4, 5, 12, 13}, []int64{3, 17, 8, 21, 3}).TokenLogps)
}

// gradientsOf are the parameters' after f, which are then removed; nil for none.
func gradientsOf(m *model.Model, f func()) map[string][]float64 {
	tensor.Scoped(f)
	grads := map[string][]float64{}
	for _, p := range m.Parameters() {
		tensor.Scoped(func() {
			grads[p.Name] = nil
			if g := p.Tensor.Grad(); g != nil {
				grads[p.Name] = g.Float64s()
			}
		})
		p.Tensor.ZeroGrad()
	}
	return grads
}

// sameGradients fails unless both have a gradient of every parameter, equal to tolerance.
func sameGradients(t *testing.T, got, want map[string][]float64, tolerance float64) {
	t.Helper()
	for name, g := range want {
		if len(g) == 0 {
			t.Fatalf("no gradient of %s to compare with", name)
		}
		near(t, "gradient of "+name, got[name], g, tolerance)
	}
}

func TestCheckpointedGradientsAreThePlainOnes(t *testing.T) {
	for name, c := range architectures() {
		for _, score := range []bool{false, true} {
			for dtype, tolerance := range map[tensor.DType]float64{tensor.Float64: 1e-13, tensor.Float32: 1e-5, tensor.BFloat16: 0.02} {
				run(t, func() {
					m := newModel(t, c, dtype)
					if score {
						m = scorer(t, c, dtype)
					}
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
					t.Log(name, score, dtype)
					near(t, "loss", losses[1:], losses[:1], 0)
					sameGradients(t, grads[1], grads[0], tolerance)
				})
			}
		}
	}
}

func TestBackwardAloneLeavesTheLayersOut(t *testing.T) {
	run(t, func() {
		m := newModel(t, tiny, tensor.Float64)
		m.CheckpointActivations(true)
		grads := gradientsOf(m, func() { likelihood(m).Backward() })
		for _, p := range m.Parameters() {
			reached := p.Name == "lm_head.weight" || p.Name == "model.norm.weight"
			if (grads[p.Name] != nil) != reached {
				t.Errorf("%s: has a gradient: %t, want %t", p.Name, grads[p.Name] != nil, reached)
			}
		}
	})
}

func TestSeveralForwardsArePending(t *testing.T) {
	other := rowsOf(alone(tokens(7, 12)))
	run(t, func() {
		for _, c := range architectures() {
			m := newModel(t, c, tensor.Float64)
			second := func() *tensor.Tensor {
				return objective.SFT(m.TokenLogps(m.Hidden(other), []int64{2, 3}, []int64{5, 6}).TokenLogps).MulScalar(0.3)
			}
			want := gradientsOf(m, func() { likelihood(m).Add(second()).Backward() })
			m.CheckpointActivations(true)
			for name, f := range map[string]func(){
				"one loss of two forwards": func() {
					likelihood(m).Add(second()).Backward()
					m.FinishBackward()
				},
				"two losses": func() {
					a, b := likelihood(m), second()
					b.Backward()
					a.Backward()
					m.FinishBackward()
				},
				"one by one": func() {
					likelihood(m).Backward()
					m.FinishBackward()
					second().Backward()
					m.FinishBackward()
					m.FinishBackward() // nothing pending
				},
				"and one that no loss needs": func() {
					a := likelihood(m)
					m.Hidden(other)
					a.Backward()
					second().Backward()
					m.FinishBackward()
				},
				"and some without autograd": func() {
					loss := likelihood(m).Add(second())
					tensor.NoGrad(func() { likelihood(m).Item() })
					m.Clone().Freeze().Hidden(other)
					loss.Backward()
					tensor.NoGrad(m.FinishBackward)
				},
				"switched off between": func() {
					loss := likelihood(m)
					m.CheckpointActivations(false)
					loss = loss.Add(second())
					m.CheckpointActivations(true)
					loss.Backward()
					m.FinishBackward()
				},
			} {
				t.Log(name)
				sameGradients(t, gradientsOf(m, f), want, 1e-13)
			}
		}
	})
}

// The loop of runtime/train: micro-batches in scopes, of which one panics.
func TestCheckpointingLeaksNothing(t *testing.T) {
	run(t, func() {
		m := newModel(t, tiny, tensor.Float64)
		m.CheckpointActivations(true)
		step := func() {
			likelihood(m).Backward()
			m.FinishBackward()
		}
		want := gradientsOf(m, step)
		tensors, bytes := tensor.Live()
		panics := func(f func()) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			tensor.Scoped(f)
		}
		for range 3 {
			for name, f := range map[string]func(){
				"a panic before Backward": func() { panics(func() { likelihood(m); panic("stop") }) },
				"and after":               func() { panics(func() { likelihood(m).Backward(); panic("stop") }) },
				"no Backward":             func() { tensor.Scoped(func() { likelihood(m) }) },
				"no FinishBackward":       func() { tensor.Scoped(func() { likelihood(m).Backward() }) },
			} {
				gradientsOf(m, f)
				sameGradients(t, gradientsOf(m, step), want, 0)
				if n, b := tensor.Live(); n != tensors || b != bytes {
					t.Fatalf("%s: %d tensors of %d bytes live, want %d of %d", name, n, b, tensors, bytes)
				}
			}
		}
		tensor.Scoped(func() { // what FinishBackward used is freed in a long scope too
			before, _ := tensor.Live()
			hidden := m.Hidden(sharedRows)
			m.FinishBackward()
			if after, _ := tensor.Live(); after != before+1 {
				t.Errorf("%d tensors live, want %d and the states", after, before)
			}
			hidden.Free()
		})
	})
}

func TestWithoutGradientsNothingIsPending(t *testing.T) {
	run(t, func() {
		m := newModel(t, tiny, tensor.Float64)
		frozen := m.Clone().Freeze()
		for _, m := range []*model.Model{m, frozen} {
			m.CheckpointActivations(true)
		}
		for name, f := range map[string]func() *tensor.Tensor{
			"frozen": func() *tensor.Tensor { return frozen.Hidden(sharedRows) },
			"NoGrad": func() (out *tensor.Tensor) {
				tensor.NoGrad(func() { out = m.Hidden(sharedRows) })
				return out
			},
		} {
			before, _ := tensor.Live()
			out := f()
			if after, _ := tensor.Live(); out.NeedsGrad() || after != before+1 {
				t.Errorf("%s: requires grad: %t; %d tensors live, want %d and the states", name, out.NeedsGrad(), after, before)
			}
		}
	})
}

func TestFinishBackwardAfterTheScopePanics(t *testing.T) {
	err := tensor.Run(func() error {
		m := newModel(t, tiny, tensor.Float64)
		m.CheckpointActivations(true)
		var hidden *tensor.Tensor
		tensor.Scoped(func() { hidden = m.Hidden(sharedRows).Keep() })
		hidden.Sum().Backward()
		m.FinishBackward() // would leave gradients out
		return nil
	})
	if e := (*tensor.Error)(nil); !errors.As(err, &e) {
		t.Errorf("got %v", err)
	}
}

func TestCheckpointingTakesLessMemory(t *testing.T) {
	run(t, func() {
		c := tiny
		c.NumHiddenLayers, c.HiddenSize, c.IntermediateSize, c.HeadDim = 24, 32, 64, 8
		m := newModel(t, c, tensor.Float32)
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
