package model

// ComputeLogitsAtOnce bounds the logits that TokenLogps computes at a time; math.MaxInt64 never cuts them into chunks.
func (m *Model) ComputeLogitsAtOnce(n int64) { m.logitsAtOnce = n }
