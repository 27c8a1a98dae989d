package objective

import (
	"fmt"
	"math"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tensor/gradcheck"
)

func dpo(p DPOParams) pairLoss {
	return func(policy, reference Logps, _ Lengths) Preference { return DPO(policy, reference, p) }
}

func cdpo(p DPOParams) pairLoss {
	return func(policy, reference Logps, _ Lengths) Preference { return CDPO(policy, reference, p) }
}

func robust(p RobustParams) pairLoss {
	return func(policy, reference Logps, _ Lengths) Preference { return Robust(policy, reference, p) }
}

func ipo(p IPOParams) pairLoss {
	return func(policy, reference Logps, n Lengths) Preference { return IPO(policy, reference, n, p) }
}

func rdpo(p RDPOParams) pairLoss {
	return func(policy, reference Logps, n Lengths) Preference { return RDPO(policy, reference, n, p) }
}

func simpo(p SimPOParams) pairLoss {
	return func(policy, _ Logps, n Lengths) Preference { return SimPO(policy, n, p) }
}

func cpo(p CPOParams) pairLoss {
	return func(policy, _ Logps, n Lengths) Preference { return CPO(policy, n, p) }
}

func orpo(p ORPOParams) pairLoss {
	return func(policy, _ Logps, n Lengths) Preference { return ORPO(policy, n, p) }
}

func slichf(p SLiCHFParams) pairLoss {
	return func(policy, _ Logps, n Lengths) Preference { return SLiCHF(policy, n, p) }
}

// objectives of pairs, each with its loss of a pair and the derivatives of that in closed form, of a pair
// whose responses are not empty.
var objectives = []struct {
	name  string
	loss  pairLoss
	plain func(pair) (loss, dlw, dll float64)
}{
	{"DPO", dpo(DPOParams{Beta: .1}), func(p pair) (float64, float64, float64) {
		x := .1 * p.z()
		return minusLogSigmoid(x), -.1 * sigmoid(-x), .1 * sigmoid(-x)
	}},
	{"CDPO", cdpo(DPOParams{Beta: .1, LabelSmoothing: .1}), func(p pair) (float64, float64, float64) {
		x := .1 * p.z()
		d := -.1 * (.9*sigmoid(-x) - .1*sigmoid(x))
		return .9*minusLogSigmoid(x) + .1*minusLogSigmoid(-x), d, -d
	}},
	{"Robust", robust(RobustParams{Beta: .1, LabelSmoothing: .1}), func(p pair) (float64, float64, float64) {
		x := .1 * p.z()
		d := -.1 * (.9*sigmoid(-x) + .1*sigmoid(x)) / .8
		return (.9*minusLogSigmoid(x) - .1*minusLogSigmoid(-x)) / .8, d, -d
	}},
	{"IPO", ipo(IPOParams{Tau: .1}), func(p pair) (float64, float64, float64) {
		x := p.z() - 5
		return x * x, 2 * x, -2 * x
	}},
	{"IPO, mean", ipo(IPOParams{Tau: .1, Mean: true}), func(p pair) (float64, float64, float64) {
		x := (p.lw-p.rw)/p.Lw - (p.ll-p.rl)/p.Ll - 5
		return x * x, 2 * x / p.Lw, -2 * x / p.Ll
	}},
	{"RDPO", rdpo(RDPOParams{Beta: .1, Alpha: .05}), func(p pair) (float64, float64, float64) {
		x := .1*p.z() + .05*(p.Lw-p.Ll)
		return minusLogSigmoid(x), -.1 * sigmoid(-x), .1 * sigmoid(-x)
	}},
	{"SimPO", simpo(SimPOParams{Beta: 2, Gamma: 1, LengthNormalize: true}), func(p pair) (float64, float64, float64) {
		x := 2*(p.lw/p.Lw-p.ll/p.Ll) - 1
		return minusLogSigmoid(x), -2 * sigmoid(-x) / p.Lw, 2 * sigmoid(-x) / p.Ll
	}},
	{"SimPO, not normalised", simpo(SimPOParams{Beta: .1, Gamma: .3}), func(p pair) (float64, float64, float64) {
		x := .1*(p.lw-p.ll) - .3
		return minusLogSigmoid(x), -.1 * sigmoid(-x), .1 * sigmoid(-x)
	}},
	{"CPO", cpo(CPOParams{Beta: .1, Lambda: 1}), func(p pair) (float64, float64, float64) {
		x := .1 * (p.lw - p.ll)
		return minusLogSigmoid(x) - p.lw, -.1*sigmoid(-x) - 1, .1 * sigmoid(-x)
	}},
	{"CPO, mean", cpo(CPOParams{Beta: .1, Lambda: .7, MeanNLL: true}), func(p pair) (float64, float64, float64) {
		x := .1 * (p.lw - p.ll)
		return minusLogSigmoid(x) - .7*p.lw/p.Lw, -.1*sigmoid(-x) - .7/p.Lw, .1 * sigmoid(-x)
	}},
	{"ORPO", orpo(ORPOParams{Lambda: .1}), func(p pair) (float64, float64, float64) {
		aw, al := p.lw/p.Lw, p.ll/p.Ll
		logit := func(a float64) float64 { return a - math.Log(-math.Expm1(a)) }
		slope := func(a float64) float64 { return -1 / math.Expm1(a) } // of logit
		x := logit(aw) - logit(al)
		return -aw + .1*minusLogSigmoid(x), (-1 - .1*sigmoid(-x)*slope(aw)) / p.Lw, .1 * sigmoid(-x) * slope(al) / p.Ll
	}},
	{"SLiCHF", slichf(SLiCHFParams{Delta: 1, Lambda: .1}), func(p pair) (float64, float64, float64) {
		if x := 1 - p.lw + p.ll; x > 0 {
			return x - .1*p.lw, -1.1, 1
		}
		return -.1 * p.lw, -.1, 0
	}},
	{"SLiCHF, mean", slichf(SLiCHFParams{Delta: 2, Lambda: .5, MeanNLL: true}), func(p pair) (float64, float64, float64) {
		if x := 2 - p.lw + p.ll; x > 0 {
			return x - .5*p.lw/p.Lw, -1 - .5/p.Lw, 1
		}
		return -.5 * p.lw / p.Lw, -.5 / p.Lw, 0
	}},
}

