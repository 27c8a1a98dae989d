package data

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
	Sequence []int64 // [n], the response it belongs to: the example i, or 2*i of pair i's chosen and 2*i+1 of its rejected

	Responses int
	Lengths   []int64 // [responses], the response tokens that count
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
		r.add(s.Tokens, 0, -1, 0)
		for k := 1; k < len(s.Tokens); k++ {
			if s.ResponseMask[k] {
				r.predict(k-1, s.Tokens[k], i)
			}
		}
	}
	return b
}

// BatchPairs lays out one pair a row: prompt, chosen, rejected as segments 0, 1, 2. The
// responses share the prompt and do not see each other, and both begin at position len(prompt),
// so that each gets the log-probabilities it would get in a row of its own.
func BatchPairs(pairs []Pair, pad int32) Batch {
	longest := 0
	for _, p := range pairs {
		longest = max(longest, p.Len())
	}
	b := newBatch(len(pairs), longest, 2*len(pairs), pad)
	for i, p := range pairs {
		r := row{batch: &b, index: i}
		r.add(p.Prompt, 0, -1, 0)
		for k, response := range [][]int32{p.Chosen, p.Rejected} {
			source := len(p.Prompt) - 1 // the prompt's last token predicts the first of both
			for n, token := range response {
				if source >= 0 { // nothing predicts the first token of all
					r.predict(source, token, 2*i+k)
				}
				source = r.used + n
			}
			r.add(response, int64(k+1), 0, len(p.Prompt))
		}
	}
	return b
}

// Len is the row's length in tokens.
func (p Pair) Len() int { return len(p.Prompt) + len(p.Chosen) + len(p.Rejected) }

// Len is the row's length in tokens.
func (s Sequence) Len() int { return len(s.Tokens) }

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
		Responses: responses, Lengths: make([]int64, responses),
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

// predict counts token, which the state at a column of this row predicts, for a response.
func (r *row) predict(column int, token int32, response int) {
	b := r.batch
	b.Sources = append(b.Sources, int64(r.index*b.SeqLen+column))
	b.Targets = append(b.Targets, int64(token))
	b.Sequence = append(b.Sequence, int64(response))
	b.Lengths[response]++
}
