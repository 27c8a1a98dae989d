package runconfig

import "math"

// checkStop refuses a rule that could never stop anything, because the method has no such number.
func (c *RunConfig) checkStop(p *checker) {
	s := c.Stop
	method := string(c.Method)
	if c.Objective != nil && c.Objective.Type == "KTO" {
		method = "KTO"
	}
	held := func(field string) {
		p.that(len(c.Data.Eval) > 0 || c.Data.EvalFraction > 0, field, "is measured on held-out examples: set data.eval or data.evalFraction")
	}
	if s.MaxKL != nil {
		p.positive(*s.MaxKL, "stop.maxKL")
		switch c.Method {
		case PPO: // measured on each iteration's responses too
		case DPO:
			held("stop.maxKL")
		default:
			p.that(false, "stop.maxKL", "%s has no reference that a KL could be measured to", method)
		}
	}
	if s.MinRewardAccuracy != nil {
		p.between(*s.MinRewardAccuracy, 0, 1, "stop.minRewardAccuracy")
		if method == "SFT" || method == "PPO" || method == "KTO" {
			p.that(false, "stop.minRewardAccuracy", "%s has no pairs whose order could be right or wrong", method)
		} else {
			held("stop.minRewardAccuracy")
		}
	}
	if s.MaxLoss != nil {
		p.that(!math.IsNaN(*s.MaxLoss) && !math.IsInf(*s.MaxLoss, 0), "stop.maxLoss", "got %g, want a number", *s.MaxLoss)
	}
	p.count(s.AfterSteps, 0, "stop.afterSteps")
	p.that(s.AfterSteps <= 0 || s.MaxKL != nil || s.MinRewardAccuracy != nil || s.MaxLoss != nil,
		"stop.afterSteps", "says from when on rules count, and there is none: set maxKL, minRewardAccuracy or maxLoss")
}
