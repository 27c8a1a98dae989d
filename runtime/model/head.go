package model

import (
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Logps are the log-probabilities that the model gives to some target tokens.
type Logps struct {
	// TokenLogps is log p(target) of each target, [n], float32 or wider. A leaf where the head ran in chunks:
	// FinishBackward then takes its gradient down.
	TokenLogps *tensor.Tensor

	logProbs *tensor.Tensor // of the whole vocabulary, [n, vocab]; nil where the head ran in chunks
	details  *details       // of chunks; nil unless asked for
}

// details are sums over the targets.
type details struct{ entropy, accurate float64 }

// logitsAtOnce bounds the logits that exist at a time, to 128 MiB in float32. A head's product that has no more is one
// operator, which autograd knows.
const logitsAtOnce = 1 << 25

// TokenLogps returns the log-probability of targets[i] given the hidden state in row sources[i] of
// hidden, for each i. Only those rows go through the head, and where [n, vocab] is large, a chunk of them at a time:
// call FinishBackward after Backward, and TokenLogps only once for each hidden that needs gradients.
// It panics for a model with a score head.
func (m *Model) TokenLogps(hidden *tensor.Tensor, sources, targets []int64) Logps {
	return m.logps(hidden, sources, targets, false)
}

// DetailedLogps is TokenLogps with Entropy and Accuracy, which take a further pass over [n, vocab].
func (m *Model) DetailedLogps(hidden *tensor.Tensor, sources, targets []int64) Logps {
	return m.logps(hidden, sources, targets, true)
}

func (m *Model) logps(hidden *tensor.Tensor, sources, targets []int64, detailed bool) Logps {
	var out Logps
	n := int64(len(sources))
	tensor.Scoped(func() {
		rows := hidden.IndexSelect(0, tensor.FromInt64(sources, n).ToDevice(m.device)) // [n, hidden]
		index := tensor.FromInt64(targets, n).ToDevice(m.device)
		if n*int64(m.config.VocabSize) > m.logitsAtOnce {
			out = m.chunkedLogps(rows, index, detailed)
			return
		}
		logProbs := m.logits(rows, m.vocabulary()).LogSoftmax(-1)       // [n, vocab]
		nll := tensor.NLLLoss(logProbs, index, -100, tensor.ReduceNone) // [n]
		out = Logps{TokenLogps: nll.Neg().Keep()}
		if detailed {
			out.logProbs = logProbs.Keep()
		}
	})
	return out
}

// logits is the head's output for rows of hidden, [n, vocab], float32 or wider.
func (m *Model) logits(hidden, head *tensor.Tensor) *tensor.Tensor {
	logits := tensor.Linear(hidden, head)
	if m.narrow() {
		logits = logits.To(tensor.Float32)
	}
	return logits
}

// vocabulary is the head's weight in the type of activations, [vocab, hidden].
func (m *Model) vocabulary() *tensor.Tensor {
	if m.score != nil {
		panic(&tensor.Error{Op: "model.Logits", Message: "the model has a score head, and none for the vocabulary"})
	}
	return m.cast(m.head)
}

// chunked is a TokenLogps in chunks that waits for FinishBackward. Its tensors belong to the scope that
// TokenLogps was called in.
type chunked struct {
	rows       *tensor.Tensor // [n, hidden], with hidden's graph
	targets    *tensor.Tensor // int64 [n]
	logps      *tensor.Tensor // [n]: a leaf, where Backward ends
	normaliser *tensor.Tensor // log of the sum of exp(logits), [n, 1]
	slopes     *tensor.Tensor // d logps / d rows, [n, hidden], of a frozen head; else nil
}

// own lists what the scope keeps for FinishBackward.
func (c *chunked) own() []*tensor.Tensor {
	return slices.DeleteFunc([]*tensor.Tensor{c.rows, c.targets, c.normaliser, c.slopes}, func(t *tensor.Tensor) bool { return t == nil })
}

// chunkedLogps keeps of each chunk's logits no more than their normaliser: finishHead computes them again. A frozen
// head needs no second time, as the hidden states' gradients are known up to a factor each.
func (m *Model) chunkedLogps(rows, targets *tensor.Tensor, detailed bool) Logps {
	c, head := &chunked{rows: rows, targets: targets}, m.vocabulary()
	pending := tensor.GradEnabled() && (rows.NeedsGrad() || m.head.NeedsGrad())
	sloped := pending && !m.head.NeedsGrad()
	var out Logps
	if detailed {
		out.details = &details{}
	}
	tensor.NoGrad(func() {
		var logps, normalisers, slopes []*tensor.Tensor
		m.eachChunk(c, func(rows, targets *tensor.Tensor, _, _ int64) {
			logits := m.logits(rows, head)      // [chunk, vocab]
			target := logits.Gather(1, targets) // [chunk, 1]
			most := logits.MaxDim(-1, true)     // [chunk, 1]
			logits.AddInPlace(most, -1)         // at most 0
			weights := logits                   // [chunk, vocab], relative to the most likely token's
			if detailed {
				weights = logits.Clone()
			}
			sum := weights.ExpInPlace().SumDim(true, -1) // [chunk, 1]
			normaliser := sum.Log()                      // [chunk, 1]
			if detailed {
				mean := logits.MulInPlace(weights).SumDim(true, -1).Div(sum) // of logits, [chunk, 1]
				out.details.entropy += normaliser.Sub(mean).Sum().Item()
				out.details.accurate += target.Eq(most).Sum().Item()
			}
			if sloped {
				slope := weights.MulInPlace(sum.Reciprocal().Neg()).ScatterAddInPlace(1, targets, tensor.OnesLike(sum)) // [chunk, vocab]
				slopes = append(slopes, slope.To(m.dtype).MatMul(head).Keep())                                          // [chunk, hidden]
			}
			normaliser = normaliser.Add(most) // [chunk, 1]
			normalisers = append(normalisers, normaliser.Keep())
			logps = append(logps, target.Sub(normaliser).Keep())
		})
		c.logps, c.normaliser = tensor.Cat(0, logps...).Reshape(-1), tensor.Cat(0, normalisers...)
		if sloped {
			c.slopes = tensor.Cat(0, slopes...)
		}
	})
	out.TokenLogps = c.logps.Keep()
	if pending {
		c.logps.RequiresGrad(true)
		for _, t := range c.own() {
			t.Keep()
		}
		m.heads = append(slices.DeleteFunc(m.heads, func(c *chunked) bool { return freed(c.rows) }), c)
	}
	return out
}

// finishHead gives the head its gradient and takes the hidden states' further down, chunk by chunk:
// d logps[i] / d logits[i] is one at the target, less the distribution.
func (m *Model) finishHead(c *chunked) {
	tensor.Scoped(func() {
		if grad := c.logps.Grad(); grad != nil { // [n]
			var down *tensor.Tensor // [n, hidden]
			tensor.NoGrad(func() {
				if c.slopes != nil {
					down = c.slopes.Mul(grad.Unsqueeze(1)).To(m.dtype)
				} else {
					down = m.headBackward(c, grad)
				}
			})
			if down != nil {
				c.rows.BackwardWith(down)
			}
		}
		for _, t := range c.own() {
			t.Free()
		}
	})
}

// headBackward adds to the head's gradient and returns that of the rows, [n, hidden]; nil where they need none.
func (m *Model) headBackward(c *chunked, grad *tensor.Tensor) *tensor.Tensor {
	into, head := m.headGradient(), m.vocabulary()
	var down []*tensor.Tensor // of each chunk, [chunk, hidden]
	m.eachChunk(c, func(rows, targets *tensor.Tensor, from, count int64) {
		grad := grad.Narrow(0, from, count).Reshape(count, 1)                              // [chunk, 1]
		logits := m.logits(rows, head).AddInPlace(c.normaliser.Narrow(0, from, count), -1) // [chunk, vocab]
		logits.ExpInPlace().MulInPlace(grad.Neg()).ScatterAddInPlace(1, targets, grad)     // now their gradient
		logits = logits.To(m.dtype)
		if into.DType() == m.dtype {
			into.AddProductInPlace(logits.Transpose(0, 1), rows)
		} else {
			into.AddInPlace(logits.Transpose(0, 1).MatMul(rows), 1)
		}
		if c.rows.NeedsGrad() {
			down = append(down, logits.MatMul(head).Keep())
		}
	})
	if down == nil {
		return nil
	}
	return tensor.Cat(0, down...)
}

// headGradient is what a trainable head's gradient is added to, [vocab, hidden].
func (m *Model) headGradient() *tensor.Tensor {
	if m.head.Grad() == nil {
		m.head.SetGrad(tensor.ZerosLike(m.head))
	}
	return m.head.Grad()
}

// eachChunk calls f, in a scope, with the rows [chunk, hidden] and targets [chunk, 1] that follow one another.
func (m *Model) eachChunk(c *chunked, f func(rows, targets *tensor.Tensor, from, count int64)) {
	n, step := c.rows.Dim(0), max(1, m.logitsAtOnce/int64(m.config.VocabSize))
	for from := int64(0); from < n; from += step {
		tensor.Scoped(func() {
			count := min(step, n-from)
			f(c.rows.Narrow(0, from, count), c.targets.Narrow(0, from, count).Reshape(count, 1), from, count)
		})
	}
}

// Entropy is the mean entropy of the distributions over the vocabulary, in nats; 0 for no targets.
// It panics unless l is DetailedLogps'.
func (l Logps) Entropy() (mean float64) {
	n := float64(max(1, l.TokenLogps.NumElements()))
	if l.details != nil {
		return l.details.entropy / n
	}
	l.chunks(func(logProbs, _ *tensor.Tensor) {
		mean -= logProbs.Exp().Mul(logProbs).Sum().Item()
	})
	return mean / n
}

// Accuracy is the share of targets that no other token is more likely than; 0 for no targets.
// It panics unless l is DetailedLogps'.
func (l Logps) Accuracy() (mean float64) {
	n := float64(max(1, l.TokenLogps.NumElements()))
	if l.details != nil {
		return l.details.accurate / n
	}
	l.chunks(func(logProbs, tokenLogps *tensor.Tensor) {
		mean += logProbs.MaxDim(-1, false).Eq(tokenLogps).Sum().Item()
	})
	return mean / n
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
