package cases

import (
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

type pairsResult struct {
	Loss float64 `json:"loss"`
	Grad struct {
		Chosen   [][]float64 `json:"chosen"`
		Rejected [][]float64 `json:"rejected"`
	} `json:"grad"`
	Metrics map[string]float64 `json:"metrics"`
}

type pairLoss func(policy, reference objective.Logps, n objective.Lengths) objective.Preference

// pairs reads a case of an objective of pairs, and says how to compute it.
func pairs(name string, o, params *object) func() any {
	var kl float64
	if name == "KTO" {
		kl = o.one("kl")
	}
	loss, needsReference := pairLossOf(name, params, kl)
	policy := o.object("policy", false)
	chosen, rejected := policy.lists("chosen"), policy.lists("rejected")
	policy.sameLength("rejected", len(rejected), "policy.chosen", len(chosen))
	policy.noMore("policy")
	var referenceChosen, referenceRejected [][]float64
	if needsReference {
		reference := o.object("reference", false)
		referenceChosen, referenceRejected = reference.lists("chosen"), reference.lists("rejected")
		reference.sameShape("chosen", referenceChosen, "policy.chosen", chosen)
		reference.sameShape("rejected", referenceRejected, "policy.rejected", rejected)
		reference.noMore("reference")
	}
	return func() any {
		c, r := newTokens(chosen, true), newTokens(rejected, true)
		logps := objective.Logps{Chosen: c.sums(), Rejected: r.sums()} // [pairs] each
		var reference objective.Logps
		if needsReference {
			reference = objective.Logps{ // [pairs] each
				Chosen: newTokens(referenceChosen, false).sums(), Rejected: newTokens(referenceRejected, false).sums(),
			}
		}
		p := loss(logps, reference, objective.Lengths{Chosen: c.lengths(), Rejected: r.lengths()})
		p.Loss.Mean().Backward()
		out := pairsResult{Loss: mean(p.Loss), Metrics: rewards(p.ChosenRewards, p.RejectedRewards)}
		out.Grad.Chosen, out.Grad.Rejected = c.grad(), r.grad()
		out.Metrics["logps/chosen"], out.Metrics["logps/rejected"] = mean(logps.Chosen), mean(logps.Rejected)
		if name == "KTO" {
			out.Metrics["kl"] = max(0, kl)
		}
		if p.NLL != nil {
			out.Metrics["nll_loss"] = mean(p.NLL)
		}
		if p.LogOddsRatio != nil {
			out.Metrics["log_odds_ratio"] = mean(p.LogOddsRatio)
		}
		return out
	}
}

// rewards are the metrics of responses compared; there are none of none.
func rewards(better, worse *tensor.Tensor) map[string]float64 {
	if better.NumElements() == 0 {
		return map[string]float64{}
	}
	return map[string]float64{
		"rewards/chosen":     mean(better),
		"rewards/rejected":   mean(worse),
		"rewards/accuracies": mean(better.Gt(worse).To(tensor.Float64)),
		"rewards/margins":    mean(better.Sub(worse)),
	}
}

// pairLossOf reads an objective's parameters. Their defaults are those of a run. Unlike a run it accepts a
// beta of 0, the limit. kl is KTO's.
func pairLossOf(name string, p *object, kl float64) (loss pairLoss, needsReference bool) {
	type (
		logps   = objective.Logps
		lengths = objective.Lengths
		result  = objective.Preference
	)
	switch name {
	case "DPO", "CDPO":
		c := objective.DPOParams{Beta: p.orMore("beta", 0.1), LabelSmoothing: smoothing(p, 0)}
		return func(policy, reference logps, _ lengths) result { return objective.DPO(policy, reference, c) }, true
	case "Robust":
		c := objective.RobustParams{Beta: p.orMore("beta", 0.1), LabelSmoothing: smoothing(p, 0.1)}
		return func(policy, reference logps, _ lengths) result { return objective.Robust(policy, reference, c) }, true
	case "IPO":
		c := objective.IPOParams{Tau: p.positive("tau", 0.1), Mean: p.mean("ipoReduction")}
		return func(policy, reference logps, n lengths) result { return objective.IPO(policy, reference, n, c) }, true
	case "KTO":
		c := objective.KTOParams{
			Beta:            p.orMore("beta", 0.1),
			DesirableWeight: p.orMore("desirableWeight", 1), UndesirableWeight: p.orMore("undesirableWeight", 1),
		}
		return kto(kl, c), true
	case "RDPO":
		c := objective.RDPOParams{Beta: p.orMore("beta", 0.1), Alpha: p.orMore("alpha", 0.05)}
		return func(policy, reference logps, n lengths) result { return objective.RDPO(policy, reference, n, c) }, true
	case "SimPO":
		c := objective.SimPOParams{Beta: p.orMore("beta", 2), LengthNormalize: p.is("lengthNormalize", true)}
		if p.has("gamma") && p.has("gammaBetaRatio") {
			p.fail("gammaBetaRatio", "set one of gamma and gammaBetaRatio")
		}
		c.Gamma = p.orMore("gamma", 1)
		if ratio := p.orMore("gammaBetaRatio", 0); p.has("gammaBetaRatio") {
			c.Gamma = ratio * c.Beta
		}
		return func(policy, _ logps, n lengths) result { return objective.SimPO(policy, n, c) }, false
	case "CPO":
		c := objective.CPOParams{Beta: p.orMore("beta", 0.1), Lambda: p.orMore("lambda", 1), MeanNLL: p.mean("nllReduction")}
		return func(policy, _ logps, n lengths) result { return objective.CPO(policy, n, c) }, false
	case "ORPO":
		c := objective.ORPOParams{Lambda: p.orMore("lambda", 0.1)}
		return func(policy, _ logps, n lengths) result { return objective.ORPO(policy, n, c) }, false
	default: // SLiCHF
		c := objective.SLiCHFParams{Delta: p.orMore("delta", 1), Lambda: p.orMore("lambda", 0.1), MeanNLL: p.mean("nllReduction")}
		return func(policy, _ logps, n lengths) result { return objective.SLiCHF(policy, n, c) }, false
	}
}

func smoothing(p *object, byDefault float64) float64 {
	e := p.orMore("labelSmoothing", byDefault)
	if e >= 0.5 {
		p.fail("labelSmoothing", "got %g, want below 0.5", e)
	}
	return e
}

// kto takes the chosen responses as desirable and the rejected ones as not. Its loss has an element a
// response: their mean is over both.
func kto(kl float64, c objective.KTOParams) pairLoss {
	return func(policy, reference objective.Logps, _ objective.Lengths) objective.Preference {
		n := policy.Chosen.NumElements()
		desirable := make([]bool, 2*n)
		for i := range n {
			desirable[i] = true
		}
		u := objective.KTO(tensor.Cat(0, policy.Chosen, policy.Rejected), tensor.Cat(0, reference.Chosen, reference.Rejected), desirable, kl, c)
		r := u.Rewards.SplitSizes(0, n, n) // [pairs] each
		return objective.Preference{Loss: u.Loss, ChosenRewards: r[0], RejectedRewards: r[1]}
	}
}
