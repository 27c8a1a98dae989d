package model_test

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/optim"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// benchmarkConfig has 1M parameters; hack/goldens/model/step.py has the same model and batch.
var benchmarkConfig = model.Config{
	VocabSize: 2048, HiddenSize: 128, IntermediateSize: 352, NumHiddenLayers: 4, NumAttentionHeads: 4, NumKeyValueHeads: 2,
	HeadDim: 32, RMSNormEps: 1e-5, RopeTheta: 10000, MaxPositionEmbeddings: 256, TieWordEmbeddings: true, InitializerRange: 0.02,
}

// BenchmarkStep is one SFT step of 64 rows of 50 to 64 tokens, of which 20 are the prompt.
func BenchmarkStep(b *testing.B) {
	in := model.Input{Rows: 64, SeqLen: 64}
	var sources, targets []int64
	r := rand.New(rand.NewPCG(1, 2))
	for row := range in.Rows {
		length := 50 + row%15
		for q := range in.SeqLen {
			token, segment := r.Int64N(int64(benchmarkConfig.VocabSize)), int64(0)
			if q >= length {
				segment = -1
			}
			in.Tokens, in.Positions = append(in.Tokens, token), append(in.Positions, int64(q))
			in.Segments, in.Prefixes = append(in.Segments, segment), append(in.Prefixes, -1)
			if q >= 20 && q < length {
				sources, targets = append(sources, int64(row*in.SeqLen+q-1)), append(targets, token)
			}
		}
	}
	run(b, func() {
		m, err := model.New(benchmarkConfig, tensor.Float32, tensor.CPU, 1)
		if err != nil {
			b.Fatal(err)
		}
		params := m.Parameters()
		a := optim.NewAdamW(params, optim.AdamWParams{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.01})
		var before, after syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		for b.Loop() {
			tensor.Scoped(func() {
				loss := objective.SFT(m.TokenLogps(m.Hidden(in), sources, targets).TokenLogps).MulScalar(1 / float64(len(targets)))
				loss.Backward()
				optim.ClipGradNorm(params, 1)
				a.Step(1e-3)
				a.ZeroGrad()
				loss.Item()
			})
		}
		syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(cpu)/1e6/float64(b.N), "cpu-ms/op") // what other load on the machine changes least
	})
}
