package model_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tensor/gradcheck"
)

// scorer is newModel with a score head far from its initialisation.
func scorer(t testing.TB, c model.Config, dtype tensor.DType) *model.Model {
	t.Helper()
	m := newModel(t, c, dtype).WithScore(3)
	tensor.NoGrad(func() { parameter(t, m, "score.weight").MulScalarInPlace(8) })
	return m
}

func parameter(t testing.TB, m *model.Model, name string) *tensor.Tensor {
	t.Helper()
	i := slices.IndexFunc(m.Parameters(), func(p model.Parameter) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no parameter %s", name)
	}
	return m.Parameters()[i].Tensor
}

func tied(c model.Config) model.Config {
	c.TieWordEmbeddings = true
	return c
}

func TestScoreConfigAndBack(t *testing.T) {
	score := map[string]any{"architectures": []string{"LlamaForSequenceClassification"}, "id2label": map[string]string{"0": "LABEL_0"}}
	for _, shift := range []float64{0, 1.0 / 3, -math.Pi, math.Nextafter(1, 2), 5e-324, math.MaxFloat64} {
		score["reward_shift"] = shift
		c, err := parse(t, score)
		if err != nil || !c.HasScore() || c.RewardShift != shift {
			t.Fatalf("shift %g: got %+v, %v", shift, c, err)
		}
		again, err := model.ParseConfig("config.json", c.JSON())
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("written and read again: %v\ngot  %+v\nwant %+v", err, again, c)
		}
	}
	delete(score, "id2label")
	score["num_labels"] = 1
	if c, err := parse(t, score); err != nil || !c.HasScore() {
		t.Errorf("num_labels 1: got %+v, %v", c, err)
	}
	for field, change := range map[string]map[string]any{
		"num_labels":    {"architectures": score["architectures"]}, // two, by default
		"architectures": {"architectures": []string{"LlamaForCausalLM", "LlamaForSequenceClassification"}},
	} {
		if _, err := parse(t, change); !errors.Is(err, model.ErrConfig) || !strings.Contains(err.Error(), "base/config.json: "+field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestWithScoreReplacesTheHead(t *testing.T) {
	for _, c := range []model.Config{tiny, tied(tiny)} {
		run(t, func() {
			m := newModel(t, c, tensor.Float64)
			in := rowsOf(alone(tokens(6, 2)))
			want := m.Hidden(in)
			before, _ := tensor.Live()
			s := m.WithScore(3)
			if after, _ := tensor.Live(); !c.TieWordEmbeddings && after != before || c.TieWordEmbeddings && after != before+1 {
				t.Errorf("live tensors: %d before, %d after", before, after)
			}
			near(t, "states", s.Hidden(in).Float64s(), want.Float64s(), 0)
			if !s.HasScore() || !s.Config().HasScore() || s.Config().NumParameters() != int64(count(s)) {
				t.Errorf("config says a score head: %t, and %d parameters of %d", s.Config().HasScore(), s.Config().NumParameters(), count(s))
			}
			for _, p := range s.Parameters() {
				if p.Name == "lm_head.weight" || !p.Tensor.NeedsGrad() {
					t.Errorf("%s: left, or without gradient", p.Name)
				}
			}
			fresh, err := model.New(s.Config(), tensor.Float64, tensor.CPU, 3)
			if err != nil {
				t.Fatal(err)
			}
			head := parameter(t, s, "score.weight").Float64s()
			near(t, "New's head", parameter(t, fresh, "score.weight").Float64s(), head, 0)

			// A second time, as for a value model that begins as a reward model but for the head.
			s.SetRewardShift(2)
			again := s.Clone().WithScore(4)
			if again.Config().RewardShift != 0 || slices.Equal(parameter(t, again, "score.weight").Float64s(), head) {
				t.Errorf("shift %g, head %v: not new", again.Config().RewardShift, head)
			}
			if s.Config().RewardShift != 2 || s.Clone().Config().RewardShift != 2 {
				t.Error("the original or a clone lost its shift")
			}
		})
	}
}

func TestNewScoresAreNearZero(t *testing.T) {
	run(t, func() {
		c := tiny
		c.HiddenSize = 256
		s := newModel(t, c, tensor.Float64).WithScore(3)
		var square float64
		for _, v := range parameter(t, s, "score.weight").Float64s() {
			square += v * v
		}
		if got, want := math.Sqrt(square/256), 1.0/257; math.Abs(got-want) > 0.15*want {
			t.Errorf("standard deviation of the head: got %g, want near %g", got, want)
		}
		scores := s.Scores(s.Hidden(rowsOf(alone(tokens(6, 2)))), []int64{0, 1, 2, 3, 4, 5})
		if most := scores.Abs().Max().Item(); most > 4.0/16 { // 4 standard deviations of 1/sqrt(256)
			t.Errorf("got a score of %g", most)
		}
	})
}

func TestScoresAreTheHeadOfTheirRowsAndTheShift(t *testing.T) {
	run(t, func() {
		s := scorer(t, tiny, tensor.Float64)
		in := rowsOf(alone(tokens(5, 2)), alone(tokens(5, 8)))
		hidden := s.Hidden(in)
		states, weight := hidden.Float64s(), parameter(t, s, "score.weight").Float64s()
		at := []int64{9, 0, 4, 4}
		want := make([]float64, len(at))
		for i, row := range at {
			for j, w := range weight {
				want[i] += states[int(row)*len(weight)+j] * w
			}
		}
		near(t, "scores", s.Scores(hidden, at).Float64s(), want, 1e-12)
		s.SetRewardShift(-1.0 / 3)
		for i := range want {
			want[i] -= 1.0 / 3
		}
		near(t, "shifted scores", s.Scores(hidden, at).Float64s(), want, 1e-12)
		if none := s.Scores(hidden, nil); !slices.Equal(none.Shape(), []int64{0}) {
			t.Errorf("of no tokens: got %v", none)
		}
	})
}

func TestNarrowScoresAreFloat32(t *testing.T) {
	run(t, func() {
		wide, narrow := scorer(t, tiny, tensor.Float32), scorer(t, tiny, tensor.BFloat16)
		in, at := rowsOf(alone(tokens(6, 2))), []int64{2, 5}
		got := narrow.Scores(narrow.Hidden(in), at)
		if got.DType() != tensor.Float32 {
			t.Errorf("got %v", got.DType())
		}
		near(t, "bfloat16 scores", got.Float64s(), wide.Scores(wide.Hidden(in), at).Float64s(), 0.1)
		got.Sum().Backward()
		if parameter(t, narrow, "score.weight").Grad() == nil {
			t.Error("no gradient of the head")
		}
	})
}

func TestScoreGradientsAreFiniteDifferences(t *testing.T) {
	run(t, func() {
		c := tiny
		c.NumHiddenLayers, c.VocabSize = 1, 11
		s := scorer(t, c, tensor.Float64)
		s.SetRewardShift(0.7)
		in := rowsOf(alone([]int64{1, 4, 9, 2}), append(alone([]int64{7, 3, 10}), padding(1)))
		score := func() *tensor.Tensor { return s.Scores(s.Hidden(in), []int64{3, 6, 1}) }
		// The derivative along a direction of all parameters at once, and of the head alone.
		for _, only := range []string{"", "score.weight"} {
			params := s.Parameters()
			score().Mul(tensor.FromFloat64([]float64{1, -2, 0.5}, 3)).Sum().Backward()
			var slope float64
			directions := make([]*tensor.Tensor, len(params))
			for i, p := range params {
				directions[i] = tensor.ZerosLike(p.Tensor.Detach())
				if only == "" || only == p.Name {
					directions[i] = tensor.FromFloat64(wave(p.Tensor.NumElements(), i), p.Tensor.Shape()...)
				}
				slope += p.Tensor.Grad().Mul(directions[i]).Sum().Item()
				p.Tensor.ZeroGrad()
			}
			at := func(step float64) (v float64) {
				tensor.NoGrad(func() {
					for i, p := range params {
						p.Tensor.AddInPlace(directions[i], step)
					}
					v = score().Mul(tensor.FromFloat64([]float64{1, -2, 0.5}, 3)).Sum().Item()
					for i, p := range params {
						p.Tensor.AddInPlace(directions[i], -step)
					}
				})
				return v
			}
			const step = 1e-5
			near(t, "slope along "+only, []float64{slope}, []float64{(at(step) - at(-step)) / (2 * step)}, 1e-7)
		}
		// And of the states.
		hidden := s.Hidden(in).Detach()
		if err := gradcheck.Check(func(in []*tensor.Tensor) *tensor.Tensor { return s.Scores(in[0], []int64{3, 6, 1}) }, hidden); err != nil {
			t.Error(err)
		}
	})
}

// wave is n numbers without symmetry.
func wave(n int64, phase int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.Cos(float64(3*i + phase))
	}
	return out
}

func TestLayoutOfRowsChangesNoScore(t *testing.T) {
	prompt, chosen, rejected := tokens(4, 1), tokens(5, 9), tokens(3, 14)
	run(t, func() {
		s := scorer(t, tiny, tensor.Float64)
		var want []float64
		for _, response := range [][]int64{chosen, rejected} {
			at := []int64{int64(len(prompt) + len(response) - 1)}
			want = append(want, s.Scores(s.Hidden(rowsOf(alone(prompt, response))), at).Item())
		}
		if math.Abs(want[0]-want[1]) < 1e-3 {
			t.Fatalf("scores %v: too close to tell", want)
		}
		for name, c := range map[string]struct {
			in model.Input
			at []int64 // last tokens of chosen and rejected
		}{
			"padding": {rowsOf(append(alone(prompt, chosen), padding(2)), append(alone(prompt, rejected), padding(4))), []int64{8, 17}},
			"padding on the left": {
				rowsOf(append([]segment{padding(1)}, alone(prompt, chosen)...), append([]segment{padding(3)}, alone(prompt, rejected)...)),
				[]int64{9, 19},
			},
			"packed in one row": {
				rowsOf([]segment{
					{tokens: slices.Concat(prompt, rejected), id: 0, prefix: -1},
					{tokens: slices.Concat(prompt, chosen), id: 1, prefix: -1},
				}),
				[]int64{15, 6},
			},
			"a shared prompt": {
				rowsOf([]segment{
					{tokens: prompt, id: 0, prefix: -1},
					{tokens: chosen, id: 1, prefix: 0, positions: 4},
					{tokens: rejected, id: 2, prefix: 0, positions: 4},
					padding(2),
				}),
				[]int64{8, 11},
			},
		} {
			near(t, name, s.Scores(s.Hidden(c.in), c.at).Float64s(), want, 1e-12)
		}
	})
}

func TestSavedScoreModelLoads(t *testing.T) {
	for dtype, name := range map[tensor.DType]string{tensor.Float64: "F64", tensor.Float32: "F32", tensor.BFloat16: "BF16"} {
		run(t, func() {
			s := scorer(t, tied(tiny), dtype)
			s.SetRewardShift(0.1)
			c, err := model.ParseConfig("config.json", s.Config().JSON())
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := model.Load(c, dtype, tensor.CPU, stored(s, name))
			if err != nil {
				t.Fatal(err)
			}
			in, at := rowsOf(alone(tokens(6, 2))), []int64{3, 5}
			near(t, name, loaded.Scores(loaded.Hidden(in), at).Float64s(), s.Scores(s.Hidden(in), at).Float64s(), 0)
		})
	}
}

func TestTheWrongHeadPanics(t *testing.T) {
	for name, f := range map[string]func(policy, score *model.Model, hidden *tensor.Tensor){
		"scores of a policy":      func(policy, _ *model.Model, hidden *tensor.Tensor) { policy.Scores(hidden, []int64{0}) },
		"shift of a policy":       func(policy, _ *model.Model, _ *tensor.Tensor) { policy.SetRewardShift(1) },
		"NaN":                     func(_, score *model.Model, _ *tensor.Tensor) { score.SetRewardShift(math.NaN()) },
		"logits of a score model": func(_, score *model.Model, hidden *tensor.Tensor) { score.Logits(hidden, []int64{0}) },
		"logps of a score model":  func(_, score *model.Model, hidden *tensor.Tensor) { score.TokenLogps(hidden, []int64{0}, []int64{1}) },
	} {
		err := tensor.Run(func() error {
			policy, score := newModel(t, tied(tiny), tensor.Float32), scorer(t, tied(tiny), tensor.Float32)
			f(policy, score, policy.Hidden(rowsOf(alone(tokens(3, 1)))))
			return nil
		})
		var e *tensor.Error
		if !errors.As(err, &e) || !strings.HasPrefix(e.Op, "model.") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
