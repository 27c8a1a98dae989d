package train

import (
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// SFT is supervised fine-tuning: the mean negative log-likelihood of the response tokens.
type SFT struct {
	Policy         *model.Model
	Examples, Held []data.Sequence
	Pad            int32
	MicroBatchSize int // of evaluation
}

// Lengths implements Method.
func (s *SFT) Lengths() []int { return lengthsOf(s.Examples) }

// Weight implements Method: the response tokens of the whole batch.
func (s *SFT) Weight(batch []int) float64 {
	var n int
	for _, i := range batch {
		for _, counts := range s.Examples[i].ResponseMask {
			if counts {
				n++
			}
		}
	}
	return float64(n)
}

// Loss implements Method.
func (s *SFT) Loss(examples []int, m *Metrics) *tensor.Tensor { return s.loss(s.Examples, examples, m) }

func (s *SFT) loss(from []data.Sequence, examples []int, m *Metrics) *tensor.Tensor {
	batch := data.BatchSequences(data.Pick(from, examples), s.Pad)
	logps := tokenLogps(s.Policy, batch)
	loss := objective.SFT(logps.TokenLogps) // scalar
	n := float64(len(batch.Targets))
	m.Mean("loss", loss.Item(), n)
	if m.Detailed {
		m.Mean("entropy", logps.Entropy()*n, n)
		m.Mean("mean_token_accuracy", logps.Accuracy()*n, n)
	}
	m.Total("num_tokens", float64(batch.NumTokens))
	return loss
}

// Evaluate implements Method.
func (s *SFT) Evaluate() map[string]float64 {
	return heldOut(lengthsOf(s.Held), s.MicroBatchSize, func(examples []int, m *Metrics) {
		s.loss(s.Held, examples, m)
	})
}

func lengthsOf(seqs []data.Sequence) []int {
	out := make([]int, len(seqs))
	for i, s := range seqs {
		out[i] = len(s.Tokens)
	}
	return out
}
