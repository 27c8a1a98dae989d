package tensor

import "math"

// Reduction says what becomes of a loss per element. The values are libtorch's own.
type Reduction int

const (
	ReduceNone Reduction = 0
	ReduceMean Reduction = 1
	ReduceSum  Reduction = 2
)

// MatMul multiplies the last two dimensions, broadcasting the others.
func (t *Tensor) MatMul(o *Tensor) *Tensor { return call1("aten::matmul", t, o) }

// BMM is [b, n, k] x [b, k, m] -> [b, n, m].
func (t *Tensor) BMM(o *Tensor) *Tensor { return call1("aten::bmm", t, o) }

// Linear is x w^T: [..., in] and w [out, in] -> [..., out].
func Linear(x, w *Tensor) *Tensor { return call1("aten::linear", x, w) }

// LinearBias is x w^T + b.
func LinearBias(x, w, b *Tensor) *Tensor { return call1("aten::linear", x, w, b) }

func (t *Tensor) Softmax(dim int64) *Tensor    { return call1("aten::softmax.int", t, dim) }
func (t *Tensor) LogSoftmax(dim int64) *Tensor { return call1("aten::log_softmax.int", t, dim) }

// Dropout zeroes elements with probability p and scales the others by 1/(1-p), when train is set; it draws from the
// generator of ManualSeed.
func (t *Tensor) Dropout(p float64, train bool) *Tensor {
	if p == 0 || !train {
		return t
	}
	return call1("aten::dropout", t, p, train)
}

// NLLLoss is -logps[i, targets[i]], for logps [n, classes]; rows whose target is ignoreIndex count for nothing.
func NLLLoss(logps, targets *Tensor, ignoreIndex int64, reduction Reduction) *Tensor {
	return call1("aten::nll_loss", logps, targets, nil, reduction, ignoreIndex)
}

// CrossEntropy is NLLLoss of the log-softmax of logits [n, classes].
func CrossEntropy(logits, targets *Tensor, ignoreIndex int64, reduction Reduction) *Tensor {
	return call1("aten::cross_entropy_loss", logits, targets, nil, reduction, ignoreIndex)
}

// ScaledDotProductAttention is softmax(q k^T * scale + mask) v over [..., heads, length, headDim]: libtorch's fused
// operator where it has one, products and a softmax otherwise. mask is nil, or broadcasts to [..., qLen, kLen]: Bool,
// true for pairs that attend, or floating, added to the scores. causal lets query i see keys up to i, and excludes a
// mask. scale 0 stands for 1/sqrt(headDim). A query that may see no key gets a result without meaning.
func ScaledDotProductAttention(q, k, v, mask *Tensor, causal bool, scale float64) *Tensor {
	const fused = "aten::scaled_dot_product_attention"
	if causal && mask != nil {
		throw(fused, "mask and causal exclude each other")
	}
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(q.Dim(-1)))
	}
	if HasOp(fused, "") {
		return call1(fused, q, k, v, mask, 0.0, causal, scale)
	}
	return attention(q, k, v, mask, causal, scale)
}

// attention is ScaledDotProductAttention for libtorch before 2.0.
func attention(q, k, v, mask *Tensor, causal bool, scale float64) *Tensor {
	scores := q.MulScalar(scale).MatMul(k.Transpose(-2, -1)) // [..., heads, qLen, kLen]
	if causal {
		mask = Ones(Bool, q.Dim(-2), k.Dim(-2)).Tril(0).ToDevice(q.Device()) // [qLen, kLen]
	}
	switch {
	case mask == nil:
	case mask.DType() == Bool:
		// Not -inf: the softmax is exactly zero there all the same, and a row without any key is not NaN.
		scores = scores.MaskedFill(mask.LogicalNot(), lowest(scores.DType()))
	default:
		scores = scores.Add(mask)
	}
	return scores.Softmax(-1).MatMul(v) // [..., heads, qLen, headDim]
}

// lowest is a finite score far below any other.
func lowest(dtype DType) float64 {
	if dtype == Float16 {
		return -65504
	}
	return -1e30
}
