package corpus

import "math/rand/v2"

// Ranking is a prompt with several responses, of which smaller ranks are better and equal ones a tie.
type Ranking struct {
	Prompt    string   `json:"prompt"`
	Responses []string `json:"responses"`
	Ranks     []int    `json:"ranks"`
}

// The ranks of a Ranking's responses.
const (
	rankRight     = 1 // begins with the declaration's name
	rankNearMiss  = 2 // its own sentence, misspelt, under another's name or without one
	rankUnrelated = 3 // another declaration's sentence
)

// rankings ranks, for every declaration that follows the convention, its sentence, up to three near
// misses of it and another declaration's sentence.
func rankings(declarations []Declaration, seed uint64) (out []Ranking) {
	following := followers(declarations)
	for _, d := range following {
		random := rand.New(rand.NewPCG(seed, hash(1, d.Prompt)))
		r := Ranking{Prompt: d.Prompt}
		add := func(sentence string, rank int) {
			if sentence != "" {
				r.Responses, r.Ranks = append(r.Responses, response(sentence)), append(r.Ranks, rank)
			}
		}
		add(misspelt(d, random), rankNearMiss)
		add(renamed(d, following, random), rankNearMiss)
		if candidates := nameless(d); len(candidates) > 0 {
			add(candidates[random.IntN(len(candidates))], rankNearMiss)
		}
		add(unrelated(d, following, random), rankUnrelated)
		if len(r.Ranks) == 0 {
			continue
		}
		add(d.Sentence, rankRight)
		random.Shuffle(len(r.Ranks), func(i, j int) { // a model could learn the place
			r.Responses[i], r.Responses[j] = r.Responses[j], r.Responses[i]
			r.Ranks[i], r.Ranks[j] = r.Ranks[j], r.Ranks[i]
		})
		out = append(out, r)
	}
	return out
}

// followers are the declarations whose sentence begins with their name.
func followers(declarations []Declaration) (out []Declaration) {
	for _, d := range declarations {
		if BeginsWithIdentifier(d.Prompt, d.Sentence) {
			out = append(out, d)
		}
	}
	return out
}

// unrelated is another declaration's sentence; empty when none is found that breaks the convention.
func unrelated(d Declaration, others []Declaration, random *rand.Rand) string {
	for range maxDraws {
		if other := others[random.IntN(len(others))].Sentence; !BeginsWithIdentifier(d.Prompt, other) {
			return other
		}
	}
	return ""
}
