package corpus

import (
	"math/rand/v2"
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

// maxDraws bounds the search for another declaration's sentence.
const maxDraws = 100

// preferences pairs the sentence of every declaration that follows the convention with one that
// does not: in one half of the pairs its own without the name, in the other half one that
// begins with another declaration's name.
func preferences(declarations []Declaration, seed uint64) []Preference {
	var following []Declaration
	for _, d := range declarations {
		if BeginsWithIdentifier(d.Prompt, d.Sentence) {
			following = append(following, d)
		}
	}
	var pairs []Preference
	for _, d := range following {
		random := rand.New(rand.NewPCG(seed, hash(0, d.Prompt)))
		rejected := ""
		if random.IntN(2) == 0 {
			if candidates := nameless(d); len(candidates) > 0 {
				rejected = candidates[random.IntN(len(candidates))]
			}
		}
		for i := 0; rejected == "" && i < maxDraws; i++ {
			if other := following[random.IntN(len(following))].Sentence; !BeginsWithIdentifier(d.Prompt, other) {
				rejected = other
			}
		}
		if rejected != "" {
			pairs = append(pairs, Preference{Prompt: d.Prompt, Chosen: response(d.Sentence), Rejected: response(rejected)})
		}
	}
	return pairs
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
