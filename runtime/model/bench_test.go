package model_test

import (
	"math"
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
		measure(b, func() {
			tensor.Scoped(func() {
				loss := objective.SFT(m.TokenLogps(m.Hidden(in), sources, targets).TokenLogps).MulScalar(1 / float64(len(targets)))
				loss.Backward()
				optim.ClipGradNorm(params, 1)
				a.Step(1e-3)
				a.ZeroGrad()
				loss.Item()
			})
		})
	})
}

// measure loops over f and reports the processor time of it too, which other load on the machine changes least.
func measure(b *testing.B, f func()) {
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	for b.Loop() {
		f()
	}
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/1e6/float64(b.N), "cpu-ms/op")
}

// BenchmarkHead is forward and backward of a head of Llama 3's vocabulary on 1,024 targets, whole and in chunks.
func BenchmarkHead(b *testing.B) {
	c := benchmarkConfig
	c.VocabSize, c.NumHiddenLayers, c.HiddenSize, c.HeadDim = 128256, 1, 512, 128
	in := model.Input{Rows: 16, SeqLen: 64, Tokens: make([]int64, 1024), Segments: make([]int64, 1024), Prefixes: make([]int64, 1024)}
	var sources, targets []int64
	for i := range int64(1024) {
		in.Positions = append(in.Positions, i%64)
		sources, targets = append(sources, i), append(targets, 7919*i%int64(c.VocabSize))
	}
	for name, n := range map[string]int64{"whole": math.MaxInt64, "chunks": 1 << 25} {
		b.Run(name, func(b *testing.B) {
			run(b, func() {
				m := newModel(b, c, tensor.Float32)
				m.ComputeLogitsAtOnce(n)
				tensor.ResetPeak()
				measure(b, func() {
					tensor.Scoped(func() {
						objective.SFT(m.TokenLogps(m.Hidden(in), sources, targets).TokenLogps).Backward()
						m.FinishBackward()
					})
				})
				b.ReportMetric(float64(tensor.PeakBytes()>>20), "peak-MiB")
			})
		})
	}
}
