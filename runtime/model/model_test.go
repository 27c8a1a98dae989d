package model_test

import (
	"errors"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/optim"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// tiny has grouped queries, biases and a head wider than hidden/heads.
var tiny = model.Config{
	VocabSize: 23, HiddenSize: 12, IntermediateSize: 20, NumHiddenLayers: 2, NumAttentionHeads: 4, NumKeyValueHeads: 2,
	HeadDim: 6, RMSNormEps: 1e-6, RopeTheta: 1000, MaxPositionEmbeddings: 64, AttentionBias: true, InitializerRange: 0.4,
}

func newModel(t testing.TB, c model.Config, dtype tensor.DType) *model.Model {
	t.Helper()
	m, err := model.New(c, dtype, tensor.CPU, 7)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// segment is a run of tokens in a row.
type segment struct {
	tokens    []int64
	positions int64 // of the first token
	id        int64
	prefix    int64
}

// rowsOf lays out rows of equal length.
func rowsOf(rows ...[]segment) model.Input {
	in := model.Input{Rows: len(rows)}
	for _, row := range rows {
		for _, s := range row {
			for i, token := range s.tokens {
				in.Tokens, in.Positions = append(in.Tokens, token), append(in.Positions, s.positions+int64(i))
				in.Segments, in.Prefixes = append(in.Segments, s.id), append(in.Prefixes, s.prefix)
			}
		}
	}
	in.SeqLen = len(in.Tokens) / len(rows)
	return in
}

func tokens(n, from int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = int64((from + 7*i + i*i) % 23)
	}
	return out
}

func padding(n int) segment { return segment{tokens: make([]int64, n), id: -1, prefix: -1} }

// alone is one example in a row of its own.
func alone(of ...[]int64) []segment {
	return []segment{{tokens: slices.Concat(of...), prefix: -1}}
}

// gradients are those of the summed log-probability of targets, by parameter.
func gradients(m *model.Model, in model.Input, sources, targets []int64) (logps []float64, grads map[string][]float64) {
	l := m.TokenLogps(m.Hidden(in), sources, targets)
	objective.SFT(l.TokenLogps).Backward()
	grads = map[string][]float64{}
	for _, p := range m.Parameters() {
		grads[p.Name] = p.Tensor.Grad().Float64s()
		p.Tensor.ZeroGrad()
	}
	return l.TokenLogps.Float64s(), grads
}

func TestLayoutOfRowsChangesNothing(t *testing.T) {
	prompt, chosen, rejected := tokens(4, 1), tokens(5, 9), tokens(3, 14)
	// What counts: the chosen and the rejected response, each after the same prompt.
	targets := slices.Concat(chosen, rejected)
	separate := rowsOf(alone(prompt, chosen), append(alone(prompt, rejected), padding(2)))
	after := func(row, start, n int) (sources []int64) { // the states that predict n tokens from column start on
		for i := range n {
			sources = append(sources, int64(row*100+start+i-1))
		}
		return sources
	}
	for name, c := range map[string]struct {
		in      model.Input
		sources []int64 // row*100 + column
	}{
		"more padding": {
			rowsOf(append(alone(prompt, chosen), padding(4)), append(alone(prompt, rejected), padding(6))),
			slices.Concat(after(0, 4, 5), after(1, 4, 3)),
		},
		"padding on the left": {
			rowsOf(append([]segment{padding(3)}, alone(prompt, chosen)...), append([]segment{padding(5)}, alone(prompt, rejected)...)),
			slices.Concat(after(0, 7, 5), after(1, 9, 3)),
		},
		"packed in one row": {
			rowsOf([]segment{
				{tokens: slices.Concat(prompt, rejected), id: 0, prefix: -1},
				{tokens: slices.Concat(prompt, chosen), id: 1, prefix: -1},
			}),
			slices.Concat(after(0, 11, 5), after(0, 4, 3)),
		},
		"a shared prompt": {
			rowsOf([]segment{
				{tokens: prompt, id: 0, prefix: -1},
				{tokens: chosen, id: 1, prefix: 0, positions: 4},
				{tokens: rejected, id: 2, prefix: 0, positions: 4},
				padding(2),
			}),
			slices.Concat([]int64{3}, after(0, 5, 4), []int64{3}, after(0, 10, 2)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				m := newModel(t, tiny, tensor.Float64)
				flat := func(in model.Input, sources []int64) []int64 {
					out := make([]int64, len(sources))
					for i, s := range sources {
						out[i] = s/100*int64(in.SeqLen) + s%100
					}
					return out
				}
				want, wantGrads := gradients(m, separate, flat(separate, slices.Concat(after(0, 4, 5), after(1, 4, 3))), targets)
				got, gotGrads := gradients(m, c.in, flat(c.in, c.sources), targets)
				near(t, "logps", got, want, 1e-12)
				for name, g := range wantGrads {
					near(t, "gradient of "+name, gotGrads[name], g, 1e-12)
				}
			})
		})
	}
}

