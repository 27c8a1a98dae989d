package model

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Model is a policy, a frozen reference, or, with a score head, a reward or value model: a Config and its
// weights, which live in the scope that was innermost when New, Load, Clone or WithScore was called.
type Model struct {
	config  Config
	weights tensor.DType // of trainable weights
	dtype   tensor.DType // of activations, and of frozen weights
	device  tensor.Device
	params  []Parameter // in the order of specs
	decoder

	base     *Model    // without adapters; nil where there are none
	lora     *LoRA     // the adapters'
	sharding *sharding // nil where every weight is here
	opened   bool      // what is outside of the blocks is here, too

	dropout *uint64 // what the adapters' dropout starts from; nil when nothing is dropped

	checkpoint   bool       // activations
	logitsAtOnce int64      // the most that the head computes at a time
	heads        []*chunked // of FinishBackward, as
	pending      []*forward
}

// Parameter is a weight under its Hugging Face name.
type Parameter struct {
	Name   string
	Tensor *tensor.Tensor
	// Decay says that weight decay applies: to matrices, not to norms and biases.
	Decay bool
	// Shape is the weight's where Tensor is a rank's part of it (see Sharded); else nil.
	Shape []int64
}

// New initialises a model at random: matrices from N(0, initializer_range), of GPT-2 some narrower, a score head from
// N(0, 1/(hidden_size+1)), so that first scores are near 0, norms 1, biases 0. The
// numbers depend on seed and the parameter's name only, and are the same on every machine. The ranks of a group, if one
// is given, divide the weights among them (see Sharded).
func New(c Config, dtype tensor.DType, device tensor.Device, seed uint64, ranks ...*distributed.Group) (*Model, error) {
	if field, message := c.problem(); field != "" {
		return nil, fmt.Errorf("%w: %s: %s", ErrConfig, field, message)
	}
	return build(c, dtype, device, newSharding(ranks), func(m *Model, s spec) (Parameter, error) {
		return m.parameter(s, tensor.FromFloat32(initial(s, seed), s.shape...)), nil
	})
}

// initial are New's values of one parameter.
func initial(s spec, seed uint64) []float32 {
	values := make([]float32, size(s.shape))
	switch {
	case len(s.shape) == 2:
		r := generator(seed, s.name)
		for i := range values {
			values[i] = float32(r.NormFloat64() * s.deviation)
		}
	case strings.HasSuffix(s.name, ".weight"):
		for i := range values {
			values[i] = 1
		}
	}
	return values
}

// ReadFunc finds a stored tensor by name; dtype is safetensors' name for it: F64, F32, BF16 or F16. The bytes are read
// before the next call. A missing one is fs.ErrNotExist.
type ReadFunc func(name string) (dtype string, shape []int64, data []byte, err error)

// Load reads a model's weights and converts them to dtype. A tensor that is missing or has another
// shape than the config says is an error with its name; tensors that the config doesn't know are not read.
// A checkpoint of transformers' base model, whose names lack their beginning ("model."), loads too. ranks are
// New's.
func Load(c Config, dtype tensor.DType, device tensor.Device, read ReadFunc, ranks ...*distributed.Group) (*Model, error) {
	if field, message := c.problem(); field != "" {
		return nil, fmt.Errorf("%w: %s: %s", ErrConfig, field, message)
	}
	return build(c, dtype, device, newSharding(ranks), func(m *Model, s spec) (Parameter, error) { return m.read(s, read) })
}

// read makes a parameter of what is stored.
func (m *Model) read(s spec, read ReadFunc) (p Parameter, err error) {
	stored, shape, data, err := read(s.name)
	if base, ok := strings.CutPrefix(s.name, m.config.family().base); ok && errors.Is(err, fs.ErrNotExist) {
		var again error
		if stored, shape, data, again = read(base); again == nil {
			err = nil
		}
	}
	if err != nil {
		return p, fmt.Errorf("load model: %s: %w", s.name, err)
	}
	if !slices.Equal(shape, s.shape) {
		return p, fmt.Errorf("load model: %s: got shape %v, the config says %v", s.name, shape, s.shape)
	}
	d, width, ok := floatType(stored)
	if !ok {
		return p, fmt.Errorf("load model: %s: dtype %s is not supported", s.name, stored)
	}
	if int64(len(data)) != width*size(shape) {
		return p, fmt.Errorf("load model: %s: got %d bytes for shape %v of %s", s.name, len(data), shape, stored)
	}
	return m.parameter(s, tensor.FromBytes(d, data, shape...)), nil
}

