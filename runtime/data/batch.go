package data

import "slices"

// Batch is a rectangle of rows of tokens, with who attends to whom and which tokens count.
//
// Token q attends to token k of its row when k <= q and Segments[k] is Segments[q] or
// Prefixes[q]. Segments are numbered within a row.
type Batch struct {
	Rows, SeqLen int

	Tokens    []int64 // [rows * seqLen]
	Positions []int64 // [rows * seqLen], from 0 in each sequence; 0 for padding
	Segments  []int64 // [rows * seqLen]; -1 is padding, which attends to itself only
	Prefixes  []int64 // [rows * seqLen], the segment that is attended to besides one's own; -1 is none

	Sources  []int64 // [n], row*SeqLen + column of the hidden state that predicts ...
	Targets  []int64 // [n], ... this token id; tokens that count only
	Sequence []int64 // [n], the response it belongs to

	// Responses are numbered through the batch: sequence i is i, pair i's chosen is 2*i and its
	// rejected 2*i+1, a group's follow those of the groups before it.
	Responses int
	Lengths   []int64 // [responses], the response tokens that count
	Ends      []int64 // [responses], row*SeqLen + column of the last of them
	NumTokens int     // all but padding
}

// rowMultiple is what rows are padded to a multiple of: GPU kernels like it.
const rowMultiple = 8

// BatchSequences lays out one sequence a row.
func BatchSequences(seqs []Sequence, pad int32) Batch {
	longest := 0
	for _, s := range seqs {
		longest = max(longest, len(s.Tokens))
	}
	b := newBatch(len(seqs), longest, len(seqs), pad)
	for i, s := range seqs {
		r := row{batch: &b, index: i}
		r.sequence(s, 0, i)
	}
	return b
}

// PackSequences lays sequences out in as few rows of the longest one's length as first-fit finds, longest
// first. They do not see each other, and each begins at position 0: a token gets the log-probability that it
// gets in a row of its own.
func PackSequences(seqs []Sequence, pad int32) Batch {
	order := make([]int, len(seqs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(seqs[b].Tokens) - len(seqs[a].Tokens) })
	var rows [][]int // of sequences
	var free []int   // tokens left in each
	for _, i := range order {
		n := len(seqs[i].Tokens)
		r := slices.IndexFunc(free, func(left int) bool { return left >= n })
		if r < 0 {
			r = len(rows)
			rows, free = append(rows, nil), append(free, len(seqs[order[0]].Tokens))
		}
		rows[r], free[r] = append(rows[r], i), free[r]-n
	}
	longest := 0
	if len(order) > 0 {
		longest = len(seqs[order[0]].Tokens)
	}
	b := newBatch(len(rows), longest, len(seqs), pad)
	for k, members := range rows {
		r := row{batch: &b, index: k}
		for segment, i := range members {
			r.sequence(seqs[i], int64(segment), i)
		}
	}
	return b
}

// BatchPairs lays out one pair a row, as groups of chosen and rejected.
func BatchPairs(pairs []Pair, pad int32) Batch {
	groups := make([]Group, len(pairs))
	for i, p := range pairs {
		groups[i] = Group{Prompt: p.Prompt, Responses: [][]int32{p.Chosen, p.Rejected}}
	}
	return BatchGroups(groups, pad)
}

// BatchGroups lays out one group a row: the prompt as segment 0, response k as segment k+1. The
// responses share the prompt and do not see each other, and all begin at position len(prompt),
// so that each gets the log-probabilities and the score it would get in a row of its own. An
// empty response ends where its prompt does.
func BatchGroups(groups []Group, pad int32) Batch {
	longest, responses := 0, 0
	for _, g := range groups {
		longest = max(longest, g.Len())
		responses += len(g.Responses)
	}
	b := newBatch(len(groups), longest, responses, pad)
	first := 0 // the group's first response
	for i, g := range groups {
		r := row{batch: &b, index: i}
		r.add(g.Prompt, 0, -1, 0)
		for k, response := range g.Responses {
			source := len(g.Prompt) - 1 // the prompt's last token predicts the first of all of them
			for n, token := range response {
				if source >= 0 { // nothing predicts the first token of all
					r.predict(source, token, first+k)
				}
				source = r.used + n
			}
			r.add(response, int64(k+1), 0, len(g.Prompt))
			r.end(first+k, source)
		}
		first += len(g.Responses)
	}
	return b
}

// Len is the row's length in tokens.
func (s Sequence) Len() int { return len(s.Tokens) }

// Len is the row's length in tokens.
func (p Pair) Len() int { return len(p.Prompt) + len(p.Chosen) + len(p.Rejected) }

// Len is the row's length in tokens.
func (u Unpaired) Len() int { return len(u.Prompt) + len(u.Response) }

// Len is the row's length in tokens.
func (g Group) Len() int {
	n := len(g.Prompt)
	for _, r := range g.Responses {
		n += len(r)
	}
	return n
}

func newBatch(rows, longest, responses int, pad int32) Batch {
	seqLen := (longest + rowMultiple - 1) / rowMultiple * rowMultiple
	fill := func(v int64) []int64 {
		s := make([]int64, rows*seqLen)
		for i := range s {
			s[i] = v
		}
		return s
	}
	return Batch{
		Rows: rows, SeqLen: seqLen,
		Tokens: fill(int64(pad)), Positions: fill(0), Segments: fill(-1), Prefixes: fill(-1),
		Responses: responses, Lengths: make([]int64, responses), Ends: make([]int64, responses),
	}
}

// row writes one row of a batch.
type row struct {
	batch *Batch
	index int
	used  int // tokens written
}

// add appends a segment whose positions begin at position.
func (r *row) add(tokens []int32, segment, prefix int64, position int) {
	for i, token := range tokens {
		at := r.index*r.batch.SeqLen + r.used
		r.batch.Tokens[at] = int64(token)
		r.batch.Positions[at] = int64(position + i)
		r.batch.Segments[at] = segment
		r.batch.Prefixes[at] = prefix
		r.used++
	}
	r.batch.NumTokens += len(tokens)
}

// sequence appends a sequence as a segment of its own, response number i of the batch.
func (r *row) sequence(s Sequence, segment int64, i int) {
	first := r.used
	r.add(s.Tokens, segment, -1, 0)
	r.end(i, r.used-1)
	for k, counts := range s.ResponseMask {
		if !counts {
			continue
		}
		r.end(i, first+k)
		if k > 0 { // nothing predicts the first token of all
			r.predict(first+k-1, s.Tokens[k], i)
		}
	}
}

// predict counts token, which the state at a column of this row predicts, for a response.
func (r *row) predict(column int, token int32, response int) {
	b := r.batch
	b.Sources = append(b.Sources, int64(r.index*b.SeqLen+column))
	b.Targets = append(b.Targets, int64(token))
	b.Sequence = append(b.Sequence, int64(response))
	b.Lengths[response]++
}

// end says in which column of this row a response ends.
func (r *row) end(response, column int) {
	r.batch.Ends[response] = int64(r.index*r.batch.SeqLen + max(column, 0))
}
