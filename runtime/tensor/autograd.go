package tensor

// #include "bridge.h"
import "C"

// RequiresGrad makes autograd record what is computed from t, or not, and returns t.
func (t *Tensor) RequiresGrad(on bool) *Tensor {
	call0("aten::requires_grad_", t, on)
	return t
}

// NeedsGrad says whether autograd records what is computed from t.
func (t *Tensor) NeedsGrad() bool { return C.at_requires_grad(t.handle("NeedsGrad")) != 0 }

// Grad is the gradient that Backward has left, another handle on it at every call; nil before.
func (t *Tensor) Grad() *Tensor { return register(C.at_grad(t.handle("Grad"))) }

// SetGrad replaces the gradient, which must have t's shape and type; nil removes it.
func (t *Tensor) SetGrad(grad *Tensor) {
	var g C.at_tensor
	if grad != nil {
		g = grad.handle("SetGrad")
	}
	check("SetGrad", C.at_set_grad(t.handle("SetGrad"), g), t, grad)
}

// ZeroGrad removes the gradient: the next Backward sets it instead of adding to it.
func (t *Tensor) ZeroGrad() { t.SetGrad(nil) }

// Backward adds the derivatives of t, a scalar, to the Grad of everything that required it.
func (t *Tensor) Backward() { call0("aten::_backward", t, []*Tensor(nil)) }

// BackwardWith is Backward for a t of any shape: of the sum of t * grad.
func (t *Tensor) BackwardWith(grad *Tensor) { call0("aten::_backward", t, []*Tensor(nil), grad) }

// Detach is t's values, on the same storage, without its history.
func (t *Tensor) Detach() *Tensor { return call1("aten::detach", t) }

// GradEnabled says whether autograd is on.
func GradEnabled() bool {
	on := C.at_set_grad_enabled(0)
	C.at_set_grad_enabled(on)
	return on != 0
}

// NoGrad calls f with autograd off. It opens no scope.
func NoGrad(f func()) { withGrad(0, f) }

// EnableGrad calls f with autograd on, inside NoGrad.
func EnableGrad(f func()) { withGrad(1, f) }

func withGrad(on C.int, f func()) {
	current("NoGrad")
	was := C.at_set_grad_enabled(on)
	defer C.at_set_grad_enabled(was)
	f()
}
