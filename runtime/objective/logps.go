package objective

import "github.com/alignment-dev/alignment-operator/runtime/tensor"

// Logps are the log-probabilities of the responses of pairs under one model, in nats, summed over each
// response's tokens (EOS included, prompt and padding not), each [pairs].
type Logps struct{ Chosen, Rejected *tensor.Tensor }

// Lengths are the tokens of the responses of pairs, EOS counted, as floats of the policy's type, each
// [pairs]. An empty response has length 0 and log-probability 0; its mean log-probability is 0 too.
type Lengths struct{ Chosen, Rejected *tensor.Tensor }

// Preference is a loss of pairs. Losses are not averaged: the caller knows the whole batch.
type Preference struct {
	// Loss is each pair's, [pairs].
	Loss *tensor.Tensor
	// ChosenRewards and RejectedRewards are the rewards that the objective implies, in the loss's own
	// scale, each [pairs], without gradient.
	ChosenRewards, RejectedRewards *tensor.Tensor
	// NLL is the negative log-likelihood of the chosen response as the loss has it, before lambda (CPO,
	// ORPO, SLiCHF; else nil), in nats, [pairs], without gradient.
	NLL *tensor.Tensor
	// LogOddsRatio is the log-sigmoid of the log odds ratio, ORPO's second term before -lambda, as TRL
	// logs it (else nil), [pairs], without gradient.
	LogOddsRatio *tensor.Tensor
}

// preference is a Preference of a loss and its rewards.
func preference(loss *tensor.Tensor, rewards Logps) Preference {
	return Preference{Loss: loss, ChosenRewards: rewards.Chosen.Detach(), RejectedRewards: rewards.Rejected.Detach()}
}

// sub is the log ratio of two models, of each response.
func (l Logps) sub(reference Logps) Logps {
	return Logps{l.Chosen.Sub(reference.Chosen), l.Rejected.Sub(reference.Rejected)} // [pairs] each
}

func (l Logps) scale(v float64) Logps {
	return Logps{l.Chosen.MulScalar(v), l.Rejected.MulScalar(v)} // [pairs] each
}

// margin is chosen less rejected.
func (l Logps) margin() *tensor.Tensor { return l.Chosen.Sub(l.Rejected) } // [pairs]

// mean is over each response's tokens.
func (l Logps) mean(n Lengths) Logps {
	return Logps{meanLogps(l.Chosen, n.Chosen), meanLogps(l.Rejected, n.Rejected)} // [pairs] each
}

// meanLogps is 0 for an empty response.
func meanLogps(logps, lengths *tensor.Tensor) *tensor.Tensor {
	return logps.Div(lengths.ClampMin(1)) // [responses]
}

// nll is the negative log-likelihood of the chosen responses, summed over tokens or their mean.
func (l Logps) nll(n Lengths, mean bool) *tensor.Tensor {
	if mean {
		return meanLogps(l.Chosen, n.Chosen).Neg() // [pairs]
	}
	return l.Chosen.Neg() // [pairs]
}
