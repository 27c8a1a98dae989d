package ngram

import (
	"fmt"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// tuneEvery is which training examples the weights are fitted on: every tenth.
const tuneEvery = 10

// Score is how well a baseline predicts held-out responses.
type Score struct {
	// CrossEntropy in nats per token: comparable with eval_loss of an SFTJob.
	CrossEntropy float64
	// Tokens it was computed over.
	Tokens int
	// Weights of the uniform, unigram and bigram estimates.
	Weights [3]float64
}

// Baseline fits a bigram model to the responses of a training file and scores it on a held-out one,
// over the tokens that supervised fine-tuning with this tokenizer.json and maxLength predicts.
func Baseline(tokenizerFile, trainFile, evalFile string, maxLength int) (Score, error) {
	t, err := tokenizer.Load(tokenizerFile)
	if err != nil {
		return Score{}, fmt.Errorf("score bigram model: %w", err)
	}
	encoder := data.Encoder{Tokenizer: t, MaxLength: maxLength, LossOn: "response"}
	read := func(file string) ([]data.Sequence, error) {
		sequences, _, err := encoder.Sequences(data.Read(file, runconfig.Dataset{Format: data.FormatAuto}))
		return sequences, err
	}
	sequences, err := read(trainFile)
	if err != nil {
		return Score{}, fmt.Errorf("score bigram model: %w", err)
	}
	heldOut, err := read(evalFile)
	if err != nil {
		return Score{}, fmt.Errorf("score bigram model: %w", err)
	}
	var train, tune, eval []Event
	for i, s := range sequences {
		if i%tuneEvery == tuneEvery-1 {
			tune = appendEvents(tune, s)
		} else {
			train = appendEvents(train, s)
		}
	}
	for _, s := range heldOut {
		eval = appendEvents(eval, s)
	}
	m := Fit(train, tune, t.VocabSize())
	return Score{CrossEntropy: m.CrossEntropy(eval), Tokens: len(eval), Weights: m.Weights}, nil
}

// appendEvents appends the predicted tokens of a sequence, each with the token before it: the
// first token of a response comes after the last one of its prompt.
func appendEvents(events []Event, s data.Sequence) []Event {
	for i, predicted := range s.ResponseMask {
		if predicted {
			events = append(events, Event{Context: s.Tokens[i-1], Token: s.Tokens[i]})
		}
	}
	return events
}
