package run

import (
	"iter"

	"github.com/alignment-dev/alignment-operator/runtime/data"
)

// load encodes the training and the held-out examples, which are taken from the training
// data when no others are named.
func load[T any](r *run, encode func(iter.Seq2[data.Record, error]) ([]T, int, error)) (examples, held []T, err error) {
	c := r.config.Data
	examples, dropped, err := encode(r.records(c.Train))
	if err != nil {
		return nil, nil, dataError("data.train", err)
	}
	r.Log.Info("Read the training data", "examples", len(examples), "dropped", dropped)
	if len(c.Eval) > 0 {
		if held, dropped, err = encode(r.records(c.Eval)); err != nil {
			return nil, nil, dataError("data.eval", err)
		}
		r.Log.Info("Read the held-out data", "examples", len(held), "dropped", dropped)
	} else {
		trainIndex, evalIndex := data.Split(len(examples), c.EvalFraction, r.config.Seed)
		held = pick(examples, evalIndex)
		examples = pick(examples, trainIndex)
	}
	if n := r.config.Evaluation.MaxExamples; n > 0 && len(held) > n {
		held = held[:n]
	}
	return examples, held, nil
}

// questions are the first records of the held-out data, or of the training data without one,
// that ask something.
func (r *run) questions(e *data.Encoder) (out []data.Question, err error) {
	from, field := r.config.Data.Eval, "data.eval"
	if len(from) == 0 {
		from, field = r.config.Data.Train, "data.train"
	}
	for rec, err := range r.records(from) {
		if len(out) == r.config.Evaluation.Samples {
			break
		}
		if err != nil {
			return nil, dataError(field, err)
		}
		q, ok, err := e.Question(rec)
		if err != nil {
			return nil, dataError(field, err)
		}
		if ok {
			out = append(out, q)
		}
	}
	return out, nil
}

func pick[T any](from []T, index []int) []T {
	out := make([]T, len(index))
	for i, j := range index {
		out[i] = from[j]
	}
	return out
}
