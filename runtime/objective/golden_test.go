package objective_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"math"
	"os"
	"slices"
	"sort"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// sides has a list of token log-probabilities for each response.
type sides struct{ Chosen, Rejected [][]float64 }

// referenceVector is a line of testdata/trl.jsonl.gz, which hack/goldens/objective makes: a case in the format of
// `trainer objective`, and what PyTorch makes of it in each type.
type referenceVector struct {
	Case struct {
		Objective string
		Params    struct {
			Beta, LabelSmoothing, Tau, DesirableWeight, UndesirableWeight, Alpha, Gamma, Lambda, Delta, LengthExponent float64
			ClipRange, ValueClipRange, GAELambda, KLCoef                                                               float64
			IPOReduction, NLLReduction                                                                                 string
			LengthNormalize, Whiten                                                                                    bool
		}
		Policy, Reference                            sides
		KL                                           float64
		Responses                                    [][]float64
		Ranks, Scores, Score                         []float64
		Logps, OldLogps, RefLogps, Values, OldValues [][]float64
	}
	Want, Want32 map[string]any
}

// numbers are those of a JSON value in order, objects by key.
func numbers(v any) (out []float64) {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			out = append(out, numbers(v[k])...)
		}
	case []any:
		for _, x := range v {
			out = append(out, numbers(x)...)
		}
	case float64:
		out = []float64{v}
	}
	return out
}

// typed has tensors of one type, and remembers those that want a gradient.
type typed struct {
	dtype  tensor.DType
	leaves []*tensor.Tensor
}

func (y *typed) vector(x []float64) *tensor.Tensor { return vector(x).To(y.dtype) }

func (y *typed) leaf(x []float64) *tensor.Tensor {
	y.leaves = append(y.leaves, y.vector(x).RequiresGrad(true))
	return y.leaves[len(y.leaves)-1]
}

func (y *typed) grads() (out []float64) {
	for _, leaf := range y.leaves {
		out = append(out, leaf.Grad().To(tensor.Float64).Float64s()...)
	}
	return out
}

// responses are the logps and lengths of responses, [responses] each.
func (y *typed) responses(tokens [][]float64, as func([]float64) *tensor.Tensor) (logps, lengths *tensor.Tensor) {
	var rows []int64
	var count []float64
	for i, x := range tokens {
		for range x {
			rows = append(rows, int64(i))
		}
		count = append(count, float64(len(x)))
	}
	sum := tensor.Zeros(y.dtype, int64(len(tokens))).
		IndexAdd(0, tensor.FromInt64(rows, int64(len(rows))), as(slices.Concat(tokens...)))
	return sum, y.vector(count)
}

func doubles(t *tensor.Tensor) []float64 { return t.Detach().To(tensor.Float64).Reshape(-1).Float64s() }

// compute is what a reference vector wants, from this project's functions.
func (v referenceVector) compute(y *typed) map[string][]float64 {
	c, p := v.Case, v.Case.Params
	switch c.Objective {
	case "PPO":
		flat := func(x [][]float64) *tensor.Tensor { return y.vector(slices.Concat(x...)) }
		rewards := objective.TokenRewards(c.Score, c.OldLogps, c.RefLogps, p.KLCoef)
		advantages, returns := objective.GAE(rewards, c.OldValues, p.Gamma, p.GAELambda)
		if p.Whiten {
			objective.Whiten(advantages)
		}
		policy := objective.PPOPolicy(y.leaf(slices.Concat(c.Logps...)), flat(c.OldLogps), flat(advantages), p.ClipRange).Loss.Mean()
		value := objective.PPOValue(y.leaf(slices.Concat(c.Values...)), flat(c.OldValues), flat(returns), p.ValueClipRange).Loss.Mean()
		policy.Add(value).Backward()
		return map[string][]float64{
			"rewards": slices.Concat(rewards...), "advantages": slices.Concat(advantages...), "returns": slices.Concat(returns...),
			"policyLoss": doubles(policy), "valueLoss": doubles(value), "grad": y.grads(),
		}
	case "RRHF", "RewardModel":
		var loss *tensor.Tensor
		if ranks := [][]float64{c.Ranks}; c.Objective == "RRHF" {
			logps, lengths := y.responses(c.Responses, y.leaf)
			loss = objective.RRHF(logps, lengths, ranks, objective.RRHFParams{Lambda: p.Lambda, LengthExponent: p.LengthExponent}).Loss
		} else {
			loss = objective.RewardModel(y.leaf(c.Scores), ranks).Loss
		}
		loss.Sum().Backward()
		return map[string][]float64{"loss": doubles(loss), "grad": y.grads()}
	}
	var policy, reference objective.Logps
	var lengths objective.Lengths
	policy.Chosen, lengths.Chosen = y.responses(c.Policy.Chosen, y.leaf)
	policy.Rejected, lengths.Rejected = y.responses(c.Policy.Rejected, y.leaf)
	reference.Chosen, _ = y.responses(c.Reference.Chosen, y.vector)
	reference.Rejected, _ = y.responses(c.Reference.Rejected, y.vector)
	out := v.pairs(policy, reference, lengths)
	loss := out.Loss.Mean()
	loss.Backward()
	chosen, rejected := doubles(out.ChosenRewards), doubles(out.RejectedRewards)
	metrics := make([]float64, 4) // accuracies, chosen, margins, rejected
	for i := range chosen {
		n := float64(len(chosen))
		if chosen[i] > rejected[i] {
			metrics[0] += 1 / n
		}
		metrics[1] += chosen[i] / n
		metrics[2] += (chosen[i] - rejected[i]) / n
		metrics[3] += rejected[i] / n
	}
	return map[string][]float64{"loss": doubles(loss), "grad": y.grads(), "metrics": metrics}
}

