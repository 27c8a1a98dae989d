package model

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// Logps are the log-probabilities that the model gives to some target tokens.
type Logps struct {
	// TokenLogps is log p(target) of each target, [n], float32 or wider.
	TokenLogps *tensor.Tensor

	logProbs *tensor.Tensor // of the whole vocabulary, [n, vocab]
}

// TokenLogps returns the log-probability of targets[i] given the hidden state in row sources[i] of
// hidden, for each i. Only those rows go through the head. It panics for a model with a score head.
func (m *Model) TokenLogps(hidden *tensor.Tensor, sources, targets []int64) Logps {
	var out Logps
	n := int64(len(sources))
	tensor.Scoped(func() {
		rows := hidden.IndexSelect(0, tensor.FromInt64(sources, n).ToDevice(m.device)) // [n, hidden]
		logProbs := m.logits(rows).LogSoftmax(-1)                                      // [n, vocab]
		index := tensor.FromInt64(targets, n).ToDevice(m.device)
		nll := tensor.NLLLoss(logProbs, index, -100, tensor.ReduceNone) // [n]
		out = Logps{TokenLogps: nll.Neg().Keep(), logProbs: logProbs.Keep()}
	})
	return out
}

// logits is the head's output for rows of hidden, [n, vocab], float32 or wider.
func (m *Model) logits(hidden *tensor.Tensor) *tensor.Tensor {
	if m.score != nil {
		panic(&tensor.Error{Op: "model.Logits", Message: "the model has a score head, and none for the vocabulary"})
	}
	logits := tensor.Linear(hidden, m.head)
	if m.narrow() {
		logits = logits.To(tensor.Float32)
	}
	return logits
}

// Entropy is the mean entropy of the distributions over the vocabulary, in nats; 0 for no targets.
// It is a pass over [n, vocab], so call it only where it is reported.
func (l Logps) Entropy() (mean float64) {
	l.chunks(func(logProbs, _ *tensor.Tensor) {
		mean -= logProbs.Exp().Mul(logProbs).Sum().Item()
	})
	return mean / float64(max(1, l.TokenLogps.NumElements()))
}

// Accuracy is the share of targets that no other token is more likely than; 0 for no targets.
func (l Logps) Accuracy() (mean float64) {
	l.chunks(func(logProbs, tokenLogps *tensor.Tensor) {
		mean += logProbs.MaxDim(-1, false).Eq(tokenLogps).Sum().Item()
	})
	return mean / float64(max(1, l.TokenLogps.NumElements()))
}

// chunks calls f without autograd for some rows at a time, few enough that their temporaries stay in cache.
func (l Logps) chunks(f func(logProbs, tokenLogps *tensor.Tensor)) {
	n, vocab := l.logProbs.Dim(0), l.logProbs.Dim(1)
	step := max(1, 1<<18/vocab)
	tensor.NoGrad(func() {
		for i := int64(0); i < n; i += step {
			tensor.Scoped(func() {
				rows := min(step, n-i)
				f(l.logProbs.Narrow(0, i, rows), l.TokenLogps.Narrow(0, i, rows))
			})
		}
	})
}
