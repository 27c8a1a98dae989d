package train

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// ErrStopRule is a rule of the run's Stop that it has met. Its state is saved.
var ErrStopRule = errors.New("stopped by a rule")

// recentSteps is how many steps the training loss is averaged over before it is held to a rule: a single
// batch says little.
const recentSteps = 10

// seen are a run's newest numbers. They are saved with the state: an attempt that resumes must know what
// the one before it was stopped for, and one that resumes at the last step has no others to publish.
type seen struct {
	Stepped  map[string]float64 `json:"stepped,omitempty"` // of the last step
	Held     map[string]float64 `json:"held,omitempty"`    // of the last evaluation
	HeldStep int                `json:"heldStep,omitempty"`
	Losses   []float64          `json:"losses,omitempty"` // of the recentSteps last steps
}

func (s *seen) step(values map[string]float64) {
	s.Stepped = values
	if loss, ok := values["loss"]; ok && finite(loss) {
		s.Losses = append(s.Losses, loss)
		s.Losses = slices.Clone(s.Losses[max(0, len(s.Losses)-recentSteps):])
	}
}

// all are the numbers under their names, those of the last step before the evaluation's.
func (s seen) all() map[string]float64 {
	all := map[string]float64{}
	maps.Copy(all, s.Held)
	maps.Copy(all, s.Stepped)
	return all
}

// storable is s without what JSON cannot hold.
func (s seen) storable() seen {
	keep := func(from map[string]float64) map[string]float64 {
		from = maps.Clone(from)
		maps.DeleteFunc(from, func(_ string, v float64) bool { return !finite(v) })
		return from
	}
	s.Stepped, s.Held = keep(s.Stepped), keep(s.Held)
	return s
}

// measured is a number that a rule looks at.
type measured struct {
	name  string
	value float64
	step  int
}

// stopRule returns an ErrStopRule that names the rule that the newest numbers break, if they break one.
func (t *Trainer) stopRule() error {
	s := t.Config.Stop
	of := func(values map[string]float64, step int, names ...string) (list []measured) {
		for _, name := range names {
			if v, ok := values[name]; ok && step >= max(1, s.AfterSteps) {
				list = append(list, measured{name, v, step})
			}
		}
		return list
	}
	var recent []measured
	if n := len(t.seen.Losses); n > 0 && t.run.Step >= max(1, s.AfterSteps) {
		var sum float64
		for _, v := range t.seen.Losses {
			sum += v
		}
		recent = append(recent, measured{fmt.Sprintf("the mean loss of %d steps", n), sum / float64(n), t.run.Step})
	}
	for _, rule := range []struct {
		field  string
		limit  *float64
		breaks func(value, limit float64) bool
		word   string
		by     []measured
	}{
		{"maxKL", s.MaxKL, above, "above", slices.Concat(
			of(t.seen.Stepped, t.run.Step, iterationKL), of(t.seen.Held, t.seen.HeldStep, heldKL...))},
		{"minRewardAccuracy", s.MinRewardAccuracy, below, "below", of(t.seen.Held, t.seen.HeldStep, heldAccuracy)},
		{"maxLoss", s.MaxLoss, above, "above", recent},
	} {
		for _, m := range rule.by {
			if rule.limit != nil && rule.breaks(m.value, *rule.limit) {
				return fmt.Errorf("%w: stop.%s: %s is %.4g at step %d of %d, %s the limit of %g",
					ErrStopRule, rule.field, m.name, m.value, m.step, t.run.TotalSteps, rule.word, *rule.limit)
			}
		}
	}
	return nil
}

// The metrics that rules look at.
const (
	iterationKL  = "objective/kl" // of PPO's sampled responses
	heldAccuracy = "eval_rewards/accuracies"
)

var heldKL = []string{"kl", "eval_kl"} // of sampled responses; KTO's own estimate

func above(value, limit float64) bool { return value > limit }
func below(value, limit float64) bool { return value < limit }

// unmeasured refuses a rule for whose metric an evaluation has no value, for lack of held-out examples.
func (t *Trainer) unmeasured() error {
	s := t.Config.Stop
	has := func(name string) bool { _, ok := t.seen.Held[name]; return ok }
	refuse := func(field string) error {
		return fmt.Errorf("%w: stop.%s: no examples are held out to measure it on: raise data.evalFraction, or name data.eval", runconfig.ErrInvalid, field)
	}
	switch {
	case s.MaxKL != nil && t.Config.Method != runconfig.PPO && !slices.ContainsFunc(heldKL, has):
		return refuse("maxKL")
	case s.MinRewardAccuracy != nil && !has(heldAccuracy):
		return refuse("minRewardAccuracy")
	}
	return nil
}

// diverged returns an ErrDiverged when what is about to be published is none of a model: the last update, or
// rounding behind it, may have broken what no later step has seen.
func (t *Trainer) diverged() error {
	for _, name := range []string{"eval_loss", "eval_ptx_loss", "eval_objective/scores"} {
		if v, ok := t.seen.Held[name]; ok && !finite(v) {
			return fmt.Errorf("%w: %s is %g at step %d", ErrDiverged, name, v, t.seen.HeldStep)
		}
	}
	for _, l := range t.Method.Learners() {
		if norm := l.norm(); !finite(norm) {
			return fmt.Errorf("%w: the %s's weights have the norm %g after step %d", ErrDiverged, l.Name, norm, t.run.Step)
		}
	}
	return nil
}
