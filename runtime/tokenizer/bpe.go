package tokenizer

import (
	"container/heap"
	"strings"
	"sync"
)

// Words are encoded once and remembered: a few thousand words make up most of any text.
const (
	cacheWords    = 1 << 16 // entries, then the cache begins anew
	cacheWordSize = 64      // bytes; longer words are rarely seen twice
)

// bpe joins the bytes of a word, the merge of lowest rank first, the leftmost of equals.
type bpe struct {
	byteIDs [256]int32 // -1 for a byte that has no token
	merges  map[pair]merge
	words   map[string]int32 // by their bytes: words that are one token whatever the merges say (ignore_merges)
	unknown tokenID          // for bytes without a token; else they are dropped
	fuse    bool             // one unknown token for several bytes in a row

	mu    sync.RWMutex
	cache map[string][]int32
}

type pair struct{ left, right int32 }

type merge struct{ rank, id int32 }

// appendWord appends the ids of a word, a piece of text as the splitters cut it.
func (m *bpe) appendWord(out []int32, word string) []int32 {
	if len(word) > cacheWordSize {
		return append(out, m.encode(word)...)
	}
	m.mu.RLock()
	ids, ok := m.cache[word]
	m.mu.RUnlock()
	if !ok {
		ids = m.encode(word)
		m.mu.Lock()
		if m.cache == nil || len(m.cache) >= cacheWords {
			m.cache = make(map[string][]int32)
		}
		m.cache[strings.Clone(word)] = ids // a clone: word would keep its whole text alive
		m.mu.Unlock()
	}
	return append(out, ids...)
}

// symbol is a token of a word in the making, in a doubly linked list by index; -1 ends it.
type symbol struct {
	id         int32
	prev, next int
	gone       bool // joined into its left neighbour
}

func (m *bpe) encode(word string) []int32 {
	if id, ok := m.words[word]; ok {
		return []int32{id}
	}
	symbols := m.symbols(word)
	var queue joins
	offer := func(at int) {
		if at < 0 || symbols[at].next < 0 {
			return
		}
		if j, ok := m.merges[pair{symbols[at].id, symbols[symbols[at].next].id}]; ok {
			heap.Push(&queue, join{j, at})
		}
	}
	for i := range symbols {
		offer(i)
	}
	for len(queue) > 0 {
		j := heap.Pop(&queue).(join)
		s := &symbols[j.at]
		if s.gone || s.next < 0 {
			continue
		}
		right := &symbols[s.next]
		if now, ok := m.merges[pair{s.id, right.id}]; !ok || now != j.merge {
			continue // one of the two has been joined elsewhere since
		}
		s.id, s.next, right.gone = j.id, right.next, true
		if s.next >= 0 {
			symbols[s.next].prev = j.at
		}
		offer(s.prev)
		offer(j.at)
	}
	ids := make([]int32, 0, len(symbols))
	for i := range symbols {
		if !symbols[i].gone {
			ids = append(ids, symbols[i].id)
		}
	}
	return ids
}

// symbols returns a word's bytes as tokens.
func (m *bpe) symbols(word string) []symbol {
	symbols := make([]symbol, 0, len(word))
	unknown := false // the byte before had no token
	for i := range len(word) {
		id := m.byteIDs[word[i]]
		was := unknown
		if unknown = id < 0; unknown {
			if !m.unknown.ok || m.fuse && was {
				continue
			}
			id = m.unknown.id
		}
		n := len(symbols)
		symbols = append(symbols, symbol{id: id, prev: n - 1, next: n + 1})
	}
	if n := len(symbols); n > 0 {
		symbols[n-1].next = -1
	}
	return symbols
}

// join is a merge that can be made at a symbol and its right neighbour.
type join struct {
	merge
	at int
}

// joins is a heap: lowest rank first, then leftmost.
type joins []join

func (q joins) Len() int      { return len(q) }
func (q joins) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q joins) Less(i, j int) bool {
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return q[i].at < q[j].at
}
func (q *joins) Push(x any) { *q = append(*q, x.(join)) }
func (q *joins) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
