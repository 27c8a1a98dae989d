package train

import (
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Loss is what a method adds whose step follows the gradient of one summed loss over a batch of
// examples: all methods but PPO.
type Loss interface {
	// Lengths are the tokens of each training example, for batching.
	Lengths() []int
	// Begin is called before a batch's micro-batches. It returns what the batch's summed loss is
	// divided by: its response tokens for SFT, its pairs for DPO. It spans all micro-batches, so that
	// splitting changes nothing.
	Begin(batch []int) (weight float64)
	// Of is the summed loss of a micro-batch of training examples, a scalar that requires grad, and
	// adds its metrics to m; "loss" is one of them.
	Of(examples []int, m *Metrics) *tensor.Tensor
	// Evaluate returns the held-out metrics under TRL's names: eval_loss, eval_rewards/accuracies, kl.
	Evaluate() map[string]float64
}

// Descent is the Method of a Loss: one optimiser step a batch.
type Descent struct {
	Loss
	Policy         *Learner
	MicroBatchSize int
	Group          *distributed.Group
	Seed           uint64 // of dropout
}

// Step implements Method.
func (d *Descent) Step(batch []int, at Position, m *Metrics) (gradNorm float64, err error) {
	weight := d.Begin(batch)
	defer d.Policy.Model.Dropout(d.Seed, at.Step)()
	// Gradients of all micro-batches add up to the gradient of the whole batch's loss.
	mine := newMetrics(m.Detailed)
	for micro, idle := range share(d.Group, batch, d.Lengths(), d.MicroBatchSize) {
		of, scale := mine, 1/weight
		if idle {
			of, scale = newMetrics(m.Detailed), 0
		}
		tensor.Scoped(func() {
			d.Of(micro, of).MulScalar(scale).Backward()
			d.Policy.Model.FinishBackward()
		})
	}
	m.addAll(mine.Gather(d.Group))
	return d.Policy.Update(at.Rate, m.Values()["loss"])
}

// Learners implements Method.
func (d *Descent) Learners() []*Learner { return []*Learner{d.Policy} }

// Published implements Method.
func (d *Descent) Published() *model.Model { return d.Policy.Model }

// Numbers implements Method: there are none.
func (d *Descent) Numbers() map[string]*float64 { return nil }
