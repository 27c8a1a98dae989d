package train

import (
	"math"
	"slices"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/data"
)

func TestSpearman(t *testing.T) {
	for name, c := range map[string]struct {
		x, y []float64
		want float64
		ok   bool
	}{
		"same order":    {[]float64{1, 2, 30}, []float64{-5, 0, 0.1}, 1, true},
		"reverse order": {[]float64{1, 2, 3, 4}, []float64{4, 3, 2, 1}, -1, true},
		// ranks 1 2.5 2.5 4 and 1 2 3 4: 4.5 / sqrt(4.5 * 5)
		"a tie":      {[]float64{1, 2, 2, 3}, []float64{1, 2, 3, 4}, 4.5 / math.Sqrt(4.5*5), true},
		"no varying": {[]float64{1, 1, 1}, []float64{1, 2, 3}, 0, false},
		"nothing":    {nil, nil, 0, false},
	} {
		if got, ok := spearman(c.x, c.y); ok != c.ok || math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s: got %g, %t, want %g, %t", name, got, ok, c.want, c.ok)
		}
	}
}

func TestRankedExamples(t *testing.T) {
	g := data.Group{Prompt: []int32{9}, Responses: [][]int32{{1}, {2, 2}, {3}, {4}}, Ranks: []float64{2, 1, 1, 3}}
	var pairs [][2]int32
	split, weights := SplitPairs([]data.Group{g, g}, []float64{1, 2})
	n := len(split) / 2
	if len(weights) != 2*n || weights[n-1] != 1 || weights[n] != 2 {
		t.Errorf("weights of %d pairs: got %v", len(split), weights)
	}
	for _, p := range split[:n] {
		if len(p.Responses) != 2 || p.Ranks[0] >= p.Ranks[1] || !slices.Equal(p.Prompt, g.Prompt) {
			t.Errorf("got the pair %+v", p)
		}
		pairs = append(pairs, [2]int32{p.Responses[0][0], p.Responses[1][0]})
	}
	if want := [][2]int32{{1, 4}, {2, 1}, {2, 4}, {3, 1}, {3, 4}}; !slices.Equal(pairs, want) {
		t.Errorf("got pairs %v, want %v", pairs, want)
	}
	if best := Best([]data.Group{g})[0]; len(best.Responses) != 1 || !slices.Equal(best.Responses[0], []int32{2, 2}) {
		t.Errorf("got %+v as the best, want the first of rank 1", best)
	}
}

// The n-th batch of the pretraining mix is the same for a run that comes to it and one that resumes there.
func TestMixIsAFunctionOfTheUpdate(t *testing.T) {
	cursor := func() ptxCursor { return ptxCursor{lengths: []int{3, 1, 2, 5, 4, 6, 7}, size: 2, seed: 5, epoch: -1} }
	straight, seen := cursor(), map[int]int{}
	for n := range 9 {
		want := slices.Clone(straight.batch(n))
		resumed := cursor()
		if got := resumed.batch(n); !slices.Equal(got, want) {
			t.Errorf("batch %d: resumed %v, straight %v", n, got, want)
		}
		for _, i := range want {
			if n < 3 {
				seen[i]++
			}
		}
	}
	for i, n := range seen {
		if n > 1 {
			t.Errorf("example %d came %d times in an epoch", i, n)
		}
	}
}

func TestMetricsAreMeansAndTotals(t *testing.T) {
	m := newMetrics(false)
	m.Mean("loss", 6, 2)
	m.Mean("loss", 0, 1)
	m.Mean("rewards/chosen", 3, 1)
	m.Mean("rewards/rejected", 2, 2)
	m.Total("num_tokens", 5)
	m.Total("num_tokens", 7)
	for name, want := range map[string]float64{"loss": 2, "rewards/margins": 2, "num_tokens": 12} {
		if got := m.Values()[name]; got != want {
			t.Errorf("%s: got %g, want %g", name, got, want)
		}
	}
}

func TestVariance(t *testing.T) {
	for want, v := range map[float64][]float64{0: {3}, 2: {1, 3}, 1: {1, 2, 3}} {
		if got := variance(v); math.Abs(got-want) > 1e-15 {
			t.Errorf("%v: got %g, want %g", v, got, want)
		}
	}
}
