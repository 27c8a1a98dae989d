package model_test

import (
	"math"
	"slices"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// mixed computes in bfloat16 over float32 weights that bfloat16 has exactly.
func mixed(t *testing.T, c model.Config) *model.Model {
	m := newModel(t, c, tensor.Float32)
	tensor.NoGrad(func() {
		for _, p := range m.Parameters() {
			p.Tensor.CopyInPlace(p.Tensor.To(tensor.BFloat16))
		}
	})
	m.ComputeIn(tensor.BFloat16)
	return m
}

func TestMixedPrecisionComputesWhatBFloat16Does(t *testing.T) {
	for name, c := range architectures() {
		run(t, func() {
			m := mixed(t, c)
			same, err := model.Load(c, tensor.BFloat16, tensor.CPU, stored(m, "F32"))
			if err != nil {
				t.Fatal(err)
			}
			want := same.Hidden(sharedRows)
			if want.DType() != tensor.BFloat16 {
				t.Fatalf("%s: got %v", name, want.DType())
			}
			for what, m := range map[string]*model.Model{"trainable": m, "clone": m.Clone(), "rounded": m.Rounded(), "frozen": m.Clone().Freeze()} {
				near(t, name+", "+what, m.Hidden(sharedRows).Float64s(), want.Float64s(), 0)
				l := likelihood(m)
				if l.DType() != tensor.Float32 {
					t.Errorf("%s, %s: loss is %v", name, what, l.DType())
				}
			}
		})
	}
}

func TestMixedPrecisionKeepsFloat32Gradients(t *testing.T) {
	for name, c := range architectures() {
		for _, frozenLayers := range []int{-1, 1} {
			for _, checkpointing := range []bool{false, true} {
				for _, logitsAtOnce := range []int64{0, twoRows} {
					run(t, func() {
						narrow := atOnce(mixed(t, c), logitsAtOnce)
						wide, err := model.Load(c, tensor.Float32, tensor.CPU, stored(narrow, "F32"))
						if err != nil {
							t.Fatal(err)
						}
						var grads [2]map[string][]float64
						for i, m := range []*model.Model{wide, narrow} {
							if frozenLayers >= 0 {
								m.FreezeLayers(frozenLayers)
							}
							m.CheckpointActivations(checkpointing)
							grads[i] = gradientsOf(m, func() {
								likelihood(m).MulScalar(0.1).Backward()
								m.FinishBackward()
							})
						}
						t.Log(name, frozenLayers, checkpointing, logitsAtOnce)
						for _, p := range narrow.Parameters() {
							if !p.Tensor.NeedsGrad() {
								if p.Tensor.DType() != tensor.BFloat16 {
									t.Errorf("%s is frozen and %v", p.Name, p.Tensor.DType())
								}
								continue
							}
							if p.Tensor.DType() != tensor.Float32 {
								t.Errorf("%s is %v", p.Name, p.Tensor.DType())
							}
							if off := distance(grads[1][p.Name], grads[0][p.Name]); !(off < 0.1) {
								t.Errorf("gradient of %s is off by %.3f of its length", p.Name, off)
							}
						}
					})
				}
			}
		}
	}
}

// distance is |a - b| / |b|.
func distance(a, b []float64) float64 {
	var off, length float64
	for i := range b {
		off += (a[i] - b[i]) * (a[i] - b[i])
		length += b[i] * b[i]
	}
	return math.Sqrt(off / length)
}

func TestFrozenHalvesAreShared(t *testing.T) {
	run(t, func() {
		m := mixed(t, tiny)
		m.FreezeLayers(1)
		reference := m.Clone().Freeze()
		before := tensorsOf(reference)
		for i, p := range m.Parameters() {
			if shared := before[i] == p.Tensor; shared == p.Tensor.NeedsGrad() {
				t.Errorf("%s: shared: %t", p.Name, shared)
			}
			if d := before[i].DType(); d != tensor.BFloat16 {
				t.Errorf("the reference's %s is %v", p.Name, d)
			}
		}
		if m.Rounded() == m || reference.Rounded() == m {
			t.Error("rounded in place")
		}
		wide := newModel(t, tiny, tensor.Float32)
		if wide.Rounded() != wide {
			t.Error("copied in vain")
		}
	})
}

func tensorsOf(m *model.Model) (out []*tensor.Tensor) {
	for _, p := range m.Parameters() {
		out = append(out, p.Tensor)
	}
	return out
}

func TestAdaptersKeepFloat32(t *testing.T) {
	run(t, func() {
		var grads [2]map[string][]float64
		for i, narrow := range []bool{false, true} {
			base := mixed(t, tiny)
			if !narrow {
				base.ComputeIn(tensor.Float32)
			}
			m, err := base.WithLoRA(model.LoRA{Rank: 2, Alpha: 4}, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range m.Parameters() {
				want := tensor.Float32
				if narrow && !p.Tensor.NeedsGrad() {
					want = tensor.BFloat16
				}
				if p.Tensor.DType() != want {
					t.Errorf("%s is %v, want %v", p.Name, p.Tensor.DType(), want)
				}
			}
			grads[i] = gradientsOf(m, func() {
				likelihood(m).MulScalar(0.1).Backward()
				m.FinishBackward()
			})
			if narrow {
				want := m.Rounded().Hidden(sharedRows).Float64s()
				near(t, "merged", m.Merge().Hidden(sharedRows).Float64s(), want, 0)
			}
		}
		for name, g := range grads[0] {
			if slices.Max(append(g, 0)) > 0 { // A's are 0, as B is
				if off := distance(grads[1][name], g); !(off < 0.1) {
					t.Errorf("gradient of %s is off by %.3f of its length", name, off)
				}
			}
		}
	})
}
