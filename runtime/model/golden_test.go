package model_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/optim"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// golden is what hack/goldens/model/llama.py wrote of one architecture.
type golden struct {
	Config           json.RawMessage
	Lengths, Prompts []int
	Tokens           [][]int64
	AdamW            struct{ Rate, Beta1, Beta2, Epsilon, Decay, Clip float64 }
	Weights          map[string]array
	Logits           array
	Logits32         array
	Loss             float64
	Gradients        map[string]array
	Losses, Norms    []float64
	Losses32         []float64
	Norms32          []float64
	Trained          map[string]array
}

type array struct {
	shape []int64
	data  []float64
}

func (a *array) UnmarshalJSON(b []byte) error {
	var stored struct {
		Shape []int64
		Data  string
	}
	if err := json.Unmarshal(b, &stored); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(stored.Data)
	a.shape, a.data = stored.Shape, make([]float64, len(raw)/8)
	for i := range a.data {
		a.data[i] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
	}
	return err
}

func (a array) bytes() []byte {
	var b []byte
	for _, v := range a.data {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

// eachGolden runs f for every architecture of testdata, inside tensor.Run.
func eachGolden(t *testing.T, f func(t *testing.T, g golden)) {
	paths, err := filepath.Glob("testdata/llama-*.json")
	if err != nil || len(paths) < 2 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := json.Unmarshal(b, &g); err != nil {
				t.Fatal(err)
			}
			run(t, func() { f(t, g) })
		})
	}
}

func (g golden) model(t *testing.T, dtype tensor.DType) *model.Model {
	t.Helper()
	c, err := model.ParseConfig("config.json", g.Config)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Load(c, dtype, tensor.CPU, func(name string) (string, []int64, []byte, error) {
		a, ok := g.Weights[name]
		if !ok {
			return "", nil, nil, fmt.Errorf("not in the golden")
		}
		return "F64", a.shape, a.bytes(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Parameters()) != len(g.Weights) {
		t.Fatalf("got %d parameters, want %d", len(m.Parameters()), len(g.Weights))
	}
	return m
}

// batch is the golden's, one example a row, padded on the right.
func (g golden) batch() (in model.Input, sources, targets []int64) {
	in = model.Input{Rows: len(g.Tokens), SeqLen: len(g.Tokens[0])}
	for r, row := range g.Tokens {
		for q, token := range row {
			in.Tokens = append(in.Tokens, token)
			in.Positions = append(in.Positions, int64(q))
			segment := int64(0)
			if q >= g.Lengths[r] {
				segment = -1
			}
			in.Segments = append(in.Segments, segment)
			in.Prefixes = append(in.Prefixes, -1)
			if q >= g.Prompts[r] && q < g.Lengths[r] {
				sources, targets = append(sources, int64(r*in.SeqLen+q-1)), append(targets, token)
			}
		}
	}
	return in, sources, targets
}

func (g golden) loss(m *model.Model) *tensor.Tensor {
	in, sources, targets := g.batch()
	return objective.SFT(m.TokenLogps(m.Hidden(in), sources, targets).TokenLogps).MulScalar(1 / float64(len(targets)))
}

func TestLogitsLossAndGradientsAreTransformers(t *testing.T) {
	eachGolden(t, func(t *testing.T, g golden) {
		for _, c := range []struct {
			dtype     tensor.DType
			logits    array
			tolerance float64
		}{{tensor.Float64, g.Logits, 1e-11}, {tensor.Float32, g.Logits32, 2e-5}} {
			m := g.model(t, c.dtype)
			in, _, _ := g.batch()
			var rows []int64
			var want []float64
			vocab := m.Config().VocabSize
			for i, s := range in.Segments {
				if s >= 0 { // what padding computes is nobody's business
					rows = append(rows, int64(i))
					want = append(want, c.logits.data[i*vocab:(i+1)*vocab]...)
				}
			}
			near(t, c.dtype.String()+" logits", m.Logits(m.Hidden(in), rows).Float64s(), want, c.tolerance)
			loss := g.loss(m)
			near(t, c.dtype.String()+" loss", []float64{loss.Item()}, []float64{g.Loss}, c.tolerance)
			loss.Backward()
			for _, p := range m.Parameters() {
				near(t, c.dtype.String()+" gradient of "+p.Name, p.Tensor.Grad().Float64s(), g.Gradients[p.Name].data, c.tolerance)
			}
		}
	})
}

func TestTenStepsAreTorchAdamW(t *testing.T) {
	eachGolden(t, func(t *testing.T, g golden) {
		for _, c := range []struct {
			dtype         tensor.DType
			losses, norms []float64
			tolerance     float64
		}{{tensor.Float64, g.Losses, g.Norms, 1e-10}, {tensor.Float32, g.Losses32, g.Norms32, 1e-5}} {
			m := g.model(t, c.dtype)
			params := m.Parameters()
			a := optim.NewAdamW(params, optim.AdamWParams{Beta1: g.AdamW.Beta1, Beta2: g.AdamW.Beta2, Epsilon: g.AdamW.Epsilon, WeightDecay: g.AdamW.Decay})
			var losses, norms []float64
			for range c.losses {
				tensor.Scoped(func() {
					loss := g.loss(m)
					loss.Backward()
					losses = append(losses, loss.Item())
					norms = append(norms, optim.ClipGradNorm(params, g.AdamW.Clip))
					a.Step(g.AdamW.Rate)
					a.ZeroGrad()
				})
			}
			near(t, c.dtype.String()+" losses", losses, c.losses, c.tolerance)
			near(t, c.dtype.String()+" norms", norms, c.norms, 10*c.tolerance)
			if c.dtype == tensor.Float64 {
				for _, p := range params {
					near(t, p.Name+" after ten steps", p.Tensor.Float64s(), g.Trained[p.Name].data, c.tolerance)
				}
			}
		}
	})
}

// run calls f inside tensor.Run and fails on its error.
func run(t testing.TB, f func()) {
	t.Helper()
	if err := tensor.Run(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// near fails unless |got - want| <= tolerance * max(1, |want|) everywhere.
func near(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d numbers, want %d", what, len(got), len(want))
	}
	for i := range got {
		if d := math.Abs(got[i] - want[i]); !(d <= tolerance*max(1, math.Abs(want[i]))) {
			t.Fatalf("%s: [%d]: got %.15g, want %.15g (off by %.2g)", what, i, got[i], want[i], d)
		}
	}
}
