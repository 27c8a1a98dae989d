package gradcheck

import (
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

func TestCheck(t *testing.T) {
	square := func(in []*tensor.Tensor) *tensor.Tensor { return in[0].Mul(in[0]) }
	halfDetached := func(in []*tensor.Tensor) *tensor.Tensor { return in[0].Mul(in[0].Detach()) } // autograd misses a half
	if err := tensor.Run(func() error {
		x := tensor.FromFloat64([]float64{-1, 0.5, 2}, 3)
		if err := Check(square, x); err != nil {
			t.Errorf("right gradient refused: %v", err)
		}
		if err := Check(halfDetached, x); err == nil {
			t.Error("wrong gradient accepted")
		}
		if err := Check(square, x.To(tensor.Float32)); err == nil {
			t.Error("float32 accepted")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
