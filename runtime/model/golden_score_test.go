package model_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// scoreGolden is what hack/goldens/model/score.py wrote: a score head on the decoder of a golden.
type scoreGolden struct {
	Config    json.RawMessage
	Weights   map[string]array // the head's
	Scores    array            // of every token, [rows, seqLen]
	Scores32  array
	Gradients map[string]array // some, of the summed squares of the last tokens' scores
}

func TestScoresAndGradientsAreTransformers(t *testing.T) {
	eachGolden(t, func(t *testing.T, g golden) {
		b, err := os.ReadFile(filepath.Join("testdata", strings.Replace(filepath.Base(t.Name()), "llama-", "score-", 1)))
		if err != nil {
			t.Fatal(err)
		}
		var s scoreGolden
		if err := json.Unmarshal(b, &s); err != nil {
			t.Fatal(err)
		}
		g.Config = s.Config
		delete(g.Weights, "lm_head.weight")
		maps.Copy(g.Weights, s.Weights)
		in, _, _ := g.batch()
		var real, last []int64 // rows of states
		for i, segment := range in.Segments {
			if segment >= 0 {
				real = append(real, int64(i))
			}
		}
		for r, n := range g.Lengths {
			last = append(last, int64(r*in.SeqLen+n-1))
		}
		for _, c := range []struct {
			dtype     tensor.DType
			scores    array
			tolerance float64
		}{{tensor.Float64, s.Scores, 1e-11}, {tensor.Float32, s.Scores32, 2e-5}} {
			for _, checkpoint := range []bool{false, true} {
				m := g.model(t, c.dtype)
				m.CheckpointActivations(checkpoint)
				var want []float64
				for _, row := range real {
					want = append(want, c.scores.data[row])
				}
				hidden := m.Hidden(in)
				near(t, c.dtype.String()+" scores", m.Scores(hidden, real).Float64s(), want, c.tolerance)
				m.Scores(hidden, last).Square().Sum().Backward()
				m.FinishBackward()
				for name, want := range s.Gradients {
					near(t, c.dtype.String()+" gradient of "+name, parameter(t, m, name).Grad().Float64s(), want.data, 10*c.tolerance)
				}
			}
		}
	})
}
