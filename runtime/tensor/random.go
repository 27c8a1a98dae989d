package tensor

// #include "bridge.h"
import "C"

// Random numbers of libtorch's own generators, one per device, for what is drawn inside operators (Dropout). Data order
// and initialisation come from generators in Go that the caller seeds.

// ManualSeed seeds the generators of every device.
func ManualSeed(seed uint64) { check("ManualSeed", C.at_seed(C.uint64_t(seed))) }

// GetRNGState is the state of the device's generator, an Uint8 tensor on the CPU.
func GetRNGState(device Device) *Tensor {
	kind, index := device.parse()
	r := C.at_rng_state(C.int(kind), C.int(index))
	check("GetRNGState", r.error)
	return register(*r.out)
}

// SetRNGState goes back to a state of GetRNGState.
func SetRNGState(device Device, state *Tensor) {
	kind, index := device.parse()
	check("SetRNGState", C.at_set_rng_state(C.int(kind), C.int(index), state.handle("SetRNGState")), state)
}

// RandnLike draws from the normal distribution, RandLike from [0, 1), with t's shape, type and device.
func RandnLike(t *Tensor) *Tensor { return call1("aten::randn_like", t) }
func RandLike(t *Tensor) *Tensor  { return call1("aten::rand_like", t) }

// Bernoulli draws 1 with the probabilities in t, else 0.
func (t *Tensor) Bernoulli() *Tensor { return call1("aten::bernoulli", t) }

// Multinomial draws n indices per row of t, whose rows are weights, with replacement.
func (t *Tensor) Multinomial(n int64) *Tensor { return call1("aten::multinomial", t, n, true) }
