package ngram

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-12 {
		t.Errorf("%s: got %.15f, want %.15f", what, got, want)
	}
}

// Four events over a vocabulary of 4: 0->1 twice, 0->2 once, 1->1 once.
var train = []Event{{0, 1}, {0, 1}, {0, 2}, {1, 1}}

func TestProbability(t *testing.T) {
	m := Fit(train, nil, 4)
	m.Weights = [3]float64{0.1, 0.3, 0.6}
	near(t, "p(1|0)", m.Probability(Event{0, 1}), 0.1/4+0.3*3/4+0.6*2/3)
	near(t, "p(2|1), pair unseen", m.Probability(Event{1, 2}), 0.1/4+0.3*1/4+0)
	near(t, "p(3|0), token unseen", m.Probability(Event{0, 3}), 0.1/4)
	near(t, "p(1|3), context unseen", m.Probability(Event{3, 1}), 0.1/4+0.9*3/4)
	for context := range int32(4) {
		sum := 0.
		for token := range int32(4) {
			sum += m.Probability(Event{context, token})
		}
		near(t, "sum of p", sum, 1)
	}
	near(t, "cross-entropy", m.CrossEntropy([]Event{{0, 1}, {0, 3}}), -(math.Log(0.65)+math.Log(0.025))/2)
}

// One step of expectation maximisation on one event (0, 2): the estimates are 1/4, 1/4 and 1/3, so
// each weight w becomes w*estimate/p with p = (1/4+1/4+1/3)/3: 3/10, 3/10 and 4/10. Step after step the
// largest estimate takes all.
func TestWeightsFollowTheTuningEvents(t *testing.T) {
	m := Fit(train, nil, 4)
	near(t, "weight without tuning events", m.Weights[0], 1./3)
	m = Fit(train, []Event{{0, 2}}, 4)
	odds := math.Pow(0.75, emSteps) // of a small estimate against the large one
	near(t, "uniform weight", m.Weights[0], odds/(1+2*odds))
	near(t, "bigram weight", m.Weights[2], 1/(1+2*odds))
	near(t, "counts include the tuning events", m.pairs[Event{0, 2}], 2)
	near(t, "sum", m.Weights[0]+m.Weights[1]+m.Weights[2], 1)
}

func TestFittedWeightsAreMostLikely(t *testing.T) {
	// Something for each estimate: (0, 3) for the uniform one, (1, 2) for the unigram, (0, 2) for the bigram.
	tune := []Event{{0, 2}, {0, 2}, {0, 2}, {0, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 2}, {1, 2}, {0, 3}}
	m := Fit(train, tune, 4)
	m = &Model{Weights: m.Weights, vocabSize: 4, tokens: map[int32]float64{}, contexts: map[int32]float64{}, pairs: map[Event]float64{}}
	m.count(train) // the counts that the weights were fitted under
	best, fitted := m.CrossEntropy(tune), m.Weights
	for _, d := range [][3]float64{{0.01, -0.01, 0}, {-0.01, 0.01, 0}, {0, 0.01, -0.01}, {0.01, 0, -0.01}, {-0.01, 0, 0.01}} {
		for i := range d {
			m.Weights[i] = fitted[i] + d[i]
		}
		if m.Weights[0] < 0 || m.Weights[1] < 0 || m.Weights[2] < 0 {
			continue
		}
		if got := m.CrossEntropy(tune); got < best-1e-6 {
			t.Errorf("weights %v have cross-entropy %f, less than %f of the fitted %v", m.Weights, got, best, fitted)
		}
	}
}

func TestEventsAreTheResponse(t *testing.T) {
	s := data.Sequence{Tokens: []int32{5, 6, 7, 8}, ResponseMask: []bool{false, false, true, true}}
	if got := appendEvents(nil, s); !slices.Equal(got, []Event{{6, 7}, {7, 8}}) {
		t.Errorf("got %v", got)
	}
}

func TestBaseline(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var lines string
	for range 20 {
		lines += `{"prompt":"a","completion":"bc"}` + "\n"
	}
	tok, err := tokenizer.Train(slices.Values([]string{"ab"}), 260, []string{"<|endoftext|>", "<|pad|>"})
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.Save(dir); err != nil {
		t.Fatal(err)
	}
	score, err := Baseline(filepath.Join(dir, "tokenizer.json"), write("train.jsonl", lines), write("eval.jsonl", `{"prompt":"a","completion":"bc"}`), 16)
	if err != nil {
		t.Fatal(err)
	}
	// b after a, c after b and the end after c are certain to the bigram estimate.
	if score.Tokens != 3 || score.CrossEntropy > 1e-9 {
		t.Errorf("got %+v, want 3 certain tokens", score)
	}
	if _, err := Baseline(filepath.Join(dir, "tokenizer.json"), write("bad.jsonl", "{"), "none", 16); err == nil {
		t.Error("a broken file is no error")
	}
}
