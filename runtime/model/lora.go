package model

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// LoRA says which matrices of a model's blocks have a low-rank adapter (arXiv:2106.09685): where x meets the matrix
// W, [out, in], the adapter adds scale * B A x, with A [rank, in] and B [out, rank]. Names, numbers and defaults are PEFT's.
type LoRA struct {
	Rank  int
	Alpha float64
	// Dropout is the share of each adapter's inputs that training drops.
	Dropout float64
	// TargetModules are the modules to adapt, by the last parts of their names; AllLinear alone is every linear module of
	// a block; none are those of Config.LoRADefaults.
	TargetModules []string
	// RankStabilized scales by alpha / sqrt(rank) (arXiv:2312.03732) instead of alpha / rank.
	RankStabilized bool
}

// AllLinear as LoRA's only target module stands for all that there are.
const AllLinear = "all-linear"

// Scale is what an adapter's product is multiplied with.
func (l LoRA) Scale() float64 {
	if l.RankStabilized {
		return l.Alpha / math.Sqrt(float64(l.Rank))
	}
	return l.Alpha / float64(l.Rank)
}

// ErrLoRA is an adapter that does not go with its model.
var ErrLoRA = errors.New("invalid LoRA")

// LoRADefaults are the modules that PEFT adapts in a family when none are named.
func (c Config) LoRADefaults() []string { return c.family().adapted }

// LoRAModules are the modules that targets, as LoRA has them, stand for, by their full names. One that stands for
// none is an ErrLoRA that says which there are.
func (c Config) LoRAModules(targets []string) ([]string, error) {
	linear := c.linearModules()
	if slices.Equal(targets, []string{AllLinear}) {
		return linear, nil
	}
	targets = c.LoRATargets(targets)
	is := func(module, target string) bool { return module == target || strings.HasSuffix(module, "."+target) }
	for _, target := range targets {
		if !slices.ContainsFunc(linear, func(module string) bool { return is(module, target) }) {
			return nil, fmt.Errorf("%w: %q is no linear module of a block; there are %s", ErrLoRA, target, strings.Join(c.linearNames(), ", "))
		}
	}
	return slices.DeleteFunc(linear, func(module string) bool {
		return !slices.ContainsFunc(targets, func(target string) bool { return is(module, target) })
	}), nil
}

// LoRATargets are targets, as LoRA has them, spelt out by the last parts of their names.
func (c Config) LoRATargets(targets []string) []string {
	switch {
	case len(targets) == 0:
		return c.LoRADefaults()
	case slices.Equal(targets, []string{AllLinear}):
		return c.linearNames()
	}
	return targets
}

// linearModules are the full names of all linear modules of the blocks.
func (c Config) linearModules() (names []string) {
	blocks, _, _ := strings.Cut(c.family().base+c.family().block, "%d")
	for _, s := range c.specs() {
		if name, ok := strings.CutSuffix(s.name, ".weight"); ok && len(s.shape) == 2 && strings.HasPrefix(name, blocks) {
			names = append(names, name)
		}
	}
	return names
}

