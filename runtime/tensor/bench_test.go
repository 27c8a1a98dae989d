package tensor

import "testing"

func BenchmarkSmallOp(b *testing.B) {
	b.ReportAllocs()
	if err := Run(func() error {
		x := Ones(Float32, 4)
		y := Ones(Float32, 4)
		b.ResetTimer()
		for i := 0; i < b.N; i += 1000 {
			Scoped(func() {
				for j := 0; j < 1000; j++ {
					x.Add(y)
				}
			})
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkInPlace(b *testing.B) {
	b.ReportAllocs()
	if err := Run(func() error {
		x := Ones(Float32, 4)
		for b.Loop() {
			x.MulScalarInPlace(1)
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkMatMul reports GFLOP/s of a 1024 x 1024 product.
func BenchmarkMatMul(b *testing.B) {
	if err := Run(func() error {
		x := RandnLike(Zeros(Float32, 1024, 1024))
		y := RandnLike(x)
		x.MatMul(y)
		for b.Loop() {
			Scoped(func() { x.MatMul(y) })
		}
		b.ReportMetric(float64(b.N)*2*1024*1024*1024/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStep is one training step of a small network whose buffers are as large as a real model's.
func BenchmarkStep(b *testing.B) {
	if err := Run(func() error {
		const rows, width, vocab = 2048, 256, 4096
		x := RandnLike(Zeros(Float32, rows, width))
		w1 := RandnLike(Zeros(Float32, 4*width, width)).MulScalar(0.05).RequiresGrad(true)
		w2 := RandnLike(Zeros(Float32, width, 4*width)).MulScalar(0.05).RequiresGrad(true)
		head := RandnLike(Zeros(Float32, vocab, width)).MulScalar(0.05).RequiresGrad(true)
		targets := Arange(rows)
		for b.Loop() {
			Scoped(func() {
				h := x
				for range 4 {
					h = h.Add(Linear(Linear(h, w1).Silu(), w2))
				}
				CrossEntropy(Linear(h, head), targets, -100, ReduceMean).Backward()
			})
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}
