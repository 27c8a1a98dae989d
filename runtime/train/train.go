package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/optim"
)

// ErrInterrupted says that the context ended and the state was saved.
var ErrInterrupted = errors.New("interrupted; the state is saved")

// errStopped ends a run early, in good order: what it has trained is published.
var errStopped = errors.New("stopped early")

// Method is what a training method adds to the loop.
type Method interface {
	// Lengths are the tokens of each training example, for batching.
	Lengths() []int
	// Step learns from a batch of training examples and adds its metrics to m. It returns the
	// gradients' norm before clipping.
	Step(batch []int, at Position, m *Metrics) (gradNorm float64, err error)
	// Evaluate returns the held-out metrics under TRL's names: eval_loss, eval_rewards/accuracies, kl.
	Evaluate() map[string]float64
	// Learners are the models in training, and Published the one that the run is for.
	Learners() []*Learner
	Published() *model.Model
	// Numbers are what else changes from step to step, by name; they are saved, and set on resuming.
	Numbers() map[string]*float64
}

// Position is where in a run a step is.
type Position struct {
	// Step counts from 0; what is random in a step depends on it and the seed alone.
	Step int
	// Rate is the learning rate.
	Rate float64
}

// Trainer runs one method.
type Trainer struct {
	Config *runconfig.RunConfig
	Method Method
	// Weights say how often each training example comes in an epoch; nil is once.
	Weights []float64
	// Dir is the output folder, whose state/ holds resume state.
	Dir string
	// Identity is what resume state must match: the run hash and the digests of the inputs.
	Identity string
	// Log records metrics of a step.
	Log func(step int, values map[string]float64) error
	// Saved is told of each state that was saved; it may be nil.
	Saved func(step int) error
	// Rewind is told, before the first step, which step an attempt continues from.
	Rewind func(step int) error
	// Progress is told where the run is.
	Progress func(runconfig.Progress)
	// Group's ranks run the method together, and rank 0 saves; nil: this process alone.
	Group *distributed.Group
	// Now is the clock, for tokens/s and the ETA only.
	Now func() time.Time

	run  Totals
	seen seen
}

// Totals are what a run has consumed over all of its attempts.
type Totals struct {
	Step       int     `json:"step"`
	TotalSteps int     `json:"totalSteps"`
	Epoch      float64 `json:"epoch"`
	Tokens     int64   `json:"tokens"`  // through the policy in training, padding excluded
	Seconds    float64 `json:"seconds"` // in optimiser steps; evaluation and saving excluded
	// Stopped says why the run ended before TotalSteps; empty when it did not.
	Stopped string `json:"stopped,omitempty"`
}

