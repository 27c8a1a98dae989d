package tensor_test

import (
	"math"
	"slices"
	"testing"

	. "github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// run is Run for tests: its errors are fatal.
func run(t *testing.T, f func()) {
	t.Helper()
	if err := Run(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// want compares shape (nil: any) and elements, to 1e-6.
func want(t *testing.T, name string, got *Tensor, shape []int64, elements ...float64) {
	t.Helper()
	if shape != nil && !slices.Equal(got.Shape(), shape) {
		t.Errorf("%s: shape %v, want %v", name, got.Shape(), shape)
	}
	values := got.Float64s()
	if !slices.EqualFunc(values, elements, near) {
		t.Errorf("%s: %v, want %v", name, values, elements)
	}
}

func near(a, b float64) bool {
	return a == b || math.Abs(a-b) <= 1e-6*math.Max(1, math.Abs(b)) || math.IsNaN(a) && math.IsNaN(b)
}

func f64(values ...float64) *Tensor { return FromFloat64(values, int64(len(values))) }
func i64(values ...int64) *Tensor   { return FromInt64(values, int64(len(values))) }
func bools(values ...bool) *Tensor  { return FromBool(values, int64(len(values))) }