// linearNames are the last parts of linearModules, each once.
func (c Config) linearNames() (names []string) {
	for _, module := range c.linearModules() {
		if name := strings.TrimPrefix(path.Ext(module), "."); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// adapter is a projection's; its tensors are nil where there is none.
type adapter struct {
	a, b    *tensor.Tensor // [rank, in], [out, rank]
	scale   float64
	columns *tensor.Tensor // of dropout, int64 [in]; nil without
}

// The names of an adapter's parameters, after their module's.
const (
	loraA = ".lora_A.weight"
	loraB = ".lora_B.weight"
)

func isAdapter(name string) bool {
	return strings.HasSuffix(name, loraA) || strings.HasSuffix(name, loraB)
}

// WithLoRA returns a model of m's weights with adapters, which are trained in their place: A is drawn from
// U(-1/sqrt(in), 1/sqrt(in)) by seed and name, B is 0, so that it computes what m does until its first step. A score head is
// trained too, as a copy. m is frozen, and is the new model's Base: both share its weights.
func (m *Model) WithLoRA(l LoRA, seed uint64) (*Model, error) {
	return m.withLoRA(l, func(m *Model, s spec) (Parameter, error) {
		values := make([]float32, size(s.shape))
		if strings.HasSuffix(s.name, loraA) {
			bound, r := 1/math.Sqrt(float64(s.shape[1])), generator(seed, s.name)
			for i := range values {
				values[i] = float32((2*r.Float64() - 1) * bound)
			}
		}
		return m.parameter(s, tensor.FromFloat32(values, s.shape...)), nil
	})
}

// LoadLoRA is WithLoRA with the weights of an adapter that was saved; read finds them, and those of a score head,
// by the names that AdapterParameters has.
func (m *Model) LoadLoRA(l LoRA, read ReadFunc) (*Model, error) {
	out, err := m.withLoRA(l, func(m *Model, s spec) (Parameter, error) { return m.read(s, read) })
	if err != nil || !m.HasScore() {
		return out, err
	}
	head, err := m.read(m.config.scoreSpec(), read)
	if err == nil {
		out.assign(out.score, head.Tensor)
		out.discard(head)
	}
	return out, err
}

func (m *Model) withLoRA(l LoRA, get func(*Model, spec) (Parameter, error)) (*Model, error) {
	modules, err := m.config.LoRAModules(l.TargetModules)
	if err != nil {
		return nil, err
	}
	m.Freeze()
	out := *m
	out.base, out.lora = m, &l
	out.params, out.layers, out.heads, out.pending = slices.Clone(m.params), slices.Clone(m.layers), nil, nil
	own := func(s spec, get func(*Model, spec) (Parameter, error)) (p Parameter) {
		tensor.Scoped(func() {
			if p, err = get(&out, s); err == nil {
				out.keep(p)
			}
		})
		return p
	}
	if m.HasScore() {
		i := slices.IndexFunc(out.params, func(p Parameter) bool { return p.Tensor == m.score })
		out.params[i] = own(m.config.scoreSpec(), func(m *Model, s spec) (Parameter, error) { return m.parameter(s, tensor.ZerosLike(m.score)), nil })
		out.assign(out.params[i].Tensor, m.score)
		out.score = out.params[i].Tensor
	}
	for i := range out.layers {
		for _, w := range out.layers[i].projections() {
			name := m.config.blockName(i) + w.name
			if !slices.Contains(modules, name) {
				continue
			}
			to, from := w.shape()
			a := own(spec{name: name + loraA, shape: []int64{int64(l.Rank), from}}, get)
			if err != nil {
				return nil, err
			}
			b := own(spec{name: name + loraB, shape: []int64{to, int64(l.Rank)}}, get)
			if err != nil {
				return nil, err
			}
			out.params = append(out.params, a, b)
			w.lora = adapter{a: a.Tensor, b: b.Tensor, scale: l.Scale()}
			if l.Dropout > 0 {
				w.lora.columns = out.dropoutColumns(name, from)
			}
		}
	}
	return &out, nil
}

// cloneLoRA is Clone of a model with adapters: they are copied, and the base is the same.
func (m *Model) cloneLoRA(copyOf func(*Model, spec) (Parameter, error)) *Model {
	out, err := m.base.withLoRA(*m.lora, copyOf)
	if err != nil { // it was made with the same settings
		panic(err)
	}
	out.config = m.config
	if m.score != nil {
		out.assign(out.score, m.score)
	}
	return out
}

// Base is the model with its adapters off; nil without adapters.
func (m *Model) Base() *Model { return m.base }

// LoRA are the adapters' settings, TargetModules as WithLoRA was given them; false without adapters.
func (m *Model) LoRA() (LoRA, bool) {
	if m.lora == nil {
		return LoRA{}, false
	}
	return *m.lora, true
}

// AdapterParameters lists what PEFT saves of a model with adapters: A and B of each, and a score head.
func (m *Model) AdapterParameters() (params []Parameter) {
	for _, p := range m.params {
		if isAdapter(p.Name) || m.score != nil && p.Tensor == m.score {
			params = append(params, p)
		}
	}
	return params
}

// Merge puts W + scale * B A in the place of each adapted W, computed in float32 or wider and rounded to the type of W, and
// returns the model without adapters, trained as after Load, that computes what m did. The weights are m's and its base's:
// neither may be used afterwards. Without adapters it is m itself.
func (m *Model) Merge() *Model {
	if m.lora == nil {
		return m
	}
	out := *m
	out.base, out.lora, out.layers = nil, nil, slices.Clone(m.layers)
	for i := range out.layers {
		m.with(i, func() {
			for _, w := range out.layers[i].projections() {
				if w.lora.a != nil {
					tensor.Scoped(func() { tensor.NoGrad(func() { w.weight.CopyInPlace(w.merged()) }) })
					m.changed(w.weight)
					w.lora = adapter{}
				}
			}
		})
	}
	out.params = slices.DeleteFunc(slices.Clone(m.params), func(p Parameter) bool { return isAdapter(p.Name) })
	for _, p := range out.params {
		p.Tensor.RequiresGrad(p.Tensor.DType() == m.weights) // what ComputeIn has rounded stays frozen
	}
	return &out
}

// merged is weight + scale * B A, in float32 or wider, as the weight is stored.
func (w *projection) merged() *tensor.Tensor {
	wide := func(t *tensor.Tensor) *tensor.Tensor {
		if t.DType() == tensor.Float64 {
			return t
		}
		return t.To(tensor.Float32)
	}
	out := tensor.Call("aten::addmm", 1, wide(w.matrix()), wide(w.lora.b), wide(w.lora.a), 1, w.lora.scale)[0] // [out, in]
	if w.transposed {
		return out.Transpose(0, 1)
	}
	return out
}

// adapt adds to y, a product of x with w's weight, what w's adapter makes of x.
func (p *pass) adapt(y, x *tensor.Tensor, w projection) *tensor.Tensor {
	l, scale := w.lora, w.lora.scale
	if p.dropoutKeys != nil && l.columns != nil {
		share := p.model.lora.Dropout
		x, scale = dropped(x, p.dropoutKeys, l.columns, share), scale/(1-share)
	}
	inner := tensor.Linear(x, l.a) // [tokens, rank]
	return tensor.Call("aten::addmm", 1, y, inner, l.b.Transpose(0, 1), 1, scale)[0]
}