func TestTokensSeeNoLaterToken(t *testing.T) {
	run(t, func() {
		m := newModel(t, tiny, tensor.Float64)
		a, b := tokens(6, 2), tokens(6, 2)
		b[4]++
		hidden := m.Hidden(rowsOf(alone(a), alone(b))).Reshape(2, 6, -1)
		first, second := hidden.Select(0, 0), hidden.Select(0, 1)
		near(t, "before the change", first.Narrow(0, 0, 4).Float64s(), second.Narrow(0, 0, 4).Float64s(), 1e-14)
		if first.Narrow(0, 4, 2).Sub(second.Narrow(0, 4, 2)).Abs().Min().Item() == 0 {
			t.Fatal("a state after the changed token stayed the same")
		}
	})
}

func TestEntropyAndAccuracy(t *testing.T) {
	run(t, func() {
		m := newModel(t, tiny, tensor.Float64)
		in := rowsOf(alone(tokens(6, 2)))
		sources := []int64{0, 1, 2, 3}
		hidden := m.Hidden(in)
		logits := m.Logits(hidden, sources).Float64s()
		var entropy float64
		best := make([]int64, 4)
		for i := range best {
			row := logits[i*23 : (i+1)*23]
			var sum float64
			for j, l := range row {
				sum += math.Exp(l)
				if l > row[best[i]] {
					best[i] = int64(j)
				}
			}
			for _, l := range row {
				p := math.Exp(l) / sum
				entropy -= p * math.Log(p) / 4
			}
		}
		best[2] = (best[2] + 1) % 23 // one miss of four
		l := m.DetailedLogps(hidden, sources, best)
		near(t, "entropy, accuracy", []float64{l.Entropy(), l.Accuracy()}, []float64{entropy, 0.75}, 1e-12)
		none := m.DetailedLogps(hidden, nil, nil)
		near(t, "of no targets", []float64{none.Entropy(), none.Accuracy(), none.TokenLogps.Sum().Item()}, []float64{0, 0, 0}, 0)
	})
}

func TestCacheGivesHiddensStates(t *testing.T) {
	run(t, func() {
		m := newModel(t, tiny, tensor.Float64)
		a, b := tokens(7, 3), tokens(7, 5)
		want := m.Hidden(rowsOf(alone(a), alone(b))).Reshape(2, 7, -1) // [rows, seqLen, hidden]
		tensor.NoGrad(func() {
			cache := m.NewCache(2, 7)
			var done int
			for _, count := range []int{4, 1, 2} {
				var toks, positions []int64
				var attends []bool
				for _, row := range [][]int64{a, b} {
					for q := done; q < done+count; q++ {
						toks, positions = append(toks, row[q]), append(positions, int64(q))
						for k := range done + count {
							attends = append(attends, k <= q)
						}
					}
				}
				got := cache.Step(count, toks, positions, attends).Reshape(2, int64(count), -1)
				near(t, "states", got.Float64s(), want.Narrow(1, int64(done), int64(count)).Float64s(), 1e-13)
				done += count
				if cache.Used() != done {
					t.Fatalf("Used: got %d, want %d", cache.Used(), done)
				}
				if done == 5 { // the other way round, a row twice
					cache = cache.Select([]int64{1, 0, 0}).Select([]int64{2, 0})
				}
			}
		})
	})
}

