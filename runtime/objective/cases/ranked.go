package cases

import "github.com/alignment-dev/alignment-operator/runtime/objective"

type rankedResult struct {
	Loss    float64            `json:"loss"`
	Grad    any                `json:"grad"`
	Metrics map[string]float64 `json:"metrics"`
}

// rrhf reads a case of one prompt's responses, and says how to compute it.
func rrhf(o, p *object) func() any {
	params := objective.RRHFParams{Lambda: p.orMore("lambda", 1), LengthExponent: p.orMore("lengthExponent", 1)}
	responses, ranks := o.lists("responses"), o.list("ranks")
	o.sameLength("ranks", len(ranks), "responses", len(responses))
	return func() any {
		r := newTokens(responses, true)
		ranked := objective.RRHF(r.sums(), r.lengths(), [][]float64{ranks}, params)
		ranked.Loss.Sum().Backward()
		out := rankedResult{Loss: mean(ranked.Loss), Grad: r.grad(), Metrics: rewards(ranked.Better, ranked.Worse)}
		out.Metrics["nll_loss"] = mean(ranked.NLL)
		return out
	}
}

// rewardModel reads a case of the scores of one prompt's responses, and says how to compute it.
func rewardModel(o *object) func() any {
	scores, ranks := o.list("scores"), o.list("ranks")
	if len(scores) == 0 {
		o.fail("scores", "is empty")
	}
	o.sameLength("ranks", len(ranks), "scores", len(scores))
	return func() any {
		r := newTokens([][]float64{scores}, true)
		ranked := objective.RewardModel(r.leaf, [][]float64{ranks})
		ranked.Loss.Sum().Backward()
		return rankedResult{Loss: mean(ranked.Loss), Grad: r.grad()[0], Metrics: rewards(ranked.Better, ranked.Worse)}
	}
}
