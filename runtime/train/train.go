package train

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/optim"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// ErrInterrupted says that the context ended and the state was saved.
var ErrInterrupted = errors.New("interrupted; the state is saved")

// ErrDiverged is a loss or gradient that is not a finite number.
var ErrDiverged = errors.New("diverged")

// Method is what a training method adds to the loop.
type Method interface {
	// Lengths are the tokens of each training example, for batching.
	Lengths() []int
	// Weight is what a batch's summed loss is divided by: its response tokens for SFT,
	// its pairs for DPO. It spans all micro-batches, so that splitting changes nothing.
	Weight(batch []int) float64
	// Loss is the summed loss of a micro-batch of training examples, a scalar that
	// requires grad, and adds its metrics to m.
	Loss(examples []int, m *Metrics) *tensor.Tensor
	// Evaluate returns the held-out metrics under TRL's names: eval_loss, eval_rewards/accuracies, kl.
	Evaluate() map[string]float64
}

// Trainer runs one method on one policy.
type Trainer struct {
	Config *runconfig.RunConfig
	Policy *model.Model
	Method Method
	// Dir is the output folder, whose state/ holds resume state.
	Dir string
	// Identity is what resume state must match: the run hash and the digests of the inputs.
	Identity string
	// Log records metrics of a step.
	Log func(step int, values map[string]float64) error
	// Rewind is told, before the first step, which step an attempt continues from.
	Rewind func(step int) error
	// Progress is told where the run is.
	Progress func(runconfig.Progress)
	// Now is the clock, for tokens/s and the ETA only.
	Now func() time.Time

	adamw *optim.AdamW
	run   Totals
}

// Totals are what a run has consumed over all of its attempts.
type Totals struct {
	Step       int     `json:"step"`
	TotalSteps int     `json:"totalSteps"`
	Epoch      float64 `json:"epoch"`
	Tokens     int64   `json:"tokens"`  // through the policy in training, padding excluded
	Seconds    float64 `json:"seconds"` // in optimiser steps; evaluation and saving excluded
}

// Run trains to the last step and returns the last metrics, held-out ones included.
// It resumes from the newest complete state. When ctx ends it saves and returns
// ErrInterrupted; a non-finite loss or gradient returns ErrDiverged before the step is applied.
func (t *Trainer) Run(ctx context.Context) (Totals, map[string]float64, error) {
	c := t.Config.Training
	lengths := t.Method.Lengths()
	if len(lengths) == 0 {
		return t.run, nil, errors.New("train: no training examples")
	}
	stepsPerEpoch := len(data.Plan(lengths, c.BatchSize, t.Config.Seed, 0))
	total := c.MaxSteps
	if total == 0 {
		total = max(1, int(math.Round(c.Epochs*float64(stepsPerEpoch))))
	}
	t.run.TotalSteps = total
	params := t.Policy.Parameters()
	t.adamw = optim.NewAdamW(params, optim.AdamWParams{Beta1: c.Beta1, Beta2: c.Beta2, Epsilon: c.Epsilon, WeightDecay: c.WeightDecay})
	schedule := optim.Schedule{Kind: c.Schedule, Peak: c.LearningRate, TotalSteps: total, WarmupSteps: c.WarmupSteps, MinRatio: c.MinLearningRateRatio}
	if schedule.WarmupSteps == 0 {
		schedule.WarmupSteps = int(math.Ceil(c.WarmupRatio * float64(total)))
	}

	resumed, err := t.restore()
	if err != nil {
		return t.run, nil, err
	}
	if err := t.Rewind(resumed); err != nil {
		return t.run, nil, err
	}
	progress := runconfig.Progress{Phase: runconfig.PhaseEvaluating, TotalSteps: total, ResumedFrom: resumed, Metrics: map[string]float64{}}
	report := func() {
		progress.Step = t.run.Step
		progress.Epoch = t.run.Epoch
		progress.Percent = 100 * float64(t.run.Step) / float64(total)
		if t.run.Step > 0 {
			progress.ETASeconds = t.run.Seconds / float64(t.run.Step) * float64(total-t.run.Step)
		}
		p := progress
		p.Metrics = maps.Clone(progress.Metrics)
		t.Progress(p)
	}
	evaluate := func() error {
		progress.Phase = runconfig.PhaseEvaluating
		report()
		held := t.Method.Evaluate()
		maps.Copy(progress.Metrics, held)
		progress.Phase = runconfig.PhaseTraining
		return t.Log(t.run.Step, held)
	}

	if t.run.Step == 0 {
		if err := evaluate(); err != nil {
			return t.run, nil, err
		}
	}
	progress.Phase = runconfig.PhaseTraining
	report()
	epoch, plan := -1, [][]int(nil)
	for t.run.Step < total {
		if ctx.Err() != nil {
			return t.run, progress.Metrics, t.interrupt()
		}
		started := t.Now()
		if e := t.run.Step / stepsPerEpoch; e != epoch {
			epoch, plan = e, data.Plan(lengths, c.BatchSize, t.Config.Seed, uint64(e))
		}
		batch := plan[t.run.Step%stepsPerEpoch]

		logged := (t.run.Step+1)%c.LogSteps == 0 || t.run.Step+1 == total
		// Gradients of all micro-batches add up to the gradient of the whole batch's loss.
		metrics := newMetrics(logged)
		weight := t.Method.Weight(batch)
		for _, micro := range data.Micro(batch, lengths, c.MicroBatchSize) {
			tensor.Scoped(func() {
				t.Method.Loss(micro, metrics).MulScalar(1 / weight).Backward()
			})
		}
		values := metrics.Values()
		norm := optim.ClipGradNorm(params, c.MaxGradNorm)
		if loss := values["loss"]; !finite(loss) || !finite(norm) {
			return t.run, progress.Metrics, fmt.Errorf("%w at step %d: loss %g, gradient norm %g", ErrDiverged, t.run.Step+1, loss, norm)
		}
		rate := schedule.At(t.run.Step)
		t.adamw.Step(rate)
		t.adamw.ZeroGrad()

		seconds := t.Now().Sub(started).Seconds()
		t.run.Step++
		t.run.Epoch = float64(t.run.Step) / float64(stepsPerEpoch)
		t.run.Tokens += int64(values["num_tokens"])
		t.run.Seconds += seconds
		values["grad_norm"], values["learning_rate"] = norm, rate
		maps.Copy(progress.Metrics, values)
		if seconds > 0 {
			progress.TokensPerSecond = values["num_tokens"] / seconds
		}
		if logged {
			if err := t.Log(t.run.Step, values); err != nil {
				return t.run, progress.Metrics, err
			}
		}
		if n := t.Config.Evaluation.EverySteps; t.run.Step == total || n > 0 && t.run.Step%n == 0 {
			if err := evaluate(); err != nil {
				return t.run, progress.Metrics, err
			}
		}
		report()
		if n := t.Config.Checkpoint.EverySteps; n > 0 && t.run.Step%n == 0 && t.run.Step < total {
			if err := t.save(); err != nil {
				return t.run, progress.Metrics, err
			}
		}
	}
	return t.run, progress.Metrics, nil
}

func (t *Trainer) interrupt() error {
	if err := t.save(); err != nil {
		return err
	}
	return fmt.Errorf("%w at step %d of %d", ErrInterrupted, t.run.Step, t.run.TotalSteps)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