func (v referenceVector) pairs(policy, reference objective.Logps, lengths objective.Lengths) objective.Preference {
	p := v.Case.Params
	mean := p.NLLReduction == "mean"
	switch v.Case.Objective {
	case "DPO":
		return objective.DPO(policy, reference, objective.DPOParams{Beta: p.Beta})
	case "CDPO":
		return objective.CDPO(policy, reference, objective.DPOParams{Beta: p.Beta, LabelSmoothing: p.LabelSmoothing})
	case "Robust":
		return objective.Robust(policy, reference, objective.RobustParams{Beta: p.Beta, LabelSmoothing: p.LabelSmoothing})
	case "IPO":
		return objective.IPO(policy, reference, lengths, objective.IPOParams{Tau: p.Tau, Mean: p.IPOReduction == "mean"})
	case "RDPO":
		return objective.RDPO(policy, reference, lengths, objective.RDPOParams{Beta: p.Beta, Alpha: p.Alpha})
	case "SimPO":
		return objective.SimPO(policy, lengths, objective.SimPOParams{Beta: p.Beta, Gamma: p.Gamma, LengthNormalize: p.LengthNormalize})
	case "CPO":
		return objective.CPO(policy, lengths, objective.CPOParams{Beta: p.Beta, Lambda: p.Lambda, MeanNLL: mean})
	case "ORPO":
		return objective.ORPO(policy, lengths, objective.ORPOParams{Lambda: p.Lambda})
	case "SLiCHF":
		return objective.SLiCHF(policy, lengths, objective.SLiCHFParams{Delta: p.Delta, Lambda: p.Lambda, MeanNLL: mean})
	case "KTO":
		n := int(policy.Chosen.NumElements())
		desirable := append(slices.Repeat([]bool{true}, n), make([]bool, n)...)
		out := objective.KTO(tensor.Cat(0, policy.Chosen, policy.Rejected), tensor.Cat(0, reference.Chosen, reference.Rejected),
			desirable, v.Case.KL, objective.KTOParams{Beta: p.Beta, DesirableWeight: p.DesirableWeight, UndesirableWeight: p.UndesirableWeight})
		rewards := out.Rewards.Chunk(2, 0)
		return objective.Preference{Loss: out.Loss, ChosenRewards: rewards[0], RejectedRewards: rewards[1]}
	}
	panic("no objective " + v.Case.Objective)
}

func TestObjectivesAreThoseOfTRL(t *testing.T) {
	file, err := os.Open("testdata/trl.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<20)
	lines.Scan() // the versions
	seen := map[string]int{}
	worst := map[tensor.DType]map[string]float64{tensor.Float64: {}, tensor.Float32: {}}
	for number := 2; lines.Scan(); number++ {
		var v referenceVector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("line %d: %v", number, err)
		}
		seen[v.Case.Objective]++
		for _, c := range []struct {
			dtype     tensor.DType
			want      map[string]any
			tolerance float64
		}{{tensor.Float64, v.Want, 1e-10}, {tensor.Float32, v.Want32, 1e-5}} {
			var got map[string][]float64
			if err := tensor.Run(func() error { got = v.compute(&typed{dtype: c.dtype}); return nil }); err != nil {
				t.Fatalf("line %d: %v", number, err)
			}
			if len(c.want) < 2 {
				t.Fatalf("line %d wants %v in %v", number, c.want, c.dtype)
			}
			for key, value := range c.want {
				want := numbers(value)
				if len(got[key]) != len(want) || len(want) == 0 {
					t.Fatalf("line %d: %d numbers in %s, want %d", number, len(got[key]), key, len(want))
				}
				for i := range want {
					off := math.Abs(got[key][i]-want[i]) / max(1, math.Abs(want[i]))
					if !(off <= c.tolerance) {
						t.Errorf("line %d: %s in %v: %s[%d] is %.17g, PyTorch's %.17g", number, v.Case.Objective, c.dtype, key, i, got[key][i], want[i])
					}
					worst[c.dtype][v.Case.Objective] = max(worst[c.dtype][v.Case.Objective], off)
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"DPO", "CDPO", "Robust", "IPO", "RDPO", "KTO", "SimPO", "CPO", "ORPO", "SLiCHF", "RRHF", "RewardModel", "PPO"} {
		if seen[name] < 20 {
			t.Errorf("%d vectors of %s", seen[name], name)
		}
		t.Logf("%-11s %2d vectors, off by at most %.1e in float64, %.1e in float32", name, seen[name], worst[tensor.Float64][name], worst[tensor.Float32][name])
	}
}
