package cases

import (
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/objective"
)

type ppoResult struct {
	PolicyLoss float64     `json:"policyLoss"`
	ValueLoss  float64     `json:"valueLoss"`
	Rewards    [][]float64 `json:"rewards"`
	Advantages [][]float64 `json:"advantages"`
	Returns    [][]float64 `json:"returns"`
	Grad       struct {
		Logps  [][]float64 `json:"logps"`
		Values [][]float64 `json:"values"`
	} `json:"grad"`
	Metrics map[string]float64 `json:"metrics"`
}

// ppo reads a case of sampled responses, and says how to compute it: rewards and advantages as the policy
// and value function had them when they sampled, losses as they have them now.
func ppo(o, p *object) func() any {
	clip, valueClip := p.positive("clipRange", 0.2), p.positive("valueClipRange", 0.2)
	gamma, lambda := p.between("gamma", 1, 0, 1), p.between("gaeLambda", 0.95, 0, 1)
	klCoef, whiten := p.orMore("klCoef", 0.02), p.is("whiten", true)
	logps := o.lists("logps")
	like := func(name string) [][]float64 {
		lists := o.lists(name)
		o.sameShape(name, lists, "logps", logps)
		return lists
	}
	oldLogps, refLogps, values, oldValues := like("oldLogps"), like("refLogps"), like("values"), like("oldValues")
	score := o.list("score")
	o.sameLength("score", len(score), "logps", len(logps))
	if len(slices.Concat(logps...)) == 0 {
		o.fail("logps", "has no token")
	}
	return func() any {
		out := ppoResult{Rewards: objective.TokenRewards(score, oldLogps, refLogps, klCoef)}
		out.Advantages, out.Returns = objective.GAE(out.Rewards, oldValues, gamma, lambda)
		if whiten {
			objective.Whiten(out.Advantages)
		}
		flat := func(lists [][]float64) tokens { return newTokens(lists, false) }
		l, v := newTokens(logps, true), newTokens(values, true)
		policy := objective.PPOPolicy(l.leaf, flat(oldLogps).leaf, flat(out.Advantages).leaf, clip) // [tokens]
		policy.Loss.Mean().Backward()
		value := objective.PPOValue(v.leaf, flat(oldValues).leaf, flat(out.Returns).leaf, valueClip) // [tokens]
		value.Loss.Mean().Backward()
		out.PolicyLoss, out.ValueLoss = mean(policy.Loss), mean(value.Loss)
		out.Grad.Logps, out.Grad.Values = l.grad(), v.grad()

		out.Metrics = responseMetrics(score, oldLogps, refLogps, klCoef)
		moved := l.leaf.Detach().Sub(flat(oldLogps).leaf) // [tokens]
		out.Metrics["policy/approxkl_avg"] = mean(moved.Square()) / 2
		out.Metrics["policy/clipfrac_avg"] = mean(policy.ClipFraction)
		out.Metrics["loss/policy_avg"], out.Metrics["loss/value_avg"] = out.PolicyLoss, out.ValueLoss
		out.Metrics["val/clipfrac_avg"] = mean(value.ClipFraction)
		out.Metrics["val/ratio"] = mean(policy.Ratio)
		out.Metrics["val/ratio_var"] = 0 // of a single token
		if policy.Ratio.NumElements() > 1 {
			out.Metrics["val/ratio_var"] = policy.Ratio.Var(true).Item()
		}
		return out
	}
}

// responseMetrics are means over responses, of what the policy sampled.
func responseMetrics(score []float64, logps, refLogps [][]float64, klCoef float64) map[string]float64 {
	n := float64(len(score))
	var kl, entropy, total float64
	for i := range logps {
		total += score[i]
		for t, logp := range logps[i] {
			kl += logp - refLogps[i][t]
			entropy -= logp
		}
	}
	penalty := -klCoef * kl / n
	return map[string]float64{
		"objective/kl":               kl / n,
		"objective/entropy":          entropy / n,
		"objective/non_score_reward": penalty,
		"objective/scores":           total / n,
		"objective/rlhf_reward":      total/n + penalty,
	}
}