func (p pair) z() float64 { return (p.lw - p.rw) - (p.ll - p.rl) }

func TestWorkedValues(t *testing.T) {
	for _, c := range []struct {
		name           string
		loss           pairLoss
		value          float64
		dlw, dll       float64
		digits         float64 // of the gradients, as they were worked out by hand
		chosen, reject float64 // rewards
	}{
		{"DPO", dpo(DPOParams{Beta: .1}), .630258194682, -.046754569, .046754569, 1e-9, .05, -.08},
		{"CDPO", cdpo(DPOParams{Beta: .1, LabelSmoothing: .1}), .643258194682, -.036754569, .036754569, 1e-9, .05, -.08},
		{"Robust", robust(RobustParams{Beta: .1, LabelSmoothing: .1}), .614008194682, -.059254569, .059254569, 1e-9, .05, -.08},
		{"IPO", ipo(IPOParams{Tau: .1}), 13.69, -7.4, 7.4, 1e-12, .05, -.08},
		{"IPO, mean", ipo(IPOParams{Tau: .1, Mean: true}), 23.5225, -.97, 1.2125, 1e-12, .005, -.01},
		{"SimPO", simpo(SimPOParams{Beta: 2, Gamma: 1, LengthNormalize: true}), .693147180560, -.1, .125, 1e-12, -2.5, -3.5},
		{"ORPO", orpo(ORPOParams{Lambda: .1}), 1.292119093843, -.104817625, .005200381, 1e-9, -.125, -.175},
		{"CPO", cpo(CPOParams{Beta: .1, Lambda: 1}), 13.120957047790, -1.046257, .046257, 1e-6, -1.25, -1.4},
		{"RDPO", rdpo(RDPOParams{Beta: .1, Alpha: .05}), .584745156704, -.044275215, .044275215, 1e-9, .05, -.08},
		// 1 + 12.5 - 14 is below 0: the hinge is satisfied, 1.25 of likelihood is left.
		{"SLiCHF", slichf(SLiCHFParams{Delta: 1, Lambda: .1}), 1.25, -.1, 0, 1e-12, -12.5, -14},
		// 2 + 12.5 - 14 = .5
		{"SLiCHF, delta 2", slichf(SLiCHFParams{Delta: 2, Lambda: .1}), 1.75, -1.1, 1, 1e-12, -12.5, -14},
	} {
		inTensors(t, func() {
			got := of(c.loss, tensor.Float64, worked)
			near(t, c.name+": loss", got.loss[0], c.value, 1e-12)
			near(t, c.name+": d/dlw", got.dlw[0], c.dlw, c.digits)
			near(t, c.name+": d/dll", got.dll[0], c.dll, c.digits)
			near(t, c.name+": chosen reward", got.chosen[0], c.chosen, 1e-14)
			near(t, c.name+": rejected reward", got.rejected[0], c.reject, 1e-14)
		})
	}
}

