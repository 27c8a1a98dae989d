package tokenizer

import "slices"

// Rendered is a text that a template rendered.
type Rendered struct {
	Text string
	// Plain are the places [from, to) of Text, in order, in which the text of a special token is text:
	// what a user wrote.
	Plain [][2]int
	// Cuts are offsets in Text, in order; with Split, no token reaches across one.
	Cuts  []int
	Split bool
}

// EncodeRendered is EncodeSpecial of a rendered text. It returns for each cut the index of the first
// token that ends after it: that of the character there, or len(ids) at the end.
func (t *Tokenizer) EncodeRendered(r Rendered) (ids []int32, at []int) {
	e := &renderedEncoder{Tokenizer: t, split: r.Split}
	cuts := places{list: r.Cuts}
	t.added.verbatim.split(r.Text, outside(r.Plain),
		func(id int32, end int) { e.token(id, end, cuts) },
		func(s string, from int) { e.text(s, from, cuts, r.Plain) })
	for range r.Cuts[len(e.at):] {
		e.at = append(e.at, len(e.ids))
	}
	return e.ids, e.at
}

func outside(plain [][2]int) where {
	return func(from, to int) bool {
		return !slices.ContainsFunc(plain, func(p [2]int) bool { return from < p[1] && to > p[0] })
	}
}

// renderedEncoder gathers tokens, and for the cuts that have been passed the token that passed them.
type renderedEncoder struct {
	*Tokenizer
	split bool
	ids   []int32
	at    []int
}

// places are the cuts from number first on, in the text that is being encoded.
type places struct {
	list  []int
	first int
}

// token takes a token that ends at end.
func (e *renderedEncoder) token(id int32, end int, cuts places) {
	for i := len(e.at) - cuts.first; i < len(cuts.list) && cuts.list[i] < end; i++ {
		e.at = append(e.at, len(e.ids))
	}
	e.ids = append(e.ids, id)
}

// within are the cuts before end that have not been passed, at their places in another text.
func (e *renderedEncoder) within(cuts places, end int, place func(int) int) places {
	in := places{first: len(e.at)}
	for _, c := range cuts.list[len(e.at)-cuts.first:] {
		if c >= end {
			break
		}
		in.list = append(in.list, place(c))
	}
	return in
}

// text takes the text between added tokens. A place in it is, in the normalized text, where its
// beginning up to there ends, normalized.
func (e *renderedEncoder) text(s string, from int, cuts places, plain [][2]int) {
	normalize := e.normalize
	if normalize == nil {
		normalize = func(s string) string { return s }
	}
	place := func(at int) int { return len(normalize(s[:min(max(at-from, 0), len(s))])) }
	cuts = e.within(cuts, from+len(s), place)
	var unspecial [][2]int
	for _, p := range plain {
		if p[0] < from+len(s) && p[1] > from {
			unspecial = append(unspecial, [2]int{place(p[0]), place(p[1])})
		}
	}
	e.added.normalized.split(normalize(s), outside(unspecial),
		func(id int32, end int) { e.token(id, end, cuts) },
		func(piece string, after int) { e.words(piece, after, from+after == 0, cuts) })
}

// words takes a normalized text. A place in it is, in all its words in a row, where the words of its
// beginning up to there end.
func (e *renderedEncoder) words(s string, from int, start bool, cuts places) {
	cuts = e.within(cuts, from+len(s), func(at int) int {
		n := 0
		split(s[:max(at-from, 0)], start, e.splitters, func(word string) { n += len(word) })
		return n
	})
	done := 0
	split(s, start, e.splitters, func(word string) {
		end := done + len(word)
		if e.split {
			for _, c := range cuts.list {
				if c > done && c < end {
					e.word(word[:c-done], done, cuts)
					word, done = word[c-done:], c
				}
			}
		}
		e.word(word, done, cuts)
		done = end
	})
}

func (e *renderedEncoder) word(word string, from int, cuts places) {
	if len(cuts.list) == 0 {
		e.ids = e.model.appendWord(e.ids, word)
		return
	}
	for _, s := range e.model.join(word) {
		if !s.gone {
			e.token(s.id, from+int(s.end), cuts)
		}
	}
}

// FindSpecial returns where the text of special tokens is, in order.
func (t *Tokenizer) FindSpecial(text string) [][2]int {
	var found [][2]int
	for _, m := range []*matcher{t.added.verbatim, t.added.normalized} {
		for i := 0; i < len(text); {
			a := m.longest(text[i:])
			switch {
			case a == nil:
				i++
				continue
			case a.Special:
				found = append(found, [2]int{i, i + len(a.Content)})
			}
			i += len(a.Content)
		}
	}
	slices.SortFunc(found, func(a, b [2]int) int { return a[0] - b[0] })
	return found
}

// Special says that an id is a special token's.
func (t *Tokenizer) Special(id int32) bool {
	return id >= 0 && int(id) < len(t.special) && t.special[id]
}

// SpecialTokens returns what tokenizer_config.json calls the special tokens: "bos_token" and so on.
func (t *Tokenizer) SpecialTokens() map[string]string { return t.named }
