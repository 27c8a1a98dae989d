package runconfig

import (
	"math"
	"slices"
)

// ObjectiveTypes are the losses of each method that has a choice, the default first.
var ObjectiveTypes = map[Method][]string{
	DPO:         {"DPO", "CDPO", "Robust", "IPO", "KTO", "RDPO"},
	SimPO:       {"SimPO", "CPO", "ORPO", "RRHF", "SLiCHF"},
	RewardModel: {"KWise", "ShuffledPairs"},
}

// checkObjective refuses parameters out of range, and those that the objective does not have:
// a gamma that is silently ignored would be a wrong experiment.
func (c *RunConfig) checkObjective(p *checker) {
	types, has := ObjectiveTypes[c.Method]
	if !has {
		p.that(c.Objective == nil, "objective", "%s has none", c.Method)
		return
	}
	if c.Objective == nil {
		p.that(false, "objective", "is missing")
		return
	}
	o := c.Objective
	p.oneOf(o.Type, "objective.type", types...)
	if !slices.Contains(types, o.Type) {
		return
	}
	goes := func(field string, isSet bool, with ...string) bool {
		p.that(!isSet || slices.Contains(with, o.Type), "objective."+field, "goes with %v, not with %s", with, o.Type)
		return slices.Contains(with, o.Type)
	}
	number := func(field string, v *float64, with ...string) {
		if goes(field, v != nil, with...) && v != nil {
			p.between(*v, 0, math.MaxFloat64, "objective."+field)
		}
	}
	if goes("beta", o.Beta != 0, "DPO", "CDPO", "Robust", "KTO", "RDPO", "SimPO", "CPO") {
		p.positive(o.Beta, "objective.beta")
	}
	if goes("labelSmoothing", o.LabelSmoothing != 0, "DPO", "CDPO", "Robust") {
		p.that(o.LabelSmoothing >= 0 && o.LabelSmoothing < 0.5, "objective.labelSmoothing", "got %g, want 0 to below 0.5", o.LabelSmoothing)
	}
	goes("precomputeReference", o.PrecomputeReference, "DPO", "CDPO", "Robust", "IPO", "RDPO") // KTO's pairs are of the batch
	if goes("tau", o.Tau != 0, "IPO") {
		p.positive(o.Tau, "objective.tau")
	}
	if goes("ipoReduction", o.IPOReduction != "", "IPO") {
		p.oneOf(o.IPOReduction, "objective.ipoReduction", "sum", "mean")
	}
	number("desirableWeight", o.DesirableWeight, "KTO")
	number("undesirableWeight", o.UndesirableWeight, "KTO")
	number("alpha", o.Alpha, "RDPO")
	number("gamma", o.Gamma, "SimPO")
	number("gammaBetaRatio", o.GammaBetaRatio, "SimPO")
	p.that(o.Gamma == nil || o.GammaBetaRatio == nil, "objective.gammaBetaRatio", "set one of gamma and gammaBetaRatio")
	goes("lengthNormalize", o.LengthNormalize != nil, "SimPO")
	number("lambda", o.Lambda, "CPO", "ORPO", "RRHF", "SLiCHF")
	if goes("nllReduction", o.NLLReduction != "", "CPO", "SLiCHF") {
		p.oneOf(o.NLLReduction, "objective.nllReduction", "sum", "mean")
	}
	number("delta", o.Delta, "SLiCHF")
	number("lengthExponent", o.LengthExponent, "RRHF")
	p.that(o.Type != "KTO" || c.Training.BatchSize >= 2, "training.batchSize", "got %d, KTO's estimate of the KL needs 2 or more", c.Training.BatchSize)
}

func (c *RunConfig) checkPPO(p *checker) {
	if c.Method != PPO {
		p.that(c.PPO == nil, "ppo", "%s has none", c.Method)
		return
	}
	if c.PPO == nil {
		p.that(false, "ppo", "is missing")
		return
	}
	s, t := c.PPO, c.Training
	p.source(s.RewardModel, "ppo.rewardModel")
	if s.Value != nil {
		p.source(*s.Value, "ppo.value")
	}
	p.that(s.MaxNewTokens >= 1 && s.MaxNewTokens < c.Data.MaxLength, "ppo.maxNewTokens", "got %d, want 1 to below data.maxLength %d", s.MaxNewTokens, c.Data.MaxLength)
	p.that(s.MinibatchSize >= 1 && t.BatchSize%max(s.MinibatchSize, 1) == 0, "ppo.minibatchSize", "got %d, which does not divide training.batchSize %d", s.MinibatchSize, t.BatchSize)
	p.that(s.MinibatchSize < 1 || t.MicroBatchSize < 1 || s.MinibatchSize%t.MicroBatchSize == 0, "training.microBatchSize", "got %d, which does not divide ppo.minibatchSize %d", t.MicroBatchSize, s.MinibatchSize)
	p.count(s.InnerEpochs, 1, "ppo.innerEpochs")
	p.positive(s.ClipRange, "ppo.clipRange")
	p.positive(s.ValueClipRange, "ppo.valueClipRange")
	p.between(s.Gamma, 0, 1, "ppo.gamma")
	p.between(s.GAELambda, 0, 1, "ppo.gaeLambda")
	for field, v := range map[string]*float64{"ppo.klCoefficient": s.KLCoefficient, "ppo.missingEOSPenalty": s.MissingEOSPenalty} {
		if v != nil {
			p.between(*v, 0, math.MaxFloat64, field)
		}
	}
	p.between(s.KLTarget, 0, math.MaxFloat64, "ppo.klTarget")
	p.between(s.KLHorizon, 0, math.MaxFloat64, "ppo.klHorizon")
	p.that(s.KLTarget == 0 || s.KLHorizon > 0, "ppo.klHorizon", "got %g, want a positive number", s.KLHorizon)
	p.between(s.StopKL, 0, math.MaxFloat64, "ppo.stopKL")
	p.between(s.PTXCoefficient, 0, math.MaxFloat64, "ppo.ptxCoefficient")
	p.that(s.PTXCoefficient == 0 || len(c.Data.Pretraining) > 0, "data.pretraining", "is empty, ppo.ptxCoefficient needs it")
	p.count(s.PTXBatchSize, 0, "ppo.ptxBatchSize")
	p.that(s.PTXCoefficient == 0 || s.PTXBatchSize > 0, "ppo.ptxBatchSize", "got %d, want 1 or more", s.PTXBatchSize)
	p.that(s.EMADecay >= 0 && s.EMADecay < 1, "ppo.emaDecay", "got %g, want 0 to below 1", s.EMADecay)
	p.positive(s.ValueLearningRate, "ppo.valueLearningRate")
}