func TestLossAndGradientAreTheFormulas(t *testing.T) {
	pairs := append(randomPairs(1, 60), worked,
		pair{-3, -3, -3, -3, 4, 4},                      // margin 0
		pair{-3, -5, -3, -5, 2, 7},                      // policy = reference
		pair{-.7, -30, -2, -3, 1, 30},                   // one token
		pair{-1e-12, -4e-12, -1, -1, 1, 4},              // mean log-probability -1e-12
		pair{-math.Ln2 + 1e-9, -math.Ln2, -1, -1, 1, 1}, // the border of log1mexp
		pair{-math.Ln2 - 1e-9, -math.Ln2 + 1e-13, -1, -1, 1, 1},
		pair{-math.Ln2, -math.Ln2 - 1e-13, -1, -1, 1, 1},
		pair{-900, -1e-3, 0, 0, 3, 1}, // probability 0
	)
	for _, o := range objectives {
		inTensors(t, func() {
			exact, single := of(o.loss, tensor.Float64, pairs...), of(o.loss, tensor.Float32, pairs...)
			for i, p := range pairs {
				loss, dlw, dll := o.plain(p)
				what := fmt.Sprintf("%s, pair %d: ", o.name, i)
				near(t, what+"loss", exact.loss[i], loss, 1e-10)
				near(t, what+"d/dlw", exact.dlw[i], dlw, 1e-8)
				near(t, what+"d/dll", exact.dll[i], dll, 1e-8)
				near(t, what+"float32 loss", single.loss[i], loss, 2e-5)
				near(t, what+"float32 d/dlw", single.dlw[i], dlw, 2e-5)
				near(t, what+"float32 d/dll", single.dll[i], dll, 2e-5)
			}
		})
	}
}

func TestFiniteDifferences(t *testing.T) {
	pairs := append(randomPairs(2, 6), worked, pair{-4, -4, -4, -4, 5, 5})
	column := func(get func(pair) float64) *tensor.Tensor {
		var v []float64
		for _, p := range pairs {
			v = append(v, get(p))
		}
		return vector(v...)
	}
	for _, o := range objectives {
		inTensors(t, func() {
			reference := Logps{column(func(p pair) float64 { return p.rw }), column(func(p pair) float64 { return p.rl })}
			n := Lengths{column(func(p pair) float64 { return p.Lw }), column(func(p pair) float64 { return p.Ll })}
			err := gradcheck.Check(func(in []*tensor.Tensor) *tensor.Tensor {
				return o.loss(Logps{Chosen: in[0], Rejected: in[1]}, reference, n).Loss
			}, column(func(p pair) float64 { return p.lw }), column(func(p pair) float64 { return p.ll }))
			if err != nil {
				t.Errorf("%s: %v", o.name, err)
			}
		})
	}
}