// Run trains to the last step and returns the last metrics, held-out ones included.
// It resumes from the newest complete state. When ctx ends it saves and returns
// ErrInterrupted; when a stop rule is met it saves and returns ErrStopRule. A non-finite loss or gradient
// returns ErrDiverged before the step is applied.
func (t *Trainer) Run(ctx context.Context) (Totals, map[string]float64, error) {
	c := t.Config.Training
	lengths := t.Method.Lengths()
	if len(lengths) == 0 {
		return t.run, nil, errors.New("train: no training examples")
	}
	stepsPerEpoch := len(data.Plan(lengths, t.Weights, c.BatchSize, t.Config.Seed, 0))
	total := c.MaxSteps
	if total == 0 {
		total = max(1, int(math.Round(c.Epochs*float64(stepsPerEpoch))))
	}
	t.run.TotalSteps = total
	schedule := optim.Schedule{Kind: c.Schedule, Peak: c.LearningRate, TotalSteps: total, WarmupSteps: c.WarmupSteps, MinRatio: c.MinLearningRateRatio}
	if schedule.WarmupSteps == 0 {
		schedule.WarmupSteps = int(math.Ceil(c.WarmupRatio * float64(total)))
	}

	resumed, err := t.restore()
	if err != nil {
		return t.run, nil, err
	}
	for rank, step := range distributed.Gather(t.Group, resumed) {
		if step != resumed {
			return t.run, nil, fmt.Errorf("load state: rank %d finds that of step %d, rank %d of step %d: the nodes of a run share its output folder", rank, step, t.Group.Rank(), resumed)
		}
	}
	if err := t.Rewind(resumed); err != nil {
		return t.run, nil, err
	}
	progress := runconfig.Progress{Phase: runconfig.PhaseEvaluating, TotalSteps: total, ResumedFrom: resumed}
	report := func() {
		progress.Step = t.run.Step
		progress.Epoch = t.run.Epoch
		progress.Percent = 100 * float64(t.run.Step) / float64(total)
		if t.run.Step > 0 {
			progress.ETASeconds = t.run.Seconds / float64(t.run.Step) * float64(total-t.run.Step)
		}
		progress.Metrics = t.seen.all()
		t.Progress(progress)
	}
	evaluate := func() error {
		progress.Phase = runconfig.PhaseEvaluating
		report()
		t.seen.Held, t.seen.HeldStep = t.Method.Evaluate(), t.run.Step
		progress.Phase = runconfig.PhaseTraining
		return t.Log(t.run.Step, t.seen.Held)
	}

	if t.run.Step == 0 {
		if err := evaluate(); err != nil {
			return t.run, nil, err
		}
		if err := t.unmeasured(); err != nil {
			return t.run, nil, err
		}
	}
	progress.Phase = runconfig.PhaseTraining
	report()
	if err := t.stopRule(); err != nil { // it resumes where the rule stopped it, and the rule still holds
		return t.run, t.seen.all(), err
	}
	epoch, plan := -1, [][]int(nil)
	for t.run.Step < total {
		if t.Group.Any(ctx.Err() != nil) { // all leave at the same step
			return t.run, t.seen.all(), t.interrupt()
		}
		started := t.Now()
		if e := t.run.Step / stepsPerEpoch; e != epoch {
			epoch, plan = e, data.Plan(lengths, t.Weights, c.BatchSize, t.Config.Seed, uint64(e))
		}
		batch := plan[t.run.Step%stepsPerEpoch]

		logged := (t.run.Step+1)%c.LogSteps == 0 || t.run.Step+1 == total
		metrics := newMetrics(logged)
		rate := schedule.At(t.run.Step)
		norm, err := t.Method.Step(batch, Position{t.run.Step, rate}, metrics)
		if errors.Is(err, errStopped) {
			t.run.Stopped = err.Error()
			break
		}
		if err != nil {
			return t.run, t.seen.all(), fmt.Errorf("step %d: %w", t.run.Step+1, err)
		}
		values := metrics.Values()
		seconds := t.Now().Sub(started).Seconds()
		t.run.Step++
		t.run.Epoch = float64(t.run.Step) / float64(stepsPerEpoch)
		t.run.Tokens += int64(values["num_tokens"])
		t.run.Seconds += seconds
		values["grad_norm"], values["learning_rate"] = norm, rate
		t.seen.step(values)
		if seconds > 0 {
			progress.TokensPerSecond = values["num_tokens"] / seconds
		}
		if logged {
			if err := t.Log(t.run.Step, values); err != nil {
				return t.run, t.seen.all(), err
			}
		}
		if n := t.Config.Evaluation.EverySteps; t.run.Step == total || n > 0 && t.run.Step%n == 0 {
			if err := evaluate(); err != nil {
				return t.run, t.seen.all(), err
			}
		}
		report()
		if err := t.stopRule(); err != nil {
			return t.run, t.seen.all(), t.stop(err)
		}
		if n := t.Config.Checkpoint.EverySteps; n > 0 && t.run.Step%n == 0 && t.run.Step < total {
			if err := t.save(); err != nil {
				return t.run, t.seen.all(), err
			}
		}
	}
	if t.run.Stopped != "" {
		t.seen.Stepped = nil
		if err := evaluate(); err != nil { // the last step has not done it
			return t.run, t.seen.all(), err
		}
		if err := t.stopRule(); err != nil {
			return t.run, t.seen.all(), t.stop(err)
		}
	}
	return t.run, t.seen.all(), t.diverged()
}

// stop saves before a rule ends the run.
func (t *Trainer) stop(rule error) error {
	if err := t.save(); err != nil {
		return err
	}
	return rule
}

func (t *Trainer) interrupt() error {
	if err := t.save(); err != nil {
		return err
	}
	return fmt.Errorf("%w at step %d of %d", ErrInterrupted, t.run.Step, t.run.TotalSteps)
}
