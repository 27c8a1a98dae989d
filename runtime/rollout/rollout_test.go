package rollout_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/rollout"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

var tiny = model.Config{
	VocabSize: 19, HiddenSize: 16, IntermediateSize: 24, NumHiddenLayers: 2, NumAttentionHeads: 4, NumKeyValueHeads: 2,
	HeadDim: 4, RMSNormEps: 1e-6, RopeTheta: 1000, MaxPositionEmbeddings: 64, TieWordEmbeddings: true, InitializerRange: 0.3,
}

var prompts = [][]int32{{3, 1, 4, 1, 5, 9, 2}, {6}, {}, {5, 3, 5}, {6}, {8, 9, 7, 9}}

func with(t *testing.T, f func(m *model.Model)) {
	t.Helper()
	err := tensor.Run(func() error {
		m, err := model.New(tiny, tensor.Float32, tensor.CPU, 3)
		if err == nil {
			f(m)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// logProbs of every token after prompt + response so far, by a plain forward without a cache.
func logProbs(m *model.Model, tokens []int32) []float64 {
	in := model.Input{Rows: 1, SeqLen: len(tokens)}
	for i, token := range tokens {
		in.Tokens, in.Positions = append(in.Tokens, int64(token)), append(in.Positions, int64(i))
		in.Segments, in.Prefixes = append(in.Segments, 0), append(in.Prefixes, -1)
	}
	return m.Logits(m.Hidden(in), []int64{int64(len(tokens) - 1)}).LogSoftmax(-1).Float64s()
}

func TestLogpsAreThoseOfTheForward(t *testing.T) {
	with(t, func(m *model.Model) {
		before, _ := tensor.Live()
		// Token 7 ends rows at different times, so that the batch shrinks on the way.
		responses := rollout.Sample(m, prompts, rollout.Options{MaxNewTokens: 12, Temperature: 1.3, Seed: 5, EOS: []int32{7, 11}})
		if after, _ := tensor.Live(); after != before {
			t.Errorf("sampling left %d tensors", after-before)
		}
		lengths := map[int]bool{}
		for i, r := range responses {
			lengths[len(r.Tokens)] = true
			for j, token := range r.Tokens {
				want := logProbs(m, slices.Concat(prompts[i], r.Tokens[:j]))[token]
				if d := math.Abs(r.TokenLogps[j] - want); d > 1e-5 {
					t.Errorf("prompt %d, token %d: got logp %g, the forward says %g", i, j, r.TokenLogps[j], want)
				}
				if ends := token == 7 || token == 11; ends != (j == len(r.Tokens)-1) && len(r.Tokens) < 12 {
					t.Errorf("prompt %d: response %v doesn't end with its first EOS", i, r.Tokens)
				}
			}
		}
		if len(responses[2].Tokens) != 0 {
			t.Errorf("an empty prompt has the response %v", responses[2].Tokens)
		}
		if len(lengths) < 4 {
			t.Errorf("lengths %v: too alike to test a shrinking batch", lengths)
		}
	})
}

// Every family's cache computes what its forward does: windows, learned and scaled positions, fused projections.
func TestFamiliesLogpsAreThoseOfTheForward(t *testing.T) {
	paths, err := filepath.Glob("../model/testdata/families/*/config.json")
	if err != nil || len(paths) < 20 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path))
		if strings.HasSuffix(name, "-score") || name == "llama-dynamic" || name == "llama-longrope" {
			continue // no language model; frequencies that change with the length
		}
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := model.ParseConfig(path, b)
			if err != nil {
				t.Fatal(err)
			}
			c.InitializerRange = 0.3
			err = tensor.Run(func() error {
				m, err := model.New(c, tensor.Float64, tensor.CPU, 3)
				if err != nil {
					return err
				}
				n := 0
				for i, r := range rollout.Sample(m, prompts, rollout.Options{MaxNewTokens: 12, Temperature: 1.3, Seed: 5, EOS: []int32{7}}) {
					for j, token := range r.Tokens {
						want := logProbs(m, slices.Concat(prompts[i], r.Tokens[:j]))[token]
						if d := math.Abs(r.TokenLogps[j] - want); d > 1e-6 { // a sampler's are float32
							t.Errorf("prompt %d, token %d: got logp %g, the forward says %g", i, j, r.TokenLogps[j], want)
						}
						n++
					}
				}
				if n < 20 {
					t.Errorf("%d tokens sampled", n)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestResponsesEndWithLearnedPositions(t *testing.T) {
	c := model.Config{
		ModelType: "gpt2", VocabSize: 19, HiddenSize: 16, IntermediateSize: 24, NumHiddenLayers: 1, NumAttentionHeads: 2, NumKeyValueHeads: 2,
		HeadDim: 8, RMSNormEps: 1e-5, MaxPositionEmbeddings: 9, TieWordEmbeddings: true, InitializerRange: 0.3,
	}
	err := tensor.Run(func() error {
		m, err := model.New(c, tensor.Float32, tensor.CPU, 3)
		if err != nil {
			return err
		}
		for i, r := range rollout.Generate(m, prompts, rollout.Options{MaxNewTokens: 30, Temperature: 1}) {
			if len(prompts[i]) > 0 && len(prompts[i])+len(r) != 9 {
				t.Errorf("prompt %d of %d tokens: got %d more, want 9 together", i, len(prompts[i]), len(r))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGreedyTakesTheMostLikely(t *testing.T) {
	with(t, func(m *model.Model) {
		for i, r := range rollout.Generate(m, prompts, rollout.Options{MaxNewTokens: 6}) {
			if len(prompts[i]) > 0 && len(r) != 6 {
				t.Fatalf("prompt %d: got %d tokens, want 6", i, len(r))
			}
			for j, token := range r {
				l := logProbs(m, slices.Concat(prompts[i], r[:j]))
				if l[token] < slices.Max(l)-1e-5 {
					t.Errorf("prompt %d, token %d: %d has logp %g, the best %g", i, j, token, l[token], slices.Max(l))
				}
			}
		}
	})
}

func TestAResponseDependsOnItsPromptAndSeedAlone(t *testing.T) {
	with(t, func(m *model.Model) {
		o := rollout.Options{MaxNewTokens: 10, Temperature: 1, TopP: 0.9, Seed: 11, EOS: []int32{7}}
		all := rollout.Generate(m, prompts, o)
		for i, p := range prompts[:4] {
			if alone := rollout.Generate(m, [][]int32{p}, o)[0]; !slices.Equal(alone, all[i]) {
				t.Errorf("prompt %d: %v alone, %v in a batch", i, alone, all[i])
			}
		}
		if slices.Equal(all[1], all[4]) {
			t.Errorf("two samples of one prompt are both %v", all[1])
		}
		o.Seed = 12
		if other := rollout.Generate(m, prompts[:1], o)[0]; slices.Equal(other, all[0]) {
			t.Errorf("two seeds both give %v", other)
		}
	})
}

func TestSamplesFollowTheDistribution(t *testing.T) {
	with(t, func(m *model.Model) {
		const n = 6000
		many := make([][]int32, n)
		for i := range many {
			many[i] = []int32{5, 3, 5}
		}
		l := logProbs(m, many[0])
		for _, c := range []struct{ temperature, topP float64 }{{1, 0}, {0.5, 1}, {1, 0.6}} {
			weights, order := make([]float64, len(l)), make([]int, len(l))
			var total, kept float64
			for i := range l {
				order[i] = i
				weights[i] = math.Exp(l[i] / c.temperature)
				total += weights[i]
			}
			slices.SortFunc(order, func(a, b int) int { return int(math.Copysign(1, l[b]-l[a])) })
			for _, i := range order {
				if c.topP > 0 && kept >= c.topP*total {
					weights[i] = 0
				}
				kept += weights[i]
			}
			counts := make([]float64, len(l))
			for _, r := range rollout.Generate(m, many, rollout.Options{MaxNewTokens: 1, Temperature: c.temperature, TopP: c.topP, Seed: 1}) {
				counts[r[0]]++
			}
			for token, w := range weights {
				p := w / kept
				if slack := 5*math.Sqrt(p*(1-p)/n) + 1e-9; math.Abs(counts[token]/n-p) > slack {
					t.Errorf("temperature %g, top-p %g: token %d in %.4f of the samples, want %.4f +- %.4f", c.temperature, c.topP, token, counts[token]/n, p, slack)
				}
			}
		}
	})
}

func TestNothingToGenerate(t *testing.T) {
	with(t, func(m *model.Model) {
		for _, r := range rollout.Generate(m, prompts, rollout.Options{}) {
			if len(r) != 0 {
				t.Errorf("MaxNewTokens 0: got %v", r)
			}
		}
		if r := rollout.Generate(m, nil, rollout.Options{MaxNewTokens: 3}); len(r) != 0 {
			t.Errorf("no prompts: got %v", r)
		}
	})
}
