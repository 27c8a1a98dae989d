package data

import (
	"math"
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

func TestBatchGroupsByHand(t *testing.T) {
	got := BatchGroups([]Group{
		{Prompt: []int32{10, 11}, Responses: [][]int32{{20}, {30, 31}, {40}}},
		{Responses: [][]int32{{50}, {60, 61}}}, // no prompt: nothing predicts the first tokens
		{Prompt: []int32{70}, Responses: [][]int32{nil, {80}}},
	}, 7)
	want := Batch{
		Rows: 3, SeqLen: 8,
		Tokens: []int64{
			10, 11, 20, 30, 31, 40, 7, 7,
			50, 60, 61, 7, 7, 7, 7, 7,
			70, 80, 7, 7, 7, 7, 7, 7,
		},
		Positions: []int64{
			0, 1, 2, 2, 3, 2, 0, 0,
			0, 0, 1, 0, 0, 0, 0, 0,
			0, 1, 0, 0, 0, 0, 0, 0,
		},
		Segments: []int64{
			0, 0, 1, 2, 2, 3, -1, -1,
			1, 2, 2, -1, -1, -1, -1, -1,
			0, 2, -1, -1, -1, -1, -1, -1,
		},
		Prefixes: []int64{
			-1, -1, 0, 0, 0, 0, -1, -1,
			0, 0, 0, -1, -1, -1, -1, -1,
			-1, 0, -1, -1, -1, -1, -1, -1,
		},
		Sources:   []int64{1, 1, 3, 1, 9, 16},
		Targets:   []int64{20, 30, 31, 40, 61, 80},
		Sequence:  []int64{0, 1, 1, 2, 4, 6},
		Responses: 7,
		Lengths:   []int64{1, 2, 1, 0, 1, 0, 1},
		Ends:      []int64{2, 4, 5, 8, 10, 16, 17},
		NumTokens: 11,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEndsOfWhatDoesNotCount(t *testing.T) {
	got := BatchSequences([]Sequence{
		{Tokens: []int32{10}, ResponseMask: []bool{true}}, // counts for nothing, but can be scored
		{Tokens: []int32{20, 21, 22}, ResponseMask: []bool{false, true, false}},
		{Tokens: []int32{30, 31}, ResponseMask: []bool{false, false}},
	}, 7)
	if want := []int64{0, 9, 17}; !slices.Equal(got.Ends, want) {
		t.Errorf("Ends = %d, want %d: of the last token that counts, of all when none does", got.Ends, want)
	}
	if got := BatchGroups([]Group{{Responses: [][]int32{nil, {10}}}}, 7); !slices.Equal(got.Ends, []int64{0, 0}) {
		t.Errorf("Ends = %d, want the row's first column for nothing at all", got.Ends)
	}
}

// context returns the tokens that a source sees, by position: what its prediction depends on.
func attended(t *testing.T, b Batch, source int64) []int32 {
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

func randomTokens(r *rand.Rand, least int) []int32 {
	s := make([]int32, least+r.IntN(6))
	for i := range s {
		s[i] = r.Int32N(100)
	}
	return s
}

// randomGroups have least to most responses, of one token or more, and may have no prompt.
func randomGroups(r *rand.Rand, least, most int) []Group {
	groups := make([]Group, 1+r.IntN(4))
	for i := range groups {
		groups[i].Prompt = randomTokens(r, 0)
		for range least + r.IntN(most-least+1) {
			groups[i].Responses = append(groups[i].Responses, randomTokens(r, 1))
		}
	}
	return groups
}

// Each response token is predicted once, from exactly the prompt and the response before it,
// and each response ends where all of it has been seen, in a shared row as in a row of its own.
func TestEachTokenIsPredictedFromItsPast(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for trial := range 400 {
		groups := randomGroups(r, 1, 4)
		if trial%2 == 0 {
			groups = randomGroups(r, 2, 2)
		}
		var seqs []Sequence
		var prompts []int // of each response, the prompt's length
		for _, g := range groups {
			for _, response := range g.Responses {
				s := Sequence{Tokens: slices.Concat(g.Prompt, response)}
				s.ResponseMask = make([]bool, len(s.Tokens))
				for k := range response {
					s.ResponseMask[len(g.Prompt)+k] = true
				}
				seqs, prompts = append(seqs, s), append(prompts, len(g.Prompt))
			}
		}
		shared, own := BatchGroups(groups, 0), BatchSequences(seqs, 0)
		if trial%2 == 0 {
			var pairs []Pair
			for _, g := range groups {
				pairs = append(pairs, Pair{Prompt: g.Prompt, Chosen: g.Responses[0], Rejected: g.Responses[1]})
			}
			shared = BatchPairs(pairs, 0)
		}
		if diff := cmp.Diff(own.Lengths, shared.Lengths); diff != "" {
			t.Fatalf("lengths (-own +shared):\n%s", diff)
		}
		for _, b := range []Batch{shared, own} {
			next := make(map[int64]int) // of each response
			for n, source := range b.Sources {
				i := b.Sequence[n]
				s := seqs[i]
				at := max(prompts[i], 1) + next[i]
				next[i]++
				if got := attended(t, b, source); !slices.Equal(got, s.Tokens[:at]) {
					t.Fatalf("token %d of response %d is predicted from %d, want %d", at, i, got, s.Tokens[:at])
				}
				if b.Targets[n] != int64(s.Tokens[at]) {
					t.Fatalf("token %d of response %d is %d, want %d", at, i, b.Targets[n], s.Tokens[at])
				}
			}
			for i, s := range seqs {
				want := len(s.Tokens) - max(prompts[i], 1)
				if next[int64(i)] != want || b.Lengths[i] != int64(want) {
					t.Fatalf("response %d has %d predictions and length %d, want %d", i, next[int64(i)], b.Lengths[i], want)
				}
				if got := attended(t, b, b.Ends[i]); !slices.Equal(got, s.Tokens) {
					t.Fatalf("response %d ends where %d is seen, want %d", i, got, s.Tokens)
				}
			}
		}
	}
}

// part is row i of a batch as a batch of its own.
func part(b Batch, i, responses, first int) Batch {
	at := func(all []int64) []int64 { return all[i*b.SeqLen : (i+1)*b.SeqLen] }
	out := Batch{
		Rows: 1, SeqLen: b.SeqLen, Tokens: at(b.Tokens), Positions: at(b.Positions), Segments: at(b.Segments), Prefixes: at(b.Prefixes),
		Responses: responses, Lengths: b.Lengths[first : first+responses],
	}
	for n, source := range b.Sources {
		if source/int64(b.SeqLen) == int64(i) {
			out.Sources = append(out.Sources, source%int64(b.SeqLen))
			out.Targets = append(out.Targets, b.Targets[n])
			out.Sequence = append(out.Sequence, b.Sequence[n]-int64(first))
		}
	}
	for _, end := range b.Ends[first : first+responses] {
		out.Ends = append(out.Ends, end-int64(i*b.SeqLen))
	}
	for _, segment := range out.Segments {
		if segment >= 0 {
			out.NumTokens++
		}
	}
	return out
}

// A group's row is the same wherever in a batch it stands.
func TestPermutingGroupsPermutesRows(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 100 {
		groups := randomGroups(r, 1, 4)
		order := r.Perm(len(groups))
		a, b := BatchGroups(groups, 7), BatchGroups(Pick(groups, order), 7)
		firsts := make([]int, len(groups)) // of each of a's groups, the first response
		for i := 1; i < len(groups); i++ {
			firsts[i] = firsts[i-1] + len(groups[i-1].Responses)
		}
		first := 0
		for row, i := range order {
			n := len(groups[i].Responses)
			if diff := cmp.Diff(part(a, i, n, firsts[i]), part(b, row, n, first)); diff != "" {
				t.Fatalf("group %d moved to row %d (-before +after):\n%s", i, row, diff)
			}
			first += n
		}
		if a.NumTokens != b.NumTokens || a.Responses != b.Responses {
			t.Fatalf("%d tokens and %d responses, then %d and %d", a.NumTokens, a.Responses, b.NumTokens, b.Responses)
		}
	}
}

func TestPackSequences(t *testing.T) {
	sequence := func(n int, first int32) (s Sequence) {
		for i := range n {
			s.Tokens, s.ResponseMask = append(s.Tokens, first+int32(i)), append(s.ResponseMask, i >= n/2)
		}
		return s
	}
	seqs := []Sequence{sequence(3, 10), sequence(10, 20), sequence(6, 40), sequence(4, 50), sequence(7, 60)}
	b, rows := PackSequences(seqs, 0), BatchSequences(seqs, 0)
	if b.Rows != 3 || b.SeqLen != rows.SeqLen || b.NumTokens != rows.NumTokens || b.Responses != rows.Responses {
		t.Errorf("got %d rows of %d with %d tokens of %d responses", b.Rows, b.SeqLen, b.NumTokens, b.Responses)
	}
	if !slices.Equal(b.Lengths, rows.Lengths) {
		t.Errorf("got response lengths %v, want %v", b.Lengths, rows.Lengths)
	}
	seen := map[int64]int{}
	for k, source := range b.Sources { // each sees its own example up to itself, and that alone
		i, n := b.Sequence[k], 0
		for n = range seqs[i].Tokens {
			if int64(seqs[i].Tokens[n]) == b.Targets[k] {
				break
			}
		}
		if got := attended(t, b, source); !slices.Equal(got, seqs[i].Tokens[:n]) || b.Positions[source] != int64(n-1) {
			t.Errorf("token %d of sequence %d is predicted at position %d from %v", n, i, b.Positions[source], got)
		}
		seen[i]++
	}
	for i, s := range seqs {
		if want := int(rows.Lengths[i]); seen[int64(i)] != want || !slices.Equal(attended(t, b, b.Ends[i]), s.Tokens) {
			t.Errorf("sequence %d: %d tokens count, want %d; its end sees %v", i, seen[int64(i)], want, attended(t, b, b.Ends[i]))
		}
	}
	if b := PackSequences(nil, 0); b.Rows != 0 {
		t.Errorf("of nothing there are %d rows", b.Rows)
	}
}

func TestPlanByWeight(t *testing.T) {
	lengths, weights := make([]int, 100), make([]float64, 100)
	for i := range lengths {
		lengths[i], weights[i] = i%7, []float64{2, 0.25, 1.5, 1}[i/25]
	}
	seen := map[int]bool{}
	for epoch := range uint64(20) {
		var times [100]int
		var of [4]int
		plan := Plan(lengths, weights, 1, 1, epoch)
		for _, batch := range plan {
			for _, i := range batch {
				times[i]++
				of[i/25]++
				seen[i] = true
			}
		}
		if of != [4]int{50, 6, 38, 25} { // 6.25 and 37.5, rounded
			t.Errorf("epoch %d: got %v of each weight", epoch, of)
		}
		for i, n := range times {
			if w := weights[i]; float64(n) < math.Floor(w) || float64(n) > math.Ceil(w) {
				t.Errorf("epoch %d: example %d of weight %g comes %d times", epoch, i, w, n)
			}
		}
	}
	if len(seen) != len(lengths) {
		t.Errorf("%d examples come in 20 epochs, want all", len(seen))
	}
	if n := len(Plan(lengths, weights, 8, 1, 3)); n != 119/8 {
		t.Errorf("%d batches, want %d", n, 119/8)
	}
	all := slices.Repeat([]float64{1}, len(lengths))
	if n := len(slices.Concat(Plan(lengths, all, 1, 1, 0)...)); n != len(lengths) {
		t.Errorf("of weight 1 there are %d examples, want %d", n, len(lengths))
	}
}

func TestPlan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	lengths := make([]int, 1003)
	for i := range lengths {
		lengths[i] = 1 + r.IntN(200)
	}
	const batchSize = 8
	plan := Plan(lengths, nil, batchSize, 1, 0)
	if diff := cmp.Diff(plan, Plan(lengths, nil, batchSize, 1, 0)); diff != "" {
		t.Error("the same seed and epoch give another plan")
	}
	for name, other := range map[string][][]int{"seed": Plan(lengths, nil, batchSize, 2, 0), "epoch": Plan(lengths, nil, batchSize, 1, 1)} {
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
	plan := Plan([]int{3, 1, 2}, nil, 8, 1, 0)
	if len(plan) != 1 || !slices.Equal(plan[0], []int{1, 2, 0}) {
		t.Errorf("got %v, want one batch of all three", plan)
	}
	if plan := Plan(nil, nil, 8, 1, 0); len(plan) != 0 {
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
