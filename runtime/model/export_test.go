package model

// ComputeLogitsAtOnce bounds the logits that TokenLogps computes at a time; math.MaxInt64 never cuts them into chunks.
func (m *Model) ComputeLogitsAtOnce(n int64) { m.logitsAtOnce = n }

// OtherAttention has models compute attention as they would on a libtorch without the fused operator, or, here
// without, with it, until restore is called.
func OtherAttention() (restore func()) {
	was := fusedAttention
	fused := was()
	fusedAttention = func() bool { return !fused }
	return func() { fusedAttention = was }
}
