package train

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/model"
)

// scripted is a method whose numbers are given, one for each step.
type scripted struct {
	t     *testing.T
	steps []map[string]float64 // of step 1, 2, ...
	held  []map[string]float64 // of an evaluation at step 0, 1, ...
	next  int                  // the step that is to come
	done  []int
}

func (s *scripted) Lengths() []int { return make([]int, 100) }
func (s *scripted) Step(_ []int, at Position, m *Metrics) (float64, error) {
	for name, v := range s.steps[at.Step] {
		m.Mean(name, v, 1)
	}
	s.next = at.Step + 1
	s.done = append(s.done, s.next)
	return 1, nil
}
func (s *scripted) Evaluate() map[string]float64 { return maps.Clone(s.held[s.next]) }
func (s *scripted) Learners() []*Learner         { return nil }
func (s *scripted) Published() *model.Model      { return nil }
func (s *scripted) Numbers() map[string]*float64 { return nil }

func (s *scripted) run(dir string, method runconfig.Method, stop runconfig.Stop, every int) (Totals, map[string]float64, error) {
	c := &runconfig.RunConfig{Method: method, Stop: stop}
	c.Training.BatchSize, c.Training.MaxSteps, c.Training.LogSteps = 1, len(s.steps), 1
	c.Training.LearningRate, c.Training.Schedule = 1, "constant"
	c.Evaluation.EverySteps, c.Checkpoint.KeepLast = every, 2
	t := Trainer{
		Config: c, Method: s, Dir: dir, Identity: "x", Now: func() time.Time { return time.Time{} },
		Log:      func(int, map[string]float64) error { return nil },
		Rewind:   func(step int) error { s.next = step; return nil },
		Progress: func(runconfig.Progress) {},
	}
	return t.Run(s.t.Context())
}

// series are the values of one metric over the steps; NaN leaves it out.
func series(name string, values ...float64) (out []map[string]float64) {
	for _, v := range values {
		m := map[string]float64{}
		if !math.IsNaN(v) {
			m[name] = v
		}
		out = append(out, m)
	}
	return out
}

