package tensor_test

import (
	"errors"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	. "github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// failure runs f and returns the *Error that it must end with.
func failure(t *testing.T, f func()) *Error {
	t.Helper()
	err := Run(func() error { f(); return nil })
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}

func TestErrorNamesOperatorAndShapes(t *testing.T) {
	e := failure(t, func() { Zeros(Float32, 2, 3).MatMul(Zeros(Float32, 4, 5)) })
	if e.Op != "aten::matmul" || !reflect.DeepEqual(e.Shapes, [][]int64{{2, 3}, {4, 5}}) {
		t.Errorf("operator %q, shapes %v", e.Op, e.Shapes)
	}
	if text := e.Error(); !strings.Contains(text, "[2 3]") || strings.Contains(text, "\n") || strings.Contains(text, "frame #") {
		t.Errorf("text %q", text)
	}
	for name, f := range map[string]func(){
		"no such operator":       func() { Call("aten::no_such_operator", 1) },
		"too many arguments":     func() { Call("aten::neg", 1, f64(1), 2) },
		"no default":             func() { Call("aten::neg", 1) },
		"nil for a tensor":       func() { f64(1).Add(nil) },
		"wrong kind":             func() { Call("aten::neg", 1, 2) },
		"text for a number":      func() { Call("aten::add.Scalar", 1, f64(1), "two") },
		"Go type of no operator": func() { Call("aten::neg", 1, struct{}{}) },
		"number of results":      func() { Call("aten::neg", 2, f64(1)) },
		"nil in a list":          func() { Cat(0, f64(1), nil) },
		"data of another size":   func() { FromFloat32([]float32{1, 2}, 3) },
		"negative dimension":     func() { FromFloat32(nil, -1, 0) },
		"buffer of another size": func() { f64(1).CopyTo(make([]byte, 7)) },
		"item of many":           func() { f64(1, 2).Item() },
		"no such dimension":      func() { f64(1).Dim(1) },
		"unknown device":         func() { f64(1).ToDevice("tpu") },
		"gradient's shape":       func() { f64(1).SetGrad(f64(1, 2)) },
		"Backward of a vector":   func() { f64(1, 2).RequiresGrad(true).Exp().Backward() },
		"random state":           func() { SetRNGState(CPU, f64(1)) },
	} {
		t.Run(name, func(t *testing.T) { t.Log(failure(t, f)) })
	}
}

func TestCall(t *testing.T) {
	run(t, func() {
		want(t, "string", Call("aten::div.Tensor_mode", 1, f64(7), f64(2), "floor")[0], nil, 3)
		want(t, "long string", Call("aten::einsum", 1, "abcdefgh,abcdefgh->", []*Tensor{Full(3, Float32, 1, 1, 1, 1, 1, 1, 1, 1), Full(2, Float32, 1, 1, 1, 1, 1, 1, 1, 1)})[0], nil, 6)
		want(t, "Default", Call("aten::sum.dim_IntList", 1, f64(1, 2), []int64{0}, Default, Float32)[0], []int64{}, 3)
		want(t, "floats for integers", Call("aten::_foreach_mul.ScalarList", 2, []*Tensor{f64(1), f64(2)}, []float64{2, 3})[1], nil, 6)
		want(t, "number as result", Call("aten::size.int", 1, f64(1, 2, 3), 0)[0], []int64{}, 3)
		want(t, "an integer for a list", Call("aten::sum.dim_IntList", 1, m23(), 1)[0], nil, 6, 15)
		want(t, "device", Call("aten::zeros", 1, []int64{1}, Int64, nil, CPU)[0], nil, 0)
		if n := len(Call("aten::unbind.int", -1, m23(), 0)); n != 2 {
			t.Errorf("unbind gave %d tensors", n)
		}
	})
	if !HasOp("aten::sum", "dim_IntList") || !HasOp("aten::matmul", "") || HasOp("aten::sum", "no_such_overload") {
		t.Error("HasOp")
	}
	if major, _, _ := strings.Cut(Version(), "."); major == "" || major == "0" {
		t.Errorf("version %q", Version())
	}
}

func TestRun(t *testing.T) {
	sentinel := errors.New("sentinel")
	if err := Run(func() error { return sentinel }); !errors.Is(err, sentinel) {
		t.Errorf("Run changes f's error to %v", err)
	}
	var nested error
	if err := Run(func() error { nested = Run(func() error { return nil }); return nil }); err != nil {
		t.Errorf("Run with a nested Run: %v", err)
	}
	var e *Error
	if !errors.As(nested, &e) || e.Op != "Run" {
		t.Errorf("nested Run gives %v", nested)
	}
	func() {
		defer func() {
			if p := recover(); p != "bug" {
				t.Errorf("a panic that is no *Error ends as %v", p)
			}
		}()
		Run(func() error { Zeros(Float32, 1000); panic("bug") })
	}()
	if tensors, _ := Live(); tensors != 0 {
		t.Errorf("%d tensors live after a panic", tensors)
	}
	func() {
		defer func() {
			if e, ok := recover().(*Error); !ok || !strings.Contains(e.Message, "outside of Run") {
				t.Errorf("outside of Run: %v", e)
			}
		}()
		Zeros(Float32, 1)
	}()
	run(t, func() { // another goroutine, while Run runs
		done := make(chan any)
		go func() {
			defer func() { done <- recover() }()
			Zeros(Float32, 1)
		}()
		if e, ok := (<-done).(*Error); !ok || !strings.Contains(e.Message, "another goroutine") {
			t.Errorf("in another goroutine: %v", e)
		}
	})
	sum, done := 0.0, make(chan error) // Run's of several goroutines wait for each other
	for range 8 {
		go func() {
			done <- Run(func() error { sum += Ones(Float32, 10).Sum().Item(); return nil })
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if sum != 80 {
		t.Errorf("sum %v, want 80", sum)
	}
}

func TestScopes(t *testing.T) {
	var beyond *Tensor
	run(t, func() {
		var freed, kept, twice *Tensor
		Scoped(func() {
			freed, kept = f64(1), f64(2).Keep()
			Scoped(func() { twice = f64(3).Keep() })
			twice.Keep()
			kept.Keep() // lives long enough already: stays
		})
		want(t, "kept", kept.Add(twice), nil, 5)
		if tensors, _ := Live(); tensors != 3 {
			t.Errorf("%d tensors live, want kept, twice and their sum", tensors)
		}
		kept.Free()
		beyond = f64(4).Keep()
		defer func() {
			if e, ok := recover().(*Error); !ok || !strings.Contains(e.Message, "freed") || e.Op != "aten::exp" {
				t.Errorf("use after free: %v", e)
			}
		}()
		freed.Exp()
	})
	run(t, func() {
		want(t, "kept beyond Run", beyond, nil, 4)
		beyond.Free()
	})
	for name, use := range map[string]func(){
		"Shape":       func() { beyond.Shape() },
		"Free":        func() { beyond.Free() },
		"Keep":        func() { beyond.Keep() },
		"Item":        func() { beyond.Item() },
		"DType":       func() { beyond.CopyTo(nil) },
		"Grad":        func() { beyond.Grad() },
		"aten::stack": func() { Stack(0, beyond) },
	} {
		if e := failure(t, use); e.Op != name || !strings.Contains(e.Message, "freed") {
			t.Errorf("%s after Free: %v", name, e)
		}
	}
	if tensors, _ := Live(); tensors != 0 {
		t.Errorf("%d tensors live at the end", tensors)
	}
}

func TestAutograd(t *testing.T) {
	run(t, func() {
		x := f64(2, 3).RequiresGrad(true)
		if x.Grad() != nil {
			t.Error("a gradient before Backward")
		}
		x.Square().Sum().Backward()
		x.Square().Sum().Backward() // adds
		want(t, "two gradients", x.Grad(), nil, 8, 12)
		x.ZeroGrad()
		if x.Grad() != nil {
			t.Error("a gradient after ZeroGrad")
		}
		x.Square().BackwardWith(f64(1, 10))
		want(t, "BackwardWith", x.Grad(), nil, 4, 60)
		x.SetGrad(f64(5, 6))
		want(t, "SetGrad", x.Grad(), nil, 5, 6)
		if y := x.Detach().Exp(); y.NeedsGrad() {
			t.Error("Detach keeps the history")
		}
		NoGrad(func() {
			if x.Exp().NeedsGrad() {
				t.Error("NoGrad records")
			}
			EnableGrad(func() {
				if !x.Exp().NeedsGrad() {
					t.Error("EnableGrad does not record")
				}
			})
			if x.AddInPlace(f64(1, 1), 1); x.Exp().NeedsGrad() {
				t.Error("NoGrad ended with EnableGrad")
			}
		})
		want(t, "a parameter changed in place", x, nil, 3, 4)
		if !x.Exp().NeedsGrad() {
			t.Error("NoGrad does not end")
		}
	})
	failure(t, func() { NoGrad(func() { m23().MatMul(m23()) }) })
	run(t, func() {
		if !f64(1).RequiresGrad(true).Exp().NeedsGrad() {
			t.Error("NoGrad outlives an error")
		}
	})
}

// A million calls, their gradients and errors leave nothing behind.
func TestNothingLeaks(t *testing.T) {
	calls := 1_000_000
	if testing.Short() {
		calls = 50_000
	}
	run(t, func() {
		x := Ones(Float32, 64).RequiresGrad(true)
		round := func(fail bool) {
			Scoped(func() {
				y := x
				for range 100 {
					y = y.MulScalar(0.5)
				}
				y.Sum().Backward()
				if fail { // seldom: libtorch takes milliseconds to gather its backtrace
					defer func() { recover() }()
					y.MatMul(Zeros(Float32, 3))
				}
			})
			x.ZeroGrad()
		}
		for i := range 1000 {
			round(i < 20)
		}
		tensors, bytes := Live()
		before := residentBytes(t)
		for i := 0; i < calls; i += 200 { // 100 forward, as many backward
			round(i%10_000 == 0)
		}
		if t2, b2 := Live(); t2 != tensors || b2 != bytes {
			t.Errorf("live before %d tensors, %d bytes; after %d, %d", tensors, bytes, t2, b2)
		}
		// A leak of one handle (8 bytes) per call would be 8 MB, of one 256-byte storage 256 MB.
		if grown := residentBytes(t) - before; grown > 8<<20 {
			t.Errorf("resident memory grew by %d bytes in %d calls", grown, calls)
		}
	})
}

func residentBytes(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here")
	}
	pages, err := strconv.Atoi(strings.Fields(string(raw))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestMemoryCounters(t *testing.T) {
	run(t, func() {
		_, start := Live()
		ResetPeak()
		const megabytes = 16 << 20
		Scoped(func() {
			x := Zeros(Uint8, megabytes)
			x.View(2, megabytes/2) // shares the storage
			if _, bytes := Live(); bytes-start < megabytes || bytes-start > megabytes*5/4 {
				t.Errorf("%d bytes for a storage of %d", bytes-start, megabytes)
			}
		})
		if _, bytes := Live(); bytes != start {
			t.Errorf("%d bytes live after the scope, %d before", bytes, start)
		}
		if PeakBytes() < start+megabytes {
			t.Errorf("peak %d below %d", PeakBytes(), start+megabytes)
		}
		if ResetPeak(); PeakBytes() != start {
			t.Errorf("peak %d after ResetPeak, want %d", PeakBytes(), start)
		}
		// A block is used again, and shows nothing of what it held.
		Scoped(func() { Full(3, Float32, megabytes/4) })
		if sum := Zeros(Float32, megabytes/4).Sum().Item(); sum != 0 {
			t.Errorf("zeros sum to %v", sum)
		}
	})
}

// Denormals cost up to 7 times in matrix products: every thread that computes must flush them.
func TestDenormalsAreFlushed(t *testing.T) {
	defer SetThreads(0)
	SetThreads(4) // more than this machine may have: the pool is new
	run(t, func() {
		if Threads() != 4 {
			t.Errorf("%d threads", Threads())
		}
		const n = 1 << 22 // large enough to be shared among the threads
		tiny := Full(1e-20, Float32, n)
		if m := tiny.Mul(tiny).Max().Item(); m != 0 { // 1e-40, a denormal
			t.Errorf("largest product %v, want 0 on every thread", m)
		}
		a := Full(1e-20, Float32, 256, 256)
		if m := a.MatMul(a).Max().Item(); m != 0 {
			t.Errorf("largest element of a product of matrices %v, want 0", m)
		}
	})
	if x := 1e-300 * float64(len(t.Name())); x*1e-20 == 0 {
		t.Error("Go's own arithmetic still flushes after Run")
	}
}

// Products, whose kernels OPENBLAS_CORETYPE chooses, against plain loops, in shapes that do not divide into blocks.
func TestMatMulIsRight(t *testing.T) {
	run(t, func() {
		ManualSeed(1)
		for _, s := range [][3]int64{{1, 1, 1}, {7, 129, 33}, {257, 511, 63}, {130, 1000, 301}} {
			n, depth, m := int(s[0]), int(s[1]), int(s[2])
			a, b := RandnLike(Zeros(Float32, s[0], s[1])), RandnLike(Zeros(Float32, s[1], s[2]))
			x, y, got := a.Float64s(), b.Float64s(), a.MatMul(b).Float64s()
			for i := range n {
				for j := range m {
					sum := 0.0
					for k := range depth {
						sum += x[i*depth+k] * y[k*m+j]
					}
					if !(math.Abs(got[i*m+j]-sum) < 1e-3) {
						t.Fatalf("%v: element %d, %d is %v, want %v", s, i, j, got[i*m+j], sum)
					}
				}
			}
		}
	})
}
