package tokenizer

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// Words are encoded once and remembered: a few thousand words make up most of any text.
const (
	cacheWords    = 1 << 16 // entries, then the cache begins anew
	cacheWordSize = 64      // bytes; longer words are rarely seen twice
)

// bpe joins the symbols of a word, the merge of lowest rank first, the leftmost of equals. A symbol
// is a byte of a byte-level vocabulary, else a character.
type bpe struct {
	byteLevel bool
	byteIDs   [256]int32     // the tokens of bytes ("<0xE6>" of byte_fallback, when not byte-level); -1 for none
	runeIDs   map[rune]int32 // the tokens of characters, when not byte-level

	merges  map[pair]merge
	words   map[string]int32 // what is one token whatever the merges say (ignore_merges)
	unknown tokenID          // for symbols without a token; else they are dropped
	fuse    bool             // one unknown token for several symbols in a row

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
	prev, next int32
	end        int32 // in the word
	gone       bool  // joined into its left neighbour
}

func (m *bpe) encode(word string) []int32 {
	symbols := m.join(word)
	ids := make([]int32, 0, len(symbols))
	for i := range symbols {
		if !symbols[i].gone {
			ids = append(ids, symbols[i].id)
		}
	}
	return ids
}

// join returns the symbols of a word, of which those that are not gone are its tokens.
func (m *bpe) join(word string) []symbol {
	if id, ok := m.words[word]; ok {
		return []symbol{{id: id, end: int32(len(word))}}
	}
	symbols := m.symbols(word)
	var queue joins
	offer := func(at int32) {
		if at < 0 || symbols[at].next < 0 {
			return
		}
		if j, ok := m.merges[pair{symbols[at].id, symbols[symbols[at].next].id}]; ok {
			queue.push(join{j, at})
		}
	}
	for i := range symbols {
		offer(int32(i))
	}
	for len(queue) > 0 {
		j := queue.pop()
		s := &symbols[j.at]
		if s.gone || s.next < 0 {
			continue
		}
		right := &symbols[s.next]
		if now, ok := m.merges[pair{s.id, right.id}]; !ok || now.id != j.id {
			continue // one of the two has been joined elsewhere since
		}
		s.id, s.next, s.end, right.gone = j.id, right.next, right.end, true
		if s.next >= 0 {
			symbols[s.next].prev = j.at
		}
		offer(s.prev)
		offer(j.at)
	}
	return symbols
}

// symbols returns a word's bytes or characters as tokens.
func (m *bpe) symbols(word string) []symbol {
	symbols := make([]symbol, 0, len(word))
	add := func(id int32, end int) {
		n := int32(len(symbols))
		symbols = append(symbols, symbol{id: id, prev: n - 1, next: n + 1, end: int32(end)})
	}
	unknown := false // an unknown token is due, which what follows may join (fuse)
	known := func(id int32, from, end int) {
		if unknown {
			add(m.unknown.id, from)
			unknown = false
		}
		add(id, end)
	}
	for i := 0; i < len(word); {
		n := 1
		if m.byteLevel {
			if id := m.byteIDs[word[i]]; id >= 0 {
				known(id, i, i+1)
				i++
				continue
			}
		} else {
			var r rune
			r, n = utf8.DecodeRuneInString(word[i:])
			valid := r != utf8.RuneError || n > 1
			if id, ok := m.runeIDs[r]; ok && valid {
				known(id, i, i+n)
				i += n
				continue
			}
			if m.spellable(word[i : i+n]) {
				for k := range n { // an unknown token that is due comes after them, as in tokenizers
					add(m.byteIDs[word[i+k]], i+k+1)
				}
				i += n
				continue
			}
		}
		if m.unknown.ok {
			if unknown && !m.fuse {
				add(m.unknown.id, i)
			}
			unknown = true
		}
		i += n
	}
	if unknown {
		add(m.unknown.id, len(word))
	}
	if n := len(symbols); n > 0 {
		symbols[n-1].next = -1
	}
	return symbols
}

// spellable says that every byte of a character has a token (byte_fallback).
func (m *bpe) spellable(character string) bool {
	for i := range len(character) {
		if m.byteIDs[character[i]] < 0 {
			return false
		}
	}
	return true
}

// join is a merge that can be made at a symbol and its right neighbour.
type join struct {
	merge
	at int32
}

func (j join) before(o join) bool { return j.rank < o.rank || j.rank == o.rank && j.at < o.at }

// joins is a heap: lowest rank first, then leftmost. (container/heap would allocate each of them.)
type joins []join

func (q *joins) push(j join) {
	h := append(*q, j)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !j.before(h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = j
	*q = h
}

func (q *joins) pop() join {
	h := *q
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	*q = h
	for i := 0; len(h) > 0; {
		child := 2*i + 1
		if child < len(h)-1 && h[child+1].before(h[child]) {
			child++
		}
		if child >= len(h) || !h[child].before(last) {
			h[i] = last
			break
		}
		h[i] = h[child]
		i = child
	}
	return top
}