func TestABatchIsItsPairs(t *testing.T) {
	pairs := randomPairs(3, 7)
	order := []int{4, 0, 6, 2, 5, 1, 3}
	permuted := make([]pair, len(pairs))
	for i, j := range order {
		permuted[i] = pairs[j]
	}
	for _, o := range objectives {
		inTensors(t, func() {
			all, other := of(o.loss, tensor.Float64, pairs...), of(o.loss, tensor.Float64, permuted...)
			for i, j := range order {
				alone := of(o.loss, tensor.Float64, pairs[j])
				for _, v := range []struct {
					what               string
					all, permuted, one []float64
				}{
					{"loss", all.loss, other.loss, alone.loss}, {"d/dlw", all.dlw, other.dlw, alone.dlw}, {"d/dll", all.dll, other.dll, alone.dll},
					{"chosen reward", all.chosen, other.chosen, alone.chosen}, {"rejected reward", all.rejected, other.rejected, alone.rejected},
				} {
					// Vector and scalar code of libtorch may differ in the last bit.
					near(t, o.name+": permuted "+v.what, v.permuted[i], v.all[j], 1e-14)
					near(t, o.name+": "+v.what+" alone", v.one[0], v.all[j], 1e-14)
				}
			}
		})
	}
}

func TestNothingOverflows(t *testing.T) {
	extremes := []pair{
		{-1e4, -1, -1, -1e4, 10, 10}, {-1, -1e4, -1e4, -1, 10, 10}, // |beta z| = 1000 and more
		{0, -14, 0, -13.2, 0, 8}, {-12.5, 0, -13, 0, 10, 0}, {0, 0, 0, 0, 0, 0}, // empty
		{0, 0, 0, 0, 3, 1},            // probability 1
		{-1e-45, -1e-310, 0, 0, 1, 1}, // less than the smallest normal number
		{-1e4, -1e4, -1e4, -1e4, 1, 1},
	}
	for _, o := range objectives {
		for _, dtype := range []tensor.DType{tensor.Float64, tensor.Float32} {
			inTensors(t, func() {
				got := of(o.loss, dtype, extremes...)
				for _, values := range [][]float64{got.loss, got.dlw, got.dll, got.chosen, got.rejected, got.nll, got.oddsRatio} {
					for i, v := range values {
						if math.IsNaN(v) || math.IsInf(v, 0) {
							t.Errorf("%s, %v, pair %d: %v", o.name, dtype, i, values)
						}
					}
				}
			})
		}
	}
	inTensors(t, func() {
		// beta z = -1000: the loss is 1000 and its slope -beta, exactly; at 1000 both are 0.
		got := of(dpo(DPOParams{Beta: 1}), tensor.Float64, pair{lw: -1000}, pair{ll: -1000})
		for i, want := range []float64{1000, 0} {
			near(t, "loss", got.loss[i], want, 0)
			near(t, "d/dlw", got.dlw[i], -want/1000, 0)
		}
	})
}

