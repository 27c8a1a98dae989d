package train

import (
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// SFT is supervised fine-tuning: the mean negative log-likelihood of the response tokens.
type SFT struct {
	Policy         *model.Model
	Examples, Held []data.Sequence
	Pad            int32
	// Packing lays several examples out in a row.
	Packing        bool
	MicroBatchSize int // of evaluation
	// Group's ranks divide the work among them; nil: this process does it all.
	Group *distributed.Group
}

// Lengths implements Loss.
func (s *SFT) Lengths() []int { return evaluate.Lengths(s.Examples) }

// Begin implements Loss: the response tokens of the whole batch.
func (s *SFT) Begin(batch []int) float64 {
	var n int
	for _, i := range batch {
		n += counted(s.Examples[i])
	}
	return float64(n)
}

// counted is how many tokens of a sequence are learnt.
func counted(s data.Sequence) (n int) {
	for _, counts := range s.ResponseMask {
		if counts {
			n++
		}
	}
	return n
}

// Of implements Loss.
func (s *SFT) Of(examples []int, m *Metrics) *tensor.Tensor { return s.loss(s.Examples, examples, m) }

func (s *SFT) loss(from []data.Sequence, examples []int, m *Metrics) *tensor.Tensor {
	layOut := data.BatchSequences
	if s.Packing {
		layOut = data.PackSequences
	}
	batch := layOut(data.Pick(from, examples), s.Pad)
	logps := evaluate.Logps(s.Policy, batch, m.Detailed)
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

// Evaluate implements Loss.
func (s *SFT) Evaluate() map[string]float64 {
	return heldOut(s.Group, evaluate.Lengths(s.Held), s.MicroBatchSize, func(examples []int, m *Metrics, _ bool) {
		s.loss(s.Held, examples, m)
	})
}
