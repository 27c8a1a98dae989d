package rollout

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Options say how to sample.
type Options struct {
	MaxNewTokens int
	// Temperature 0 takes the most likely token each time.
	Temperature float64
	// TopP samples from the fewest most likely tokens with at least this probability; 0 and 1: all.
	TopP float64
	Seed uint64
	// EOS tokens end a response and belong to it.
	EOS []int32
	// Pad is what fills the rows behind shorter prompts; no token attends to it.
	Pad int32
	// Share of Shares is what this process answers, where several divide the prompts among them: every
	// Shares-th, from Share on. The responses to the others are empty. Shares 0 is all.
	Share, Shares int
}

// Response is a sampled continuation.
type Response struct {
	// Tokens end with an EOS token unless MaxNewTokens, or the end of the model's learned positions, came first.
	Tokens []int32
	// TokenLogps are the log-probabilities of Tokens under the model, at temperature 1 and over the
	// whole vocabulary, as training computes them.
	TokenLogps []float64
}

// Generate returns the tokens that continue each prompt, without the prompt. An empty prompt has an
// empty response, as there is nothing to continue.
func Generate(m *model.Model, prompts [][]int32, o Options) [][]int32 {
	out := make([][]int32, len(prompts))
	for i, r := range Sample(m, prompts, o) {
		out[i] = r.Tokens
	}
	return out
}

// Sample is Generate with log-probabilities.
func Sample(m *model.Model, prompts [][]int32, o Options) []Response {
	out := make([]Response, len(prompts))
	b := batch{options: o, vocab: m.Config().VocabSize, positions: m.Config().LearnedPositions()}
	seen := map[uint64]uint64{}
	for i, p := range prompts {
		if len(p) == 0 {
			continue
		}
		hash := hashOf(p)
		// Equal prompts of a batch differ in their number, or they would all have one response.
		number := seen[hash]
		seen[hash]++
		if i%max(o.Shares, 1) != o.Share {
			continue
		}
		b.rows = append(b.rows, row{out: &out[i], prompt: p, rand: rand.New(rand.NewPCG(o.Seed, hash+number))})
		b.width = max(b.width, len(p))
	}
	m.Whole(func() { // a meeting of all ranks, whether there is something to do for this one or not
		if len(b.rows) > 0 && o.MaxNewTokens > 0 {
			tensor.NoGrad(func() { tensor.Scoped(func() { b.run(m.Rounded()) }) })
		}
	})
	return out
}

// batch is the rows still growing. The prompts stand left-aligned in the first width slots of the
// cache; new tokens share the slots behind, whatever their row's length.
type batch struct {
	options   Options
	vocab     int
	positions int // that there are; 0 for no limit
	width     int
	rows      []row
}

type row struct {
	out    *Response
	prompt []int32
	rand   *rand.Rand
	done   bool
}

func (b *batch) run(m *model.Model) {
	cache := m.NewCache(len(b.rows), b.width+b.options.MaxNewTokens-1)
	var next []int64 // [rows]
	tensor.Scoped(func() { next = b.choose(m.Logits(b.prefill(cache))) })
	for n := 1; n < b.options.MaxNewTokens; n++ {
		if cache = b.drop(cache, &next); len(b.rows) == 0 {
			return
		}
		tensor.Scoped(func() {
			hidden := b.step(cache, n, next) // [rows, hidden]
			all := make([]int64, len(b.rows))
			for i := range all {
				all[i] = int64(i)
			}
			next = b.choose(m.Logits(hidden, all))
		})
	}
}

// prefill runs the prompts; it returns the hidden states, [rows*width, hidden], and for each row which
// of them is at the prompt's end.
func (b *batch) prefill(cache *model.Cache) (hidden *tensor.Tensor, last []int64) {
	n := len(b.rows) * b.width
	tokens, positions := make([]int64, n), make([]int64, n)
	attends := make([]bool, n*b.width)
	for i, r := range b.rows {
		for q := range b.width {
			at := i*b.width + q
			tokens[at], positions[at] = int64(b.options.Pad), int64(q)
			if q < len(r.prompt) {
				tokens[at] = int64(r.prompt[q])
			}
			for k := 0; k <= q; k++ {
				attends[at*b.width+k] = k < len(r.prompt) || k == q
			}
		}
		last = append(last, int64(i*b.width+len(r.prompt)-1))
	}
	return cache.Step(b.width, tokens, positions, attends), last
}

// step runs the n-th new token of each row and returns the hidden states, [rows, hidden].
func (b *batch) step(cache *model.Cache, n int, tokens []int64) *tensor.Tensor {
	slots := b.width + n
	positions, attends := make([]int64, len(b.rows)), make([]bool, len(b.rows)*slots)
	for i, r := range b.rows {
		positions[i] = int64(len(r.prompt) + n - 1)
		if r.done { // computed beside the others, and looked at by nobody
			positions[i] = 0
		}
		for k := range slots {
			attends[i*slots+k] = k < len(r.prompt) || k >= b.width
		}
	}
	return cache.Step(1, tokens, positions, attends)
}

// choose samples each row's next token from logits [rows, vocab] and records it.
func (b *batch) choose(logits *tensor.Tensor) []int64 {
	logProbs := logits.LogSoftmax(-1).Float32s()
	next := make([]int64, len(b.rows))
	for i := range b.rows {
		r := &b.rows[i]
		of := logProbs[i*b.vocab : (i+1)*b.vocab]
		token := pick(of, b.options.Temperature, b.options.TopP, r.rand)
		next[i] = int64(token)
		if r.done {
			continue
		}
		r.out.Tokens = append(r.out.Tokens, int32(token))
		r.out.TokenLogps = append(r.out.TokenLogps, float64(of[token]))
		full := b.positions > 0 && len(r.prompt)+len(r.out.Tokens) >= b.positions
		r.done = full || slices.Contains(b.options.EOS, int32(token))
	}
	return next
}

// drop takes finished rows out of the batch once they are half of it; until then they cost less than
// moving the others.
func (b *batch) drop(cache *model.Cache, next *[]int64) *model.Cache {
	var rows []row
	var kept, tokens []int64
	for i, r := range b.rows {
		if !r.done {
			rows, kept, tokens = append(rows, r), append(kept, int64(i)), append(tokens, (*next)[i])
		}
	}
	if 2*len(rows) > len(b.rows) {
		return cache
	}
	b.rows, *next = rows, tokens
	if len(rows) == 0 {
		return cache
	}
	return cache.Select(kept)
}

func hashOf(tokens []int32) uint64 {
	h := fnv.New64a()
	for _, t := range tokens {
		h.Write(binary.LittleEndian.AppendUint32(nil, uint32(t)))
	}
	return h.Sum64()
}