func TestRelations(t *testing.T) {
	const e, beta = .2, .3
	pairs := randomPairs(4, 20)
	swapped := make([]pair, len(pairs))
	withoutReference := make([]pair, len(pairs))
	for i, p := range pairs {
		swapped[i] = pair{p.ll, p.lw, p.rl, p.rw, p.Ll, p.Lw}
		withoutReference[i] = pair{p.lw, p.ll, 0, 0, p.Lw, p.Ll}
	}
	inTensors(t, func() {
		clean := of(dpo(DPOParams{Beta: beta}), tensor.Float64, pairs...)
		flipped := of(dpo(DPOParams{Beta: beta}), tensor.Float64, swapped...)
		same := func(what string, a, b []float64) {
			t.Helper()
			for i := range a {
				near(t, what, a[i], b[i], 1e-12)
			}
		}
		mix := func(a, b []float64) []float64 {
			out := make([]float64, len(a))
			for i := range a {
				out[i] = (1-e)*a[i] + e*b[i]
			}
			return out
		}
		same("cDPO is DPO in expectation", of(cdpo(DPOParams{Beta: beta, LabelSmoothing: e}), tensor.Float64, pairs...).loss, mix(clean.loss, flipped.loss))
		r := RobustParams{Beta: beta, LabelSmoothing: e}
		same("robust DPO under noise is DPO in expectation",
			mix(of(robust(r), tensor.Float64, pairs...).loss, of(robust(r), tensor.Float64, swapped...).loss), clean.loss)
		same("robust DPO without noise is DPO", of(robust(RobustParams{Beta: beta}), tensor.Float64, pairs...).loss, clean.loss)
		same("R-DPO without alpha is DPO", of(rdpo(RDPOParams{Beta: beta}), tensor.Float64, pairs...).loss, clean.loss)
		half := DPOParams{Beta: beta, LabelSmoothing: .5}
		same("half of the labels flipped: chosen and rejected are the same",
			of(cdpo(half), tensor.Float64, pairs...).loss, of(cdpo(half), tensor.Float64, swapped...).loss)

		plain := of(dpo(DPOParams{Beta: beta}), tensor.Float64, withoutReference...)
		same("SimPO without its terms is DPO without a reference", of(simpo(SimPOParams{Beta: beta}), tensor.Float64, pairs...).loss, plain.loss)
		same("CPO without its likelihood is DPO without a reference", of(cpo(CPOParams{Beta: beta}), tensor.Float64, pairs...).loss, plain.loss)
		none := of(orpo(ORPOParams{}), tensor.Float64, pairs...)
		same("ORPO without its odds is the likelihood", none.loss, none.nll)
	})
}

func TestLimitOfBeta(t *testing.T) {
	const beta = 1e-9
	pairs := randomPairs(5, 20)
	for name, o := range map[string]struct {
		loss  pairLoss
		limit float64 // of loss, and of the gradient / beta at the chosen response
		slope float64
	}{
		"DPO":    {dpo(DPOParams{Beta: beta}), math.Ln2, -.5},
		"CDPO":   {cdpo(DPOParams{Beta: beta, LabelSmoothing: .2}), math.Ln2, -.3},
		"Robust": {robust(RobustParams{Beta: beta, LabelSmoothing: .2}), math.Ln2, -.5 / .6},
		"SimPO":  {simpo(SimPOParams{Beta: beta, Gamma: 1}), minusLogSigmoid(-1), -sigmoid(1)},
		"CPO":    {cpo(CPOParams{Beta: beta}), math.Ln2, -.5},
		"RDPO":   {rdpo(RDPOParams{Beta: beta}), math.Ln2, -.5},
	} {
		inTensors(t, func() {
			got := of(o.loss, tensor.Float64, pairs...)
			for i := range pairs {
				near(t, name+": loss", got.loss[i], o.limit, 1e-7)
				near(t, name+": slope", got.dlw[i]/beta, o.slope, 1e-6)
				near(t, name+": slope", got.dll[i]/beta, -o.slope, 1e-6)
			}
		})
	}
}

func TestMinima(t *testing.T) {
	inTensors(t, func() {
		// cDPO is least where sigmoid(beta z) = 1 - e, IPO where z = 1/(2 tau).
		best := math.Log(.8/.2) / .1
		near(t, "cDPO", of(cdpo(DPOParams{Beta: .1, LabelSmoothing: .2}), tensor.Float64, pair{lw: -1, ll: -1 - best}).dlw[0], 0, 1e-15)
		near(t, "IPO", of(ipo(IPOParams{Tau: .1}), tensor.Float64, pair{lw: -1, ll: -6}).dlw[0], 0, 1e-15)
		// At step 0 the policy is the reference: DPO is ln 2 exactly.
		near(t, "DPO", of(dpo(DPOParams{Beta: .1}), tensor.Float64, pair{-3, -5, -3, -5, 2, 2}).loss[0], math.Ln2, 0)
	})
}

func TestORPOReportsItsTerms(t *testing.T) {
	inTensors(t, func() {
		got := of(orpo(ORPOParams{Lambda: .1}), tensor.Float64, worked)
		near(t, "nll", got.nll[0], 1.25, 1e-15)
		near(t, "log odds ratio", got.oddsRatio[0], -(1.292119093843-1.25)/.1, 1e-10)
	})
}