func TestStopRules(t *testing.T) {
	limit := func(v float64) *float64 { return &v }
	flat := series("loss", 1, 1, 1, 1, 1, 1)
	no := math.NaN()
	for name, c := range map[string]struct {
		method runconfig.Method
		stop   runconfig.Stop
		steps  []map[string]float64
		held   []map[string]float64
		at     int    // the step it stops at; 0: it does not
		says   string // of the error
		raised runconfig.Stop
	}{
		"held-out KL": {runconfig.DPO, runconfig.Stop{MaxKL: limit(5)}, flat, series("kl", 9, 1, 2, 3, 7, 4, 4), 4,
			"stop.maxKL: kl is 7 at step 4 of 6, above the limit of 5", runconfig.Stop{MaxKL: limit(8)}},
		"between evaluations": {runconfig.DPO, runconfig.Stop{MaxKL: limit(5)}, flat, series("kl", 0, 9, 2, 9, 2, 9, 2), 0, "", runconfig.Stop{}},
		"KTO's KL": {runconfig.DPO, runconfig.Stop{MaxKL: limit(5)}, flat, series("eval_kl", 0, 0, 6, 0, 0, 0, 0), 2,
			"stop.maxKL: eval_kl is 6 at step 2 of 6", runconfig.Stop{}},
		"an iteration's KL": {runconfig.PPO, runconfig.Stop{MaxKL: limit(5)}, series("objective/kl", 0, 0, 5.5, 0, 0, 0), series("kl", 0, 0, 0, 0, 0, 0, 0), 3,
			"stop.maxKL: objective/kl is 5.5 at step 3 of 6", runconfig.Stop{MaxKL: limit(6)}},
		"accuracy": {runconfig.RewardModel, runconfig.Stop{MinRewardAccuracy: limit(0.6)}, flat, series("eval_rewards/accuracies", 0.1, 0, 0.7, 0, 0.5, 0, 0.8), 4,
			"stop.minRewardAccuracy: eval_rewards/accuracies is 0.5 at step 4 of 6, below the limit of 0.6", runconfig.Stop{MinRewardAccuracy: limit(0.5)}},
		"accuracy later on": {runconfig.RewardModel, runconfig.Stop{MinRewardAccuracy: limit(0.6), AfterSteps: 5}, flat,
			series("eval_rewards/accuracies", 0.1, 0, 0.5, 0, 0.5, 0, 0.4), 6, "is 0.4 at step 6 of 6", runconfig.Stop{}},
		"loss": {runconfig.SFT, runconfig.Stop{MaxLoss: limit(2)}, series("loss", 1, 2, 5, 1, 1, 1), series("", no, no, no, no, no, no, no), 3,
			"stop.maxLoss: the mean loss of 3 steps is 2.667 at step 3 of 6", runconfig.Stop{MaxLoss: limit(3)}},
		"one batch": {runconfig.SFT, runconfig.Stop{MaxLoss: limit(2)}, series("loss", 1, 1, 4, 1, 1, 1), series("", no, no, no, no, no, no, no), 0, "", runconfig.Stop{}},
		"loss later on": {runconfig.SFT, runconfig.Stop{MaxLoss: limit(2), AfterSteps: 5}, series("loss", 9, 1, 1, 1, 1, 1), series("", no, no, no, no, no, no, no), 5,
			"the mean loss of 5 steps is 2.6 at step 5", runconfig.Stop{MaxLoss: limit(3)}},
	} {
		t.Run(name, func(t *testing.T) {
			straight := &scripted{t: t, steps: c.steps, held: c.held}
			_, want, err := straight.run(t.TempDir(), c.method, runconfig.Stop{}, 2)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			first := &scripted{t: t, steps: c.steps, held: c.held}
			totals, got, err := first.run(dir, c.method, c.stop, 2)
			if c.at == 0 {
				if err != nil || !maps.Equal(got, want) {
					t.Errorf("got %v, %v; want no end before the last step", got, err)
				}
				return
			}
			if !errors.Is(err, ErrStopRule) || totals.Step != c.at || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got step %d, %v; want step %d, %s", totals.Step, err, c.at, c.says)
			}
			again := &scripted{t: t, steps: c.steps, held: c.held}
			if _, _, err := again.run(dir, c.method, c.stop, 2); !errors.Is(err, ErrStopRule) || !strings.Contains(err.Error(), c.says) || len(again.done) > 0 {
				t.Errorf("with the same rule: got %v after steps %v, want the same end at once", err, again.done)
			}
			on := &scripted{t: t, steps: c.steps, held: c.held}
			totals, got, err = on.run(dir, c.method, c.raised, 2)
			if err != nil || totals.Step != len(c.steps) || !maps.Equal(got, want) {
				t.Errorf("with the limit raised: got step %d, %v, %v; want %v", totals.Step, got, err, want)
			}
			if all := slices.Concat(first.done, on.done); len(all) != len(c.steps) {
				t.Errorf("the steps were %v", all)
			}
		})
	}
}

func TestRecentLossesAreTen(t *testing.T) {
	var s seen
	for i := range 25 {
		s.step(map[string]float64{"loss": float64(i)})
	}
	if len(s.Losses) != recentSteps || s.Losses[0] != 15 || s.Losses[9] != 24 {
		t.Errorf("kept %v", s.Losses)
	}
}

// TestRulesNeedTheirMetric: a rule that nothing is measured for would stop nothing.
func TestRulesNeedTheirMetric(t *testing.T) {
	limit := 0.5
	for field, stop := range map[string]runconfig.Stop{"stop.maxKL": {MaxKL: &limit}, "stop.minRewardAccuracy": {MinRewardAccuracy: &limit}} {
		s := &scripted{t: t, steps: series("loss", 1, 1), held: series("eval_loss", 1, 1, 1)}
		if _, _, err := s.run(t.TempDir(), runconfig.DPO, stop, 1); !errors.Is(err, runconfig.ErrInvalid) || !strings.Contains(err.Error(), field) || len(s.done) > 0 {
			t.Errorf("%s: got %v after steps %v, want it refused before the first", field, err, s.done)
		}
	}
}

// TestDivergedAtTheEnd: no step comes after the last that would see what it has done.
func TestDivergedAtTheEnd(t *testing.T) {
	s := &scripted{t: t, steps: series("loss", 1, 1), held: series("eval_loss", 1, 1, math.Inf(1))}
	if _, _, err := s.run(t.TempDir(), runconfig.SFT, runconfig.Stop{}, 0); !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), "eval_loss is +Inf at step 2") {
		t.Errorf("got %v, want ErrDiverged", err)
	}
}