// Clone returns a copy to train apart from m. Weights that m has frozen, which nobody changes, are
// shared and not copied.
func (m *Model) Clone() *Model { return m.copyIn(m.weights) }

// copyIn is Clone with the copied weights in another type.
func (m *Model) copyIn(weights tensor.DType) *Model {
	copyOf := func(copied *Model, s spec) (Parameter, error) {
		p := m.params[slices.IndexFunc(m.params, func(p Parameter) bool { return p.Name == s.name })]
		if p.Tensor.NeedsGrad() || p.Tensor.DType() != m.dtype {
			weight := p.Tensor
			m.sharding.during([]*tensor.Tensor{weight}, func() { p = copied.parameter(s, weight.Detach()) })
		}
		return p, nil
	}
	if m.lora != nil {
		return m.cloneLoRA(copyOf)
	}
	out, err := build(m.config, weights, m.device, m.sharding, copyOf)
	if err != nil { // it has every parameter of its own config
		panic(err)
	}
	out.dtype = m.dtype
	return out
}

// Freeze stops gradients to all parameters, as of a reference; it returns m. A forward of a frozen
// model keeps nothing for a backward pass. Frozen weights are rounded to the type that m computes in (see ComputeIn).
func (m *Model) Freeze() *Model {
	for _, p := range m.params {
		p.Tensor.RequiresGrad(false)
	}
	m.roundFrozen()
	return m
}

// FreezeLayers stops gradients to the embedding and the first n layers, as Freeze does to all; n is at most
// NumHiddenLayers. A tied head, being the embedding, is frozen too.
func (m *Model) FreezeLayers(n int) {
	for _, p := range m.params {
		below := p.Tensor == m.embedding || p.Tensor == m.positions
		for i := range n {
			below = below || strings.HasPrefix(p.Name, m.config.blockName(i))
		}
		if below {
			p.Tensor.RequiresGrad(false)
		}
	}
	m.roundFrozen()
}

// Trainable lists the weights that have gradients, in the order of Parameters; of a sharded model, this rank's parts.
func (m *Model) Trainable() []Parameter {
	params := slices.DeleteFunc(m.Parameters(), func(p Parameter) bool { return !p.Tensor.NeedsGrad() })
	if m.sharding != nil {
		for i, p := range params {
			params[i].Tensor, params[i].Shape = m.sharding.parts[p.Tensor].elements, p.Tensor.Shape()
		}
	}
	return params
}

// Config returns the architecture.
func (m *Model) Config() Config { return m.config }

// DType is the type of activations and of published weights.
func (m *Model) DType() tensor.DType { return m.dtype }

// Device is where the weights are.
func (m *Model) Device() tensor.Device { return m.device }

// Parameters lists all weights, always in the same order. A tied head is the embedding and not listed. The elements
// of a sharded model's are there inside Whole only.
func (m *Model) Parameters() []Parameter { return slices.Clone(m.params) }

// build makes a model of the parameters that get returns.
func build(c Config, dtype tensor.DType, device tensor.Device, sharding *sharding, get func(*Model, spec) (Parameter, error)) (*Model, error) {
	m := &Model{config: c, weights: dtype, dtype: dtype, device: device, logitsAtOnce: logitsAtOnce, sharding: sharding}
	var failed error
	m.decoder = c.assemble(func(s spec) (t *tensor.Tensor) {
		if failed != nil {
			return nil
		}
		tensor.Scoped(func() {
			var p Parameter
			if p, failed = get(m, s); failed == nil {
				m.params = append(m.params, p)
				m.keep(p)
				t = p.Tensor
			}
		})
		return t
	})
	if failed != nil {
		return nil, failed
	}
	return m, nil
}

// parameter is a trainable copy of t.
func (m *Model) parameter(s spec, t *tensor.Tensor) Parameter {
	own := tensor.Empty(m.weights, s.shape...).ToDevice(m.device)
	tensor.NoGrad(func() { own.CopyInPlace(t) })
	if m.sharding != nil {
		m.sharding.cut(own)
	}
	return Parameter{Name: s.name, Tensor: own.RequiresGrad(true), Decay: len(s.shape) == 2}
}

func size(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

// floatType is the tensor type of a safetensors dtype and its bytes.
func floatType(name string) (d tensor.DType, width int64, ok bool) {
	switch name {
	case "F64":
		return tensor.Float64, 8, true
	case "F32":
		return tensor.Float32, 4, true
	case "BF16":
		return tensor.BFloat16, 2, true
	case "F16":
		return tensor.Float16, 2, true
	}
	return 0, 0, false
}
