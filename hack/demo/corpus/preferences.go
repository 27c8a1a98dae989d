package corpus

import (
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Preference is a prompt with a response that follows the convention and one that breaks it.
type Preference struct {
	Prompt   string `json:"prompt"`
	Chosen   string `json:"chosen"`
	Rejected string `json:"rejected"`
}

const (
	maxDraws = 100 // bounds the search for another declaration's sentence
	siblings = 500 // among which the name most like one's own is looked for
)

// preferences pairs the sentence of every declaration that follows the convention with one that
// does not: three in five have its own under a name like it, misspelt or left behind when the
// function was renamed; the others its own without the name, or another declaration's.
func preferences(declarations []Declaration, seed uint64) []Preference {
	following := followers(declarations)
	var pairs []Preference
	for _, d := range following {
		random := rand.New(rand.NewPCG(seed, hash(0, d.Prompt)))
		rejected := ""
		switch random.IntN(5) {
		case 0:
			if candidates := nameless(d); len(candidates) > 0 {
				rejected = candidates[random.IntN(len(candidates))]
			}
		case 1:
			rejected = renamed(d, following, random)
		case 2, 3:
			rejected = misspelt(d, random)
		}
		if rejected == "" {
			rejected = unrelated(d, following, random)
		}
		if rejected != "" {
			pairs = append(pairs, Preference{Prompt: d.Prompt, Chosen: response(d.Sentence), Rejected: response(rejected)})
		}
	}
	return pairs
}

// renamed is the sentence of a declaration with, for its name, the likest of some others:
// "ReadByte returns ..." for ReadBytes. It is empty when none makes a sentence that breaks the
// convention.
func renamed(d Declaration, others []Declaration, random *rand.Rand) (sentence string) {
	name, _ := identifier(d.Prompt)
	longest := -1
	for range siblings {
		other, _ := identifier(others[random.IntN(len(others))].Prompt)
		candidate := strings.Replace(d.Sentence, name, other, 1)
		if n := commonPrefix(name, other); n > longest && !BeginsWithIdentifier(d.Prompt, candidate) {
			longest, sentence = n, candidate
		}
	}
	return sentence
}

// misspelt is the sentence of a declaration with a slip in its name: a letter, or a word of a
// camel-case name, left out or written twice. It is empty for a name of one letter.
func misspelt(d Declaration, random *rand.Rand) string {
	name, _ := identifier(d.Prompt)
	parts := words(name)
	if len(parts) == 1 || random.IntN(2) == 0 {
		parts = strings.Split(name, "")
	}
	if len(parts) == 1 {
		return ""
	}
	i := random.IntN(len(parts))
	slip := slices.Delete(slices.Clone(parts), i, i+1)
	if random.IntN(2) == 0 {
		slip = slices.Insert(slices.Clone(parts), i, parts[i])
	}
	sentence := strings.Replace(d.Sentence, name, strings.Join(slip, ""), 1)
	if BeginsWithIdentifier(d.Prompt, sentence) { // the type "A" and its article, for example
		return ""
	}
	return sentence
}

// words takes a camel-case name apart: "ReadAllBytes" is "Read", "All", "Bytes".
func words(name string) (out []string) {
	begin := 0
	for i, r := range name {
		if i > begin && unicode.IsUpper(r) {
			out, begin = append(out, name[begin:i]), i
		}
	}
	return append(out, name[begin:])
}

// commonPrefix is how many bytes two names have in common at their beginning, whatever their case.
func commonPrefix(a, b string) (n int) {
	a, b = strings.ToLower(a), strings.ToLower(b)
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// nameless is the sentence of a declaration in the ways that newcomers to Go write it: "Returns
// the length.", "returns the length.", "This method returns the length.", "The method Len returns
// the length.". It is empty when the sentence does not go on with a verb.
func nameless(d Declaration) []string {
	name, isType := identifier(d.Prompt)
	rest, ok := afterIdentifier(name, isType, d.Sentence)
	first, size := utf8.DecodeRuneInString(rest)
	if !ok || !unicode.IsLower(first) || strings.HasPrefix(rest, "and ") || strings.HasPrefix(rest, "or ") {
		return nil
	}
	noun := "function"
	switch {
	case isType:
		noun = "type"
	case strings.HasPrefix(d.Prompt, "func ("):
		noun = "method"
	}
	candidates := []string{
		string(unicode.ToUpper(first)) + rest[size:],
		rest,
		"This " + noun + " " + rest,
		"The " + noun + " " + name + " " + rest,
	}
	kept := candidates[:0]
	for _, c := range candidates { // a function may be called "returns"
		if !BeginsWithIdentifier(d.Prompt, c) {
			kept = append(kept, c)
		}
	}
	return kept
}

// response is a sentence as the continuation of a prompt, which ends with the comment's mark.
func response(sentence string) string { return " " + sentence }
