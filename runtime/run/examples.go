package run

import (
	"fmt"
	"slices"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
)

// load encodes the training and the held-out examples, which are taken from the training
// data when no others are named.
func load[T any](r *run, encode func(data.Record) ([]T, bool, error)) (s split[T], err error) {
	c := r.config.Data
	var from []int // the record that each example was made of
	s.train, from, s.weights, err = encodeAll(r, c.Train, encode)
	if err != nil {
		return s, dataError("data.train", err)
	}
	if len(c.Eval) > 0 {
		if s.held, s.heldRecords, _, err = encodeAll(r, c.Eval, encode); err != nil {
			return s, dataError("data.eval", err)
		}
	} else {
		trainIndex, evalIndex := splitRecords(from, c.EvalFraction, r.config.Seed)
		s.held, s.heldRecords = data.Pick(s.train, evalIndex), data.Pick(from, evalIndex)
		s.train = data.Pick(s.train, trainIndex)
		if s.weights != nil {
			s.weights = data.Pick(s.weights, trainIndex)
		}
	}
	if n := r.config.Evaluation.MaxExamples; n > 0 && len(s.held) > n {
		s.held = s.held[:n]
	}
	return s, nil
}

// splitRecords holds out a fraction of the records, each with all the examples that were made of it: a prompt
// that is trained on is not held out. from, in ascending order, is the record of each example.
func splitRecords(from []int, fraction float64, seed uint64) (train, eval []int) {
	first := []int{} // of each record, its first example
	for i, record := range from {
		if i == 0 || record != from[i-1] {
			first = append(first, i)
		}
	}
	examples := func(records []int) (out []int) {
		for _, k := range records {
			end := len(from)
			if k+1 < len(first) {
				end = first[k+1]
			}
			for i := first[k]; i < end; i++ {
				out = append(out, i)
			}
		}
		return out
	}
	trained, held := data.Split(len(first), fraction, seed)
	return examples(trained), examples(held)
}

// split is a run's examples.
type split[T any] struct {
	train, held []T
	weights     []float64 // of data.Plan, of the training examples
	heldRecords []int     // the records of the held-out ones, by their number in the data they are from
}

// encodeAll encodes records and says which of them, by number, each example is from, and what
// it weighs; nil when all weigh 1. An error when none is left to learn from.
func encodeAll[T any](r *run, list []runconfig.Dataset, encode func(data.Record) ([]T, bool, error)) (out []T, from []int, weights []float64, err error) {
	n, dropped := 0, 0
	for _, d := range list {
		weight := weight(d)
		for rec, err := range r.records([]runconfig.Dataset{d}) {
			if err != nil {
				return nil, nil, nil, err
			}
			some, kept, err := encode(rec)
			if err != nil {
				return nil, nil, nil, err
			}
			if kept {
				for _, x := range some {
					out, from, weights = append(out, x), append(from, n), append(weights, weight)
				}
			} else {
				dropped++
			}
			n++
		}
	}
	if !slices.ContainsFunc(weights, func(w float64) bool { return w != 1 }) {
		weights = nil
	}
	if len(out) == 0 {
		return nil, nil, nil, fmt.Errorf("%w: all %d have an empty response, or one that is cut off by the length limits", data.ErrNoExamples, n)
	}
	r.Log.Info("Read data", "files", len(list), "examples", len(out), "dropped", dropped)
	return out, from, weights, nil
}

// weight is how often each example of a dataset comes in an epoch.
func weight(d runconfig.Dataset) float64 {
	if d.Weight == nil {
		return 1
	}
	return *d.Weight
}

// questions are the first of the held-out records that ask something.
func (r *run) questions(e *data.Encoder, held []int) (out []data.Question, err error) {
	from, field := r.config.Data.Eval, "data.eval"
	if len(from) == 0 {
		from, field = r.config.Data.Train, "data.train"
	}
	n := 0
	for rec, err := range r.records(from) {
		if len(out) == r.config.Evaluation.Samples || len(held) == 0 {
			break
		}
		if err != nil {
			return nil, dataError(field, err)
		}
		if n++; n-1 != held[0] {
			continue
		}
		for len(held) > 0 && held[0] == n-1 { // a record may have made several examples
			held = held[1:]
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
