package tensor

import (
	"errors"
	"reflect"
	"testing"
)

// run is Run for tests: its errors are fatal.
func run(t *testing.T, f func()) {
	t.Helper()
	if err := Run(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestMatMulGradient(t *testing.T) {
	run(t, func() {
		a := FromFloat32([]float32{1, 2, 3, 4}, 2, 2).RequiresGrad(true)
		b := FromFloat32([]float32{5, 6, 7, 8}, 2, 2)
		c := a.MatMul(b)
		if got, want := c.Float32s(), []float32{19, 22, 43, 50}; !reflect.DeepEqual(got, want) {
			t.Errorf("product %v, want %v", got, want)
		}
		c.Sum().Backward()
		if got, want := a.Grad().Float32s(), []float32{11, 15, 11, 15}; !reflect.DeepEqual(got, want) {
			t.Errorf("gradient %v, want %v", got, want) // every row: the row sums of b
		}
	})
}

func TestShapeErrorNamesOperatorAndShapes(t *testing.T) {
	err := Run(func() error {
		Zeros(Float32, 2, 3).MatMul(Zeros(Float32, 4, 5))
		return nil
	})
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *Error", err)
	}
	if e.Op != "aten::matmul" || !reflect.DeepEqual(e.Shapes, [][]int64{{2, 3}, {4, 5}}) {
		t.Errorf("operator %q, shapes %v", e.Op, e.Shapes)
	}
	t.Log(err)
}
