package data

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBatchSequencesByHand(t *testing.T) {
	got := BatchSequences([]Sequence{
		{Tokens: []int32{10, 11, 12}, ResponseMask: []bool{false, false, true}},
		{Tokens: []int32{20, 21, 22, 23, 24, 25, 26, 27, 28}, ResponseMask: []bool{true, true, false, false, false, false, false, true, true}},
	}, 7)
	want := Batch{
		Rows: 2, SeqLen: 16,
		Tokens: []int64{
			10, 11, 12, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
			20, 21, 22, 23, 24, 25, 26, 27, 28, 7, 7, 7, 7, 7, 7, 7,
		},
		Positions: []int64{
			0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
			0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0,
		},
		Segments: []int64{
			0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
			0, 0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1,
		},
		Prefixes:  slices.Repeat([]int64{-1}, 32),
		Sources:   []int64{1, 16, 22, 23}, // the first token's mask is ignored: nothing predicts it
		Targets:   []int64{12, 21, 27, 28},
		Sequence:  []int64{0, 1, 1, 1},
		Responses: 2, Lengths: []int64{1, 3}, Ends: []int64{2, 24}, NumTokens: 12,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBatchPairsByHand(t *testing.T) {
	got := BatchPairs([]Pair{{Prompt: []int32{10, 11}, Chosen: []int32{20, 21, 22}, Rejected: []int32{30}}}, 7)
	want := Batch{
		Rows: 1, SeqLen: 8,
		Tokens:    []int64{10, 11, 20, 21, 22, 30, 7, 7},
		Positions: []int64{0, 1, 2, 3, 4, 2, 0, 0},
		Segments:  []int64{0, 0, 1, 1, 1, 2, -1, -1},
		Prefixes:  []int64{-1, -1, 0, 0, 0, 0, -1, -1},
		Sources:   []int64{1, 2, 3, 1}, // both first tokens are predicted by the prompt's last
		Targets:   []int64{20, 21, 22, 30},
		Sequence:  []int64{0, 0, 0, 1},
		Responses: 2, Lengths: []int64{3, 1}, Ends: []int64{4, 5}, NumTokens: 6,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// context returns the tokens that a source sees, by position: what its prediction depends on.
func context(t *testing.T, b Batch, source int64) []int32 {
	t.Helper()
	row := source / int64(b.SeqLen) * int64(b.SeqLen)
	var out []int32
	for k := row; k <= source; k++ {
		if b.Segments[k] != b.Segments[source] && b.Segments[k] != b.Prefixes[source] {
			continue
		}
		if b.Positions[k] != int64(len(out)) {
			t.Fatalf("column %d has position %d after %d tokens", k-row, b.Positions[k], len(out))
		}
		out = append(out, int32(b.Tokens[k]))
	}
	return out
}

// Each response token is predicted once, from exactly the prompt and the response before it,
// in a shared row as in a row of its own.
func TestEachTokenIsPredictedFromItsPast(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	tokens := func(least int) []int32 {
		s := make([]int32, least+r.IntN(6))
		for i := range s {
			s[i] = r.Int32N(100)
		}
		return s
	}
	for range 200 {
		pairs := make([]Pair, 1+r.IntN(4))
		var seqs []Sequence
		for i := range pairs {
			pairs[i] = Pair{tokens(0), tokens(1), tokens(1)}
			for _, response := range [][]int32{pairs[i].Chosen, pairs[i].Rejected} {
				s := Sequence{Tokens: slices.Concat(pairs[i].Prompt, response)}
				s.ResponseMask = make([]bool, len(s.Tokens))
				for k := range response {
					s.ResponseMask[len(pairs[i].Prompt)+k] = true
				}
				seqs = append(seqs, s)
			}
		}
		shared, own := BatchPairs(pairs, 0), BatchSequences(seqs, 0)
		if diff := cmp.Diff(own.Lengths, shared.Lengths); diff != "" {
			t.Fatalf("lengths (-own +shared):\n%s", diff)
		}
		for _, b := range []Batch{shared, own} {
			next := make(map[int64]int) // of each response
			for n, source := range b.Sources {
				s := seqs[b.Sequence[n]]
				at := max(len(pairs[b.Sequence[n]/2].Prompt), 1) + next[b.Sequence[n]]
				next[b.Sequence[n]]++
				if got := context(t, b, source); !slices.Equal(got, s.Tokens[:at]) {
					t.Fatalf("token %d of response %d is predicted from %d, want %d", at, b.Sequence[n], got, s.Tokens[:at])
				}
				if b.Targets[n] != int64(s.Tokens[at]) {
					t.Fatalf("token %d of response %d is %d, want %d", at, b.Sequence[n], b.Targets[n], s.Tokens[at])
				}
			}
			for i, s := range seqs {
				want := len(s.Tokens) - max(len(pairs[i/2].Prompt), 1)
				if next[int64(i)] != want || b.Lengths[i] != int64(want) {
					t.Fatalf("response %d has %d predictions and length %d, want %d", i, next[int64(i)], b.Lengths[i], want)
				}
			}
		}
	}
}

func TestPlan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	lengths := make([]int, 1003)
	for i := range lengths {
		lengths[i] = 1 + r.IntN(200)
	}
	const batchSize = 8
	plan := Plan(lengths, batchSize, 1, 0)
	if diff := cmp.Diff(plan, Plan(lengths, batchSize, 1, 0)); diff != "" {
		t.Error("the same seed and epoch give another plan")
	}
	for name, other := range map[string][][]int{"seed": Plan(lengths, batchSize, 2, 0), "epoch": Plan(lengths, batchSize, 1, 1)} {
		if cmp.Equal(plan, other) {
			t.Errorf("another %s gives the same plan", name)
		}
	}
	seen := make(map[int]bool)
	padded, tokens := 0, 0
	for _, batch := range plan {
		if len(batch) != batchSize {
			t.Fatalf("a batch of %d, want %d", len(batch), batchSize)
		}
		longest := 0
		for _, i := range batch {
			if seen[i] {
				t.Fatalf("example %d comes twice", i)
			}
			seen[i] = true
			longest = max(longest, lengths[i])
			tokens += lengths[i]
		}
		padded += longest * batchSize
	}
	if got, want := len(seen), 1000; got != want {
		t.Errorf("%d examples, want %d: all but the part of a batch", got, want)
	}
	if waste := float64(padded)/float64(tokens) - 1; waste > 0.1 {
		t.Errorf("%.0f %% of padding, want less than 10 %% (a third of the tokens without bucketing)", 100*waste)
	}
	if slices.IsSortedFunc(plan, func(a, b []int) int { return lengths[a[0]] - lengths[b[0]] }) {
		t.Error("the batches come in order of length")
	}
}

func TestPlanOfFew(t *testing.T) {
	plan := Plan([]int{3, 1, 2}, 8, 1, 0)
	if len(plan) != 1 || !slices.Equal(plan[0], []int{1, 2, 0}) {
		t.Errorf("got %v, want one batch of all three", plan)
	}
	if plan := Plan(nil, 8, 1, 0); len(plan) != 0 {
		t.Errorf("got %v of no examples", plan)
	}
}

func TestMicro(t *testing.T) {
	batch := []int{4, 0, 3, 1, 2}
	got := Micro(batch, []int{50, 10, 40, 20, 30}, 2)
	if diff := cmp.Diff([][]int{{1, 3}, {4, 2}, {0}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !slices.Equal(batch, []int{4, 0, 3, 1, 2}) {
		t.Error("the batch itself was sorted")
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		n        int
		fraction float64
		held     int
	}{{100, 0.1, 10}, {100, 0, 0}, {100, 0.001, 1}, {2, 0.1, 1}, {1, 0.5, 0}, {0, 0.5, 0}, {3, 1, 2}} {
		train, eval := Split(c.n, c.fraction, 1)
		if len(eval) != c.held || len(train) != c.n-c.held {
			t.Errorf("Split(%d, %g) = %d and %d, want %d held out", c.n, c.fraction, len(train), len(eval), c.held)
		}
		all := slices.Concat(train, eval)
		slices.Sort(all)
		for i, v := range all {
			if i != v {
				t.Fatalf("Split(%d, %g) is no partition: %v", c.n, c.fraction, all)
			}
		}
		if !slices.IsSorted(train) || !slices.IsSorted(eval) {
			t.Errorf("Split(%d, %g) is not in order", c.n, c.fraction)
		}
	}
	_, a := Split(100, 0.1, 1)
	_, b := Split(100, 0.1, 2)
	if slices.Equal(a, b) {
		t.Error("another seed holds out the same examples")
	}
}