// stored is a model's weights as a checkpoint has them.
func stored(m *model.Model, dtype string) model.ReadFunc {
	return func(name string) (string, []int64, []byte, error) {
		for _, p := range m.Parameters() {
			if p.Name == name {
				return dtype, p.Tensor.Shape(), p.Tensor.Bytes(), nil
			}
		}
		return "", nil, nil, fs.ErrNotExist
	}
}

func TestSaveThenLoadGivesTheSameHiddenStates(t *testing.T) {
	for dtype, name := range map[tensor.DType]string{tensor.Float64: "F64", tensor.Float32: "F32", tensor.BFloat16: "BF16"} {
		run(t, func() {
			m := newModel(t, tiny, dtype)
			c, err := model.ParseConfig("config.json", m.Config().JSON())
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := model.Load(c, dtype, tensor.CPU, stored(m, name))
			if err != nil {
				t.Fatal(err)
			}
			in := rowsOf(alone(tokens(6, 2)))
			near(t, name, loaded.Hidden(in).Float64s(), m.Hidden(in).Float64s(), 0)
		})
	}
}

func TestLoadNamesTheTensor(t *testing.T) {
	run(t, func() {
		m := newModel(t, tiny, tensor.Float32)
		const name = "model.layers.1.mlp.up_proj.weight"
		for what, c := range map[string]struct {
			change func(string, []int64, []byte) (string, []int64, []byte, error)
			is     error
		}{
			"missing": {func(string, []int64, []byte) (string, []int64, []byte, error) { return "", nil, nil, fs.ErrNotExist }, fs.ErrNotExist},
			"shape": {func(d string, s []int64, b []byte) (string, []int64, []byte, error) {
				return d, []int64{12, 20}, b, nil
			}, nil},
			"dtype": {func(d string, s []int64, b []byte) (string, []int64, []byte, error) { return "I64", s, b, nil }, nil},
			"bytes": {func(d string, s []int64, b []byte) (string, []int64, []byte, error) { return d, s, b[1:], nil }, nil},
		} {
			_, err := model.Load(tiny, tensor.Float32, tensor.CPU, func(n string) (string, []int64, []byte, error) {
				d, s, b, err := stored(m, "F32")(n)
				if n == name {
					return c.change(d, s, b)
				}
				return d, s, b, err
			})
			if err == nil || !strings.Contains(err.Error(), name) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s: got %v, want an error with %s", what, err, name)
			}
		}
	})
}

func TestNewDependsOnSeedAndNameOnly(t *testing.T) {
	run(t, func() {
		deeper := tiny
		deeper.NumHiddenLayers = 3
		a, b := newModel(t, tiny, tensor.Float32), newModel(t, deeper, tensor.Float32)
		in := map[string][]float64{}
		for _, p := range b.Parameters() {
			in[p.Name] = p.Tensor.Float64s()
		}
		for _, p := range a.Parameters() {
			near(t, p.Name, p.Tensor.Float64s(), in[p.Name], 0)
		}
		other, err := model.New(tiny, tensor.Float32, tensor.CPU, 8)
		if err != nil {
			t.Fatal(err)
		}
		embedding := other.Parameters()[0].Tensor
		if embedding.Equal(a.Parameters()[0].Tensor) {
			t.Error("two seeds have the same embedding")
		}
		values := embedding.Float64s()
		var square float64
		for _, v := range values {
			square += v * v
		}
		if s := math.Sqrt(square / float64(len(values))); math.Abs(s-0.4) > 0.05 {
			t.Errorf("standard deviation of %d weights: got %g, want near 0.4", len(values), s)
		}
		if got := tiny.NumParameters(); got != int64(count(a)) {
			t.Errorf("NumParameters: got %d, want %d", got, count(a))
		}
	})
}

func count(m *model.Model) (n int) {
	for _, p := range m.Parameters() {
		n += int(p.Tensor.NumElements())
	}
	return n
}

