package ngram

import "math"

// Event is a token that is predicted, and the one before it.
type Event struct{ Context, Token int32 }

// Model is the interpolated bigram model
//
//	p(token | context) = w[0]/V + w[1]*count(token)/N + w[2]*count(context, token)/count(context)
//
// where V is the size of the vocabulary and N the number of events (Jelinek and Mercer, 1980). For a
// context that was never seen the last estimate is the one before it.
type Model struct {
	// Weights w of the uniform, unigram and bigram estimates; they sum to 1.
	Weights [3]float64

	vocabSize int
	events    float64           // N
	tokens    map[int32]float64 // count(token)
	contexts  map[int32]float64 // count(context)
	pairs     map[Event]float64 // count(context, token)
}

// emSteps is more than the weights need to settle to four digits.
const emSteps = 100

// Fit counts train and tune together. The weights are the most likely ones of tune under the
// counts of train alone, found by expectation maximisation: fitted on what was counted they would
// all go to the bigrams.
func Fit(train, tune []Event, vocabSize int) *Model {
	m := &Model{
		Weights: [3]float64{1. / 3, 1. / 3, 1. / 3}, vocabSize: vocabSize,
		tokens: map[int32]float64{}, contexts: map[int32]float64{}, pairs: map[Event]float64{},
	}
	m.count(train)
	m.fitWeights(tune)
	m.count(tune)
	return m
}

func (m *Model) count(events []Event) {
	for _, e := range events {
		m.events++
		m.tokens[e.Token]++
		m.contexts[e.Context]++
		m.pairs[e]++
	}
}

// fitWeights sets each weight to the mean share of its estimate in the probability, again and again.
func (m *Model) fitWeights(events []Event) {
	for range emSteps {
		var shares [3]float64
		for _, e := range events {
			estimates, p := m.estimates(e), m.Probability(e)
			for i := range shares {
				shares[i] += m.Weights[i] * estimates[i] / p
			}
		}
		for i := range shares {
			if len(events) > 0 {
				m.Weights[i] = shares[i] / float64(len(events))
			}
		}
	}
}

// estimates are the uniform, unigram and bigram probabilities of an event.
func (m *Model) estimates(e Event) [3]float64 {
	uniform := 1 / float64(m.vocabSize)
	unigram := uniform
	if m.events > 0 {
		unigram = m.tokens[e.Token] / m.events
	}
	bigram := unigram
	if n := m.contexts[e.Context]; n > 0 {
		bigram = m.pairs[e] / n
	}
	return [3]float64{uniform, unigram, bigram}
}

// Probability of an event's token after its context.
func (m *Model) Probability(e Event) float64 {
	p := 0.
	for i, estimate := range m.estimates(e) {
		p += m.Weights[i] * estimate
	}
	return p
}

// CrossEntropy is the mean of -log p over events, in nats per token.
func (m *Model) CrossEntropy(events []Event) float64 {
	sum := 0.
	for _, e := range events {
		sum -= math.Log(m.Probability(e))
	}
	return sum / float64(len(events))
}
