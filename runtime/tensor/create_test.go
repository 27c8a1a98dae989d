package tensor_test

import (
	"math"
	"slices"
	"testing"

	. "github.com/alignment-dev/alignment-operator/runtime/tensor"
)

func TestCreateAndRead(t *testing.T) {
	run(t, func() {
		want(t, "FromFloat32", FromFloat32([]float32{1, 2, 3, 4, 5, 6}, 2, 3), []int64{2, 3}, 1, 2, 3, 4, 5, 6)
		want(t, "FromInt32", FromInt32([]int32{-7}, 1), []int64{1}, -7)
		want(t, "FromBool", bools(true, false), []int64{2}, 1, 0)
		want(t, "empty", FromFloat32(nil, 0, 3), []int64{0, 3})
		want(t, "Zeros", Zeros(Float64, 2), []int64{2}, 0, 0)
		want(t, "Ones", Ones(BFloat16, 2), []int64{2}, 1, 1)
		want(t, "Full", Full(2.5, Float32, 1, 2), []int64{1, 2}, 2.5, 2.5)
		want(t, "Scalar", Scalar(3, Float64), []int64{}, 3)
		want(t, "Arange", Arange(3), []int64{3}, 0, 1, 2)
		want(t, "ZerosLike", ZerosLike(f64(1, 2)), []int64{2}, 0, 0)
		want(t, "OnesLike", OnesLike(f64(1, 2)), []int64{2}, 1, 1)
		want(t, "FullLike", FullLike(f64(1, 2), -3), []int64{2}, -3, -3)
		if e := Empty(Int64, 4, 5); e.NumElements() != 20 || e.DType() != Int64 || e.Device() != CPU || e.Dims() != 2 {
			t.Errorf("Empty: %d elements of %v on %v", e.NumElements(), e.DType(), e.Device())
		}
		x := FromFloat32([]float32{1, 2, 3, 4}, 2, 2)
		if got := x.Transpose(0, 1).Float32s(); !slices.Equal(got, []float32{1, 3, 2, 4}) {
			t.Errorf("Float32s of a transposed view: %v", got)
		}
		if got := f64(1.9, -2).Int64s(); !slices.Equal(got, []int64{1, -2}) {
			t.Errorf("Int64s: %v", got)
		}
		if got := f64(0, 2).Bools(); !slices.Equal(got, []bool{false, true}) {
			t.Errorf("Bools: %v", got)
		}
		if x.Dim(-1) != 2 || x.Dim(0) != 2 || Scalar(4.5, Float32).Item() != 4.5 {
			t.Error("Dim or Item")
		}
		if got := x.String(); got != "[2 2] float32 [1 2 3 4]" {
			t.Errorf("String: %s", got)
		}
	})
}

func TestBytesRoundTrip(t *testing.T) {
	run(t, func() {
		// bfloat16 is the upper half of float32: 1 = 0x3f80, -2 = 0xc000.
		raw := []byte{0x80, 0x3f, 0x00, 0xc0}
		x := FromBytes(BFloat16, raw, 2)
		want(t, "bfloat16", x, []int64{2}, 1, -2)
		if !slices.Equal(x.Bytes(), raw) {
			t.Errorf("Bytes: %x", x.Bytes())
		}
		want(t, "to bfloat16", FromFloat32([]float32{1.00390625}, 1).To(BFloat16), nil, 1) // 8 bits of precision
		for _, dtype := range []DType{Uint8, Int8, Int16, Int32, Int64, Float16, Float32, Float64, Bool, BFloat16} {
			ones := Ones(dtype, 3)
			if back := FromBytes(dtype, ones.Bytes(), 3); !back.Equal(ones) || len(ones.Bytes()) != 3*dtype.Size() {
				t.Errorf("%v: %v", dtype, back)
			}
			if parsed, ok := ParseDType(dtype.String()); !ok || parsed != dtype {
				t.Errorf("ParseDType(%v)", dtype)
			}
		}
	})
}

func TestRandom(t *testing.T) {
	run(t, func() {
		ManualSeed(7)
		state := GetRNGState(CPU)
		a := RandnLike(Zeros(Float64, 1000))
		u := RandLike(a)
		SetRNGState(CPU, state)
		if !RandnLike(a).Equal(a) || !RandLike(a).Equal(u) {
			t.Error("SetRNGState does not repeat the draws")
		}
		ManualSeed(7)
		if !RandnLike(a).Equal(a) {
			t.Error("ManualSeed does not repeat the draws")
		}
		if m, v := a.Mean().Item(), a.Var(true).Item(); math.Abs(m) > 0.15 || math.Abs(v-1) > 0.2 {
			t.Errorf("normal with mean %v, variance %v", m, v)
		}
		if u.Min().Item() < 0 || u.Max().Item() >= 1 {
			t.Error("RandLike outside [0, 1)")
		}
		want(t, "Bernoulli", f64(0, 1, 1).Bernoulli(), nil, 0, 1, 1)
		want(t, "Multinomial", f64(0, 1, 0).Multinomial(2), []int64{2}, 1, 1)
		x := Ones(Float64, 10000)
		d := x.Dropout(0.25, true)
		if zeros := d.EqScalar(0).To(Float64).Mean().Item(); math.Abs(zeros-0.25) > 0.03 {
			t.Errorf("Dropout: %v zeros", zeros)
		}
		if !near(d.Max().Item(), 4.0/3) || x.Dropout(0.25, false) != x {
			t.Error("Dropout's scale, or dropout without training")
		}
	})
}
