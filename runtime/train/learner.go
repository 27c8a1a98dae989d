package train

import (
	"errors"
	"fmt"
	"math"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/optim"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// ErrDiverged is a loss or gradient that is not a finite number.
var ErrDiverged = errors.New("diverged")

// Learner is a model in training with its optimiser.
type Learner struct {
	// Name tells the learners of a run apart in its resume state: policy, value.
	Name  string
	Model *model.Model
	// Group's ranks, each with such a learner, train it together; nil: this process alone.
	Group *distributed.Group

	params      []model.Parameter // those that change
	adamw       *optim.AdamW      // nil for an average, which follows another's weights
	maxGradNorm float64
}

// NewLearner gives a model an optimiser at step 0. Its state lives in the innermost scope.
func NewLearner(name string, m *model.Model, c runconfig.Training) *Learner {
	params := m.Trainable()
	return &Learner{
		Name: name, Model: m, params: params, maxGradNorm: c.MaxGradNorm,
		adamw: optim.NewAdamW(params, optim.AdamWParams{Beta1: c.Beta1, Beta2: c.Beta2, Epsilon: c.Epsilon, WeightDecay: c.WeightDecay}),
	}
}

// Update adds up the ranks' gradients, clips them, applies them at a learning rate and forgets them. It returns their
// norm before clipping; when that or the loss is not finite nothing is applied, and the error is ErrDiverged.
func (l *Learner) Update(rate, loss float64) (gradNorm float64, err error) {
	l.reduce()
	gradNorm = optim.ClipShardedGradNorm(l.params, l.maxGradNorm, l.shards())
	if !finite(loss) || !finite(gradNorm) {
		return gradNorm, fmt.Errorf("%w: %s loss %g, gradient norm %g", ErrDiverged, l.Name, loss, gradNorm)
	}
	l.adamw.Step(rate)
	l.adamw.ZeroGrad()
	return gradNorm, nil
}

// bucketElements is how many numbers the ranks add up in one collective: enough to be worth its latency, few enough
// for a copy of them to be small beside the model.
const bucketElements = 16 << 20

// reduce adds up the gradients of all ranks, of which every one has a part of the batch's. A rank without a gradient, since
// it had no example, has zeros.
func (l *Learner) reduce() {
	if l.Group.World() == 1 || l.Model.Sharded() { // which has done so, block by block
		return
	}
	tensor.NoGrad(func() {
		for from := 0; from < len(l.params); {
			to, n := from, int64(0)
			for ; to < len(l.params) && (n == 0 || n+l.params[to].Tensor.NumElements() <= bucketElements); to++ {
				n += l.params[to].Tensor.NumElements()
			}
			tensor.Scoped(func() {
				var grads []*tensor.Tensor
				for _, p := range l.params[from:to] {
					g := p.Tensor.Grad()
					if g == nil {
						g = tensor.ZerosLike(p.Tensor)
						p.Tensor.SetGrad(g)
					}
					grads = append(grads, g)
				}
				var parts []*tensor.Tensor
				for _, g := range grads {
					parts = append(parts, g.Reshape(-1))
				}
				bucket := tensor.Cat(0, parts...) // [n]
				l.Group.Sum(bucket)
				for at, i := int64(0), 0; i < len(grads); i++ {
					n := grads[i].NumElements()
					grads[i].CopyInPlace(bucket.Narrow(0, at, n).Reshape(grads[i].Shape()...))
					at += n
				}
			})
			from = to
		}
	})
}

// norm is of all weights that change, taken as one vector.
func (l *Learner) norm() (norm float64) {
	var weights []*tensor.Tensor
	for _, p := range l.params {
		weights = append(weights, p.Tensor)
	}
	if len(weights) > 0 {
		tensor.Scoped(func() {
			tensor.NoGrad(func() { norm = tensor.Stack(0, tensor.ForeachNorm(weights)...).To(tensor.Float64).Norm().Item() })
		})
	}
	if g := l.shards(); g != nil {
		norm = math.Sqrt(g.SumOf([]float64{norm * norm})[0])
	}
	return norm
}

// shards is the group whose ranks have a part of the weights each; nil where this one has them whole.
func (l *Learner) shards() *distributed.Group {
	if l.Model.Sharded() {
		return l.Group
	}
	return nil
}

// StateBytes is what the learner takes in a saved state, of all ranks: the weights that change and AdamW's two moments.
func (l *Learner) StateBytes() int64 {
	n := Bytes(l.params) * int64(l.shards().World())
	if l.adamw == nil {
		return n
	}
	return 3 * n
}

// Bytes is what weights take.
func Bytes(params []model.Parameter) (n int64) {
	for _, p := range params {
		n += p.Tensor.NumElements() * int64(p.Tensor.DType().Size())
	}
	return n
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
