package tokenizer

import (
	"cmp"
	"container/heap"
	"fmt"
	"iter"
	"slices"
)

// The special tokens of the tokenizers that this project trains. They have no BOS token.
const (
	EndOfText = "<|endoftext|>" // EOS
	Padding   = "<|pad|>"       // not EOS: padding must never look like an end
)

// Train makes a byte-level BPE tokenizer from texts: GPT-2's pre-tokenizer, the special tokens
// first, then the 256 bytes, then the merges of the most frequent pair (Sennrich et al. 2016,
// arXiv:1508.07909), the smaller ids first among equals, as Hugging Face's BpeTrainer does it
// with min_frequency 0. The first of special is EOS, the second, if any, the padding.
//
// The result depends on the texts only, not on their order. It has vocabSize tokens, or fewer
// when every word of the texts is one token before.
func Train(texts iter.Seq[string], vocabSize int, special []string) (*Tokenizer, error) {
	if len(special) == 0 {
		return nil, fmt.Errorf("train tokenizer: no special tokens: the first one is EOS")
	}
	if least := len(special) + len(byteRunes); vocabSize < least || vocabSize > maxVocabSize {
		return nil, fmt.Errorf("train tokenizer: vocabulary size %d, want %d to %d", vocabSize, least, maxVocabSize)
	}
	tr := newTrainer(texts, special)
	for tr.size() < vocabSize && tr.step() {
	}
	f, err := tr.files(special)
	if err != nil {
		return nil, fmt.Errorf("train tokenizer: %w", err)
	}
	t, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("train tokenizer: %w", err)
	}
	return t, nil
}

// trainer keeps the count of each pair up to date, so that a merge touches only its words.
type trainer struct {
	words  []word
	counts map[pair]int
	where  map[pair][]int32 // words that have, or had, the pair
	queue  candidates       // counts may be out of date: step looks

	tokens []string // by id
	ids    map[string]int32
	merges []mergeJSON
	merged map[pair]bool
}

// word is a distinct word of the texts, as the tokens it is made of so far.
type word struct {
	ids   []int32
	count int
}

func newTrainer(texts iter.Seq[string], special []string) *trainer {
	t := &trainer{counts: make(map[pair]int), where: make(map[pair][]int32), ids: make(map[string]int32), merged: make(map[pair]bool)}
	for _, s := range special {
		t.token(s)
	}
	alphabet := byteRunes
	slices.Sort(alphabet[:])
	for _, r := range alphabet {
		t.token(string(r))
	}
	var bytes [256]int32
	for b, r := range byteRunes {
		bytes[b] = t.ids[string(r)]
	}

	index := make(map[string]int)
	splitter := scan(gpt2Piece)
	for text := range texts {
		splitter(text, true, func(s string, _ bool) {
			i, ok := index[s]
			if !ok {
				i = len(t.words)
				index[s] = i
				ids := make([]int32, len(s))
				for k := range ids {
					ids[k] = bytes[s[k]]
				}
				t.words = append(t.words, word{ids: ids})
			}
			t.words[i].count++
		})
	}
	for i, w := range t.words {
		for k := 1; k < len(w.ids); k++ {
			t.change(pair{w.ids[k-1], w.ids[k]}, int32(i), w.count)
		}
	}
	for p, n := range t.counts {
		t.queue = append(t.queue, candidate{p, n})
	}
	heap.Init(&t.queue)
	return t
}

func (t *trainer) size() int { return len(t.tokens) }

// token returns the id of a token, a new one if need be.
func (t *trainer) token(s string) int32 {
	id, ok := t.ids[s]
	if !ok {
		id = int32(len(t.tokens))
		t.tokens = append(t.tokens, s)
		t.ids[s] = id
	}
	return id
}

// change adds by to the count of a pair in word i.
func (t *trainer) change(p pair, i int32, by int) {
	t.counts[p] += by
	if by > 0 {
		if list := t.where[p]; len(list) == 0 || list[len(list)-1] != i {
			t.where[p] = append(list, i)
		}
	}
}

// step merges the most frequent pair; false when none is left.
func (t *trainer) step() bool {
	var best candidate
	for {
		if len(t.queue) == 0 {
			return false
		}
		best = heap.Pop(&t.queue).(candidate)
		if now := t.counts[best.pair]; now == best.count {
			break
		} else if now > 0 {
			heap.Push(&t.queue, candidate{best.pair, now})
		}
	}
	left, right := t.tokens[best.left], t.tokens[best.right]
	id := t.token(left + right) // another pair may have spelled it before
	if !t.merged[best.pair] {   // it can come back, when another pair spells one of its tokens
		t.merged[best.pair] = true
		t.merges = append(t.merges, mergeJSON{left, right})
	}
	grown := make(map[pair]bool)
	for _, i := range t.where[best.pair] {
		t.join(i, best.pair, id, grown)
	}
	delete(t.counts, best.pair)
	delete(t.where, best.pair)
	for p := range grown {
		if n := t.counts[p]; n > 0 {
			heap.Push(&t.queue, candidate{p, n})
		}
	}
	return true
}

// join replaces p by id in word i and records the pairs that become more frequent.
func (t *trainer) join(i int32, p pair, id int32, grown map[pair]bool) {
	w := &t.words[i]
	add := func(q pair, by int) {
		t.change(q, i, by)
		if by > 0 {
			grown[q] = true
		}
	}
	out := w.ids[:0] // never ahead of the reading
	for k := 0; k < len(w.ids); {
		if k+1 == len(w.ids) || w.ids[k] != p.left || w.ids[k+1] != p.right {
			out = append(out, w.ids[k])
			k++
			continue
		}
		if n := len(out); n > 0 {
			add(pair{out[n-1], p.left}, -w.count)
			add(pair{out[n-1], id}, w.count)
		}
		if k+2 < len(w.ids) {
			add(pair{p.right, w.ids[k+2]}, -w.count)
			add(pair{id, w.ids[k+2]}, w.count)
		}
		out = append(out, id)
		k += 2
	}
	w.ids = out
}

// candidate is a pair and how often it occurred when it was queued.
type candidate struct {
	pair
	count int
}

// candidates is a heap: most frequent first, then smallest ids.
type candidates []candidate

func (q candidates) Len() int      { return len(q) }
func (q candidates) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q candidates) Less(i, j int) bool {
	a, b := q[i], q[j]
	return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.left, b.left), cmp.Compare(a.right, b.right)) < 0
}
func (q *candidates) Push(x any) { *q = append(*q, x.(candidate)) }
func (q *candidates) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// files writes the tokenizer as Hugging Face's libraries do.
func (t *trainer) files(special []string) (files, error) {
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	added := make([]addedToken, len(special))
	for i, s := range special {
		added[i] = addedToken{ID: int64(i), Content: s, Special: true}
	}
	vocabulary, err := marshal(map[string]any{
		"version":        "1.0",
		"truncation":     nil,
		"padding":        nil,
		"added_tokens":   added,
		"normalizer":     nil,
		"pre_tokenizer":  byteLevel,
		"post_processor": byteLevel,
		"decoder":        byteLevel,
		"model": map[string]any{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": t.ids, "merges": t.merges,
		},
	})
	if err != nil {
		return files{}, err
	}
	config := map[string]any{
		"tokenizer_class":              "PreTrainedTokenizerFast",
		"add_prefix_space":             false,
		"clean_up_tokenization_spaces": false, // decoded text is the text, spaces before commas too
		"eos_token":                    special[0],
	}
	if len(special) > 1 {
		config["pad_token"] = special[1]
	}
	b, err := marshal(config)
	return files{vocabulary: vocabulary, config: b}, err
}