func TestCloneIsIndependentAndFreezeKeepsNoGraph(t *testing.T) {
	run(t, func() {
		m := newModel(t, tiny, tensor.Float64)
		reference := m.Clone().Freeze()
		in := rowsOf(alone(tokens(6, 2)))
		before := reference.Hidden(in)
		if before.NeedsGrad() {
			t.Error("a frozen model's states require grad")
		}
		tensor.NoGrad(func() { m.Parameters()[0].Tensor.MulScalarInPlace(2) })
		near(t, "the clone", reference.Hidden(in).Float64s(), before.Float64s(), 0)
		if !m.Hidden(in).NeedsGrad() {
			t.Error("freezing the clone froze the original")
		}
	})
}

// Frozen layers are one for the model and its clones, and training the rest leaves them alone.
func TestFrozenLayersAreShared(t *testing.T) {
	run(t, func() {
		m := newModel(t, tiny, tensor.Float64)
		m.FreezeLayers(1)
		clone := m.Clone()
		frozen := 0
		var before [][]float64
		for i, p := range m.Parameters() {
			other := clone.Parameters()[i].Tensor
			if shared := other == p.Tensor; shared != strings.Contains(p.Name, "embed_tokens") && shared != strings.HasPrefix(p.Name, "model.layers.0.") {
				t.Errorf("%s is shared: %t", p.Name, shared)
			} else if shared {
				frozen++
			}
			before = append(before, p.Tensor.Float64s())
		}
		if got, want := len(m.Trainable()), len(m.Parameters())-frozen; got != want || frozen == 0 {
			t.Errorf("%d parameters are trained, %d are frozen", got, frozen)
		}
		fit(m, 3, func() {})
		for i, p := range m.Parameters() {
			near(t, "the clone's "+p.Name, clone.Parameters()[i].Tensor.Float64s(), before[i], 0)
			if changed := !slices.Equal(p.Tensor.Float64s(), before[i]); changed != p.Tensor.NeedsGrad() {
				t.Errorf("%s changed: %t, it requires grad: %t", p.Name, changed, p.Tensor.NeedsGrad())
			}
		}
	})
}

// fit runs n SFT steps on one example and returns the losses.
func fit(m *model.Model, n int, each func()) (losses []float64) {
	params := m.Parameters()
	a := optim.NewAdamW(params, optim.AdamWParams{Beta1: 0.9, Beta2: 0.99, Epsilon: 1e-8})
	toks := tokens(8, 3)
	in := rowsOf(alone(toks))
	for range n {
		tensor.Scoped(func() {
			l := m.TokenLogps(m.Hidden(in), []int64{2, 3, 4, 5, 6}, toks[3:])
			loss := objective.SFT(l.TokenLogps)
			losses = append(losses, loss.Item())
			loss.Backward()
			optim.ClipGradNorm(params, 1)
			a.Step(1e-2)
			a.ZeroGrad()
		})
		each()
	}
	return losses
}

func TestStepsLeakNothing(t *testing.T) {
	run(t, func() {
		m := newModel(t, tiny, tensor.Float32)
		var tensors, bytes []int64
		fit(m, 12, func() {
			n, b := tensor.Live()
			tensors, bytes = append(tensors, n), append(bytes, b)
		})
		for i := 2; i < len(tensors); i++ {
			if tensors[i] != tensors[1] || bytes[i] != bytes[1] {
				t.Fatalf("live tensors %v, bytes %v: want the same after each step", tensors, bytes)
			}
		}
	})
}

func TestBFloat16Trains(t *testing.T) {
	run(t, func() {
		losses := map[tensor.DType][]float64{}
		for _, dtype := range []tensor.DType{tensor.Float32, tensor.BFloat16} {
			losses[dtype] = fit(newModel(t, tiny, dtype), 30, func() {})
		}
		wide, narrow := losses[tensor.Float32], losses[tensor.BFloat16]
		near(t, "first loss", narrow[:1], wide[:1], 0.05)
		if last := narrow[len(narrow)-1]; !(last < narrow[0]/4) {
			t.Errorf("bfloat16 losses %v: want a fall to a quarter (float32: %v)", narrow, wide)
		}
	})
}
