package cases_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/objective/cases"
)

// run evaluates lines and gives the results.
func run(t *testing.T, lines ...string) (results []map[string]any) {
	t.Helper()
	var out bytes.Buffer
	if err := cases.Run(strings.NewReader(strings.Join(lines, "\n")), &out); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		var result map[string]any
		if err := json.Unmarshal([]byte(line), &result); err != nil {
			t.Fatal(err)
		}
		results = append(results, result)
	}
	if len(results) != len(lines) {
		t.Fatalf("%d results of %d lines", len(results), len(lines))
	}
	return results
}

// near compares what JSON decodes to, number by number.
func near(t *testing.T, what string, got, want any, tolerance float64) {
	t.Helper()
	switch want := want.(type) {
	case float64:
		if g, ok := got.(float64); !ok || !(math.Abs(g-want) <= tolerance*max(1, math.Abs(want))) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
			return
		}
		for i := range want {
			near(t, fmt.Sprintf("%s[%d]", what, i), g[i], want[i], tolerance)
		}
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
			return
		}
		for name := range want {
			near(t, what+"."+name, g[name], want[name], tolerance)
		}
	default:
		t.Fatalf("%s: %T", what, want)
	}
}

func parsed(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// The pair of the worked values: 10 tokens chosen with log-probability -12.5 (-13 under the reference), 8
// rejected with -14 (-13.2).
const (
	policy    = `"policy":{"chosen":[[-1.25,-1.25,-1.25,-1.25,-1.25,-1.25,-1.25,-1.25,-1.25,-1.25]],"rejected":[[-1.75,-1.75,-1.75,-1.75,-1.75,-1.75,-1.75,-1.75]]}`
	reference = `"reference":{"chosen":[[-4,-1,-1,-1,-1,-1,-1,-1,-1,-1]],"rejected":[[-6.2,-1,-1,-1,-1,-1,-1,-1]]}`
)

func TestWorkedValues(t *testing.T) {
	for _, c := range []struct {
		objective, params string
		reference         bool
		loss, dlw, dll    float64
		digits            float64 // of the gradients, as they were worked out by hand
	}{
		{"DPO", `{"beta":0.1}`, true, .630258194682, -.046754569, .046754569, 1e-9},
		{"DPO", `{}`, true, .630258194682, -.046754569, .046754569, 1e-9},
		{"DPO", `{"labelSmoothing":0.1}`, true, .643258194682, -.036754569, .036754569, 1e-9},
		{"CDPO", `{"labelSmoothing":0.1}`, true, .643258194682, -.036754569, .036754569, 1e-9},
		{"Robust", `{"labelSmoothing":0.1}`, true, .614008194682, -.059254569, .059254569, 1e-9},
		{"Robust", `{}`, true, .614008194682, -.059254569, .059254569, 1e-9},
		{"IPO", `{"tau":0.1}`, true, 13.69, -7.4, 7.4, 1e-11},
		{"IPO", `{"ipoReduction":"sum"}`, true, 13.69, -7.4, 7.4, 1e-11},
		{"IPO", `{"ipoReduction":"mean"}`, true, 23.5225, -.97, 1.2125, 1e-11},
		{"RDPO", `{"beta":0.1,"alpha":0.05}`, true, .584745156704, -.044275215, .044275215, 1e-9},
		{"RDPO", `{}`, true, .584745156704, -.044275215, .044275215, 1e-9},
		{"KTO", `{}`, true, .483763931158, -.012498750, .012462264, 1e-9},
		{"SimPO", `{"beta":2,"gamma":1}`, false, .693147180560, -.1, .125, 1e-12},
		{"SimPO", `{}`, false, .693147180560, -.1, .125, 1e-12},
		{"SimPO", `{"gammaBetaRatio":0.5}`, false, .693147180560, -.1, .125, 1e-12},
		{"CPO", `{"beta":0.1,"lambda":1}`, false, 13.120957047790, -1.046257, .046257, 1e-6},
		{"CPO", `{}`, false, 13.120957047790, -1.046257, .046257, 1e-6},
		{"CPO", `{"nllReduction":"mean"}`, false, 1.870957047790, -.146257, .046257, 1e-6},
		{"ORPO", `{"lambda":0.1}`, false, 1.292119093843, -.104817625, .005200381, 1e-9},
		{"ORPO", `{}`, false, 1.292119093843, -.104817625, .005200381, 1e-9},
		{"SLiCHF", `{}`, false, 1.25, -.1, 0, 1e-12},
		{"SLiCHF", `{"delta":2,"lambda":0.1}`, false, 1.75, -1.1, 1, 1e-12},
		{"SLiCHF", `{"delta":2,"nllReduction":"mean"}`, false, .625, -1.01, 1, 1e-12},
	} {
		line := fmt.Sprintf(`{"objective":%q,"params":%s,%s`, c.objective, c.params, policy)
		if c.reference {
			line += "," + reference
		}
		if c.objective == "KTO" {
			line += `,"kl":0.3`
		}
		what := c.objective + " " + c.params
		got := run(t, line+"}")[0]
		near(t, what+" loss", got["loss"], c.loss, 1e-12)
		// Each token of a response has the slope of its sum.
		tokens := func(n int, slope float64) []any {
			list := make([]any, n)
			for i := range list {
				list[i] = slope
			}
			return []any{list}
		}
		near(t, what+" grad", got["grad"], map[string]any{"chosen": tokens(10, c.dlw), "rejected": tokens(8, c.dll)}, c.digits)
		metrics := got["metrics"].(map[string]any)
		near(t, what+" logps/chosen", metrics["logps/chosen"], -12.5, 1e-14)
		near(t, what+" logps/rejected", metrics["logps/rejected"], -14., 1e-14)
		near(t, what+" accuracy", metrics["rewards/accuracies"], 1., 0)
		near(t, what+" margin", metrics["rewards/margins"], metrics["rewards/chosen"].(float64)-metrics["rewards/rejected"].(float64), 1e-14)
	}
}

// TestResults has whole results.
func TestResults(t *testing.T) {
	for _, c := range []struct{ name, line, result string }{
		{"two pairs, one of equal rewards and one with an empty response", // beta z = 0 and .5 (1 + 2) = 1.5
			`{"objective":"DPO","params":{"beta":0.5},"policy":{"chosen":[[-1,-2],[-1]],"rejected":[[-3],[]]},"reference":{"chosen":[[-1,-2],[-4]],"rejected":[[-3],[]]}}`,
			`{"loss":0.44728022927134886,
			"grad":{"chosen":[[-0.125,-0.125],[-0.04560638095158909]],"rejected":[[0.125],[]]},
			"metrics":{"rewards/chosen":0.75,"rewards/rejected":0,"rewards/accuracies":0.5,"rewards/margins":0.75,"logps/chosen":-2,"logps/rejected":-1.5}}`},
		{"KTO", // at the reference, with KL 0: w / 2 each
			`{"objective":"KTO","params":{"desirableWeight":2},"kl":-3,"policy":{"chosen":[[-1]],"rejected":[[-2]]},"reference":{"chosen":[[-1]],"rejected":[[-2]]}}`,
			`{"loss":0.75,"grad":{"chosen":[[-0.025]],"rejected":[[0.0125]]},
			"metrics":{"rewards/chosen":0,"rewards/rejected":0,"rewards/accuracies":0,"rewards/margins":0,"logps/chosen":-1,"logps/rejected":-2,"kl":0}}`},
		{"SLiC-HF",
			`{"objective":"SLiCHF","policy":{"chosen":[[-1,-1]],"rejected":[[-2.5]]}}`, // 1 + 2 - 2.5
			`{"loss":0.7,"grad":{"chosen":[[-1.1,-1.1]],"rejected":[[1]]},
			"metrics":{"rewards/chosen":-2,"rewards/rejected":-2.5,"rewards/accuracies":1,"rewards/margins":0.5,"logps/chosen":-2,"logps/rejected":-2.5,"nll_loss":2}}`},
		{"ORPO", // equal odds: ln 2; the slope of log(odds) is 1 / (1 - p) = 2
			`{"objective":"ORPO","params":{"lambda":1},"policy":{"chosen":[[-0.6931471805599453]],"rejected":[[-0.6931471805599453]]}}`,
			`{"loss":1.3862943611198906,"grad":{"chosen":[[-2]],"rejected":[[1]]},
			"metrics":{"rewards/chosen":-0.6931471805599453,"rewards/rejected":-0.6931471805599453,"rewards/accuracies":0,"rewards/margins":0,
			"logps/chosen":-0.6931471805599453,"logps/rejected":-0.6931471805599453,"nll_loss":0.6931471805599453,"log_odds_ratio":-0.6931471805599453}}`},
		{"RRHF", // p = -1, -2, -.5, -2
			`{"objective":"RRHF","params":{"lambda":1},"responses":[[-1,-1,-1,-1],[-2,-2],[-0.5],[-4,0]],"ranks":[1,2,2,4]}`,
			`{"loss":4.5,"grad":[[-1.25,-1.25,-1.25,-1.25],[0,0],[1],[0,0]],
			"metrics":{"rewards/chosen":-1.1,"rewards/rejected":-1.7,"rewards/accuracies":0.6,"rewards/margins":0.6,"nll_loss":4}}`},
		{"a reward model, tied", `{"objective":"RewardModel","scores":[1,1,1],"ranks":[1,2,2]}`,
			`{"loss":0.6931471805599453,"grad":[-0.5,0.25,0.25],
			"metrics":{"rewards/chosen":1,"rewards/rejected":1,"rewards/accuracies":0,"rewards/margins":0}}`},
		{"a reward model, only ties", `{"objective":"RewardModel","params":{},"scores":[3,-2],"ranks":[1,1]}`, `{"loss":0,"grad":[0,0],"metrics":{}}`},
		{"PPO, nothing learnt yet", // rewards -.1 .2 0 1 as in the worked GAE: logp - ref = 1, -2, 0, 0 with klCoef .1
			`{"objective":"PPO","params":{"klCoef":0.1,"whiten":false},"logps":[[-1,-3,-1,-1]],"oldLogps":[[-1,-3,-1,-1]],"refLogps":[[-2,-1,-1,-1]],
			"values":[[0.5,0.4,0.3,0.2]],"oldValues":[[0.5,0.4,0.3,0.2]],"score":[1]}`,
			`{"policyLoss":-0.6694125,"valueLoss":0.2306083028125,"rewards":[[-0.1,0.2,0,1]],"advantages":[[0.49065,0.727,0.66,0.8]],"returns":[[0.99065,1.127,0.96,1]],
			"grad":{"logps":[[-0.1226625,-0.18175,-0.165,-0.2]],"values":[[-0.1226625,-0.18175,-0.165,-0.2]]},
			"metrics":{"objective/kl":-1,"objective/entropy":6,"objective/non_score_reward":0.1,"objective/rlhf_reward":1.1,"objective/scores":1,
			"policy/approxkl_avg":0,"policy/clipfrac_avg":0,"loss/policy_avg":-0.6694125,"loss/value_avg":0.2306083028125,
			"val/clipfrac_avg":0,"val/ratio":1,"val/ratio_var":0}}`},
		// Both clips, an empty and a one-token response. Advantages are score - value = 1, -1: whitened they
		// are 1, -1 over sqrt(2 + 1e-8).
		{"PPO, clipped",
			`{"objective":"PPO","params":{"klCoef":0},"logps":[[-0.5],[],[-0.5]],"oldLogps":[[-1],[],[-1]],"refLogps":[[-1],[],[-1]],
			"values":[[0.9],[],[0.5]],"oldValues":[[0],[],[0]],"score":[1,5,-1]}`,
			`{"policyLoss":0.15864692629073524,"valueLoss":0.7225,"rewards":[[1],[],[-1]],"advantages":[[0.707106779418770],[],[-0.707106779418770]],"returns":[[1],[],[-1]],
			"grad":{"logps":[[0],[],[0.5829109939420035]],"values":[[0],[],[0.75]]},
			"metrics":{"objective/kl":0,"objective/entropy":0.6666666666666666,"objective/non_score_reward":0,"objective/rlhf_reward":1.6666666666666667,"objective/scores":1.6666666666666667,
			"policy/approxkl_avg":0.125,"policy/clipfrac_avg":0.5,"loss/policy_avg":0.15864692629073524,"loss/value_avg":0.7225,
			"val/clipfrac_avg":0.5,"val/ratio":1.6487212707001282,"val/ratio_var":0}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			near(t, "result", run(t, strings.ReplaceAll(c.line, "\n", " "))[0], parsed(t, c.result), 1e-10)
		})
	}
}

func TestRewardModelWorkedValue(t *testing.T) {
	got := run(t, `{"objective":"RewardModel","scores":[2,1,0.5,-1],"ranks":[1,2,3,4]}`)[0]
	near(t, "loss", got["loss"], .227613431713, 1e-12)
}

// TestGradientIsTheSlope moves each token, through the text.
func TestGradientIsTheSlope(t *testing.T) {
	const h = 1e-6
	for _, c := range []struct {
		line, loss, grad string // line has %v for the token moved
		at               func(grad any) any
		x                float64
	}{
		{`{"objective":"ORPO","policy":{"chosen":[[-0.2,%v],[-3]],"rejected":[[-1],[-0.5,-2]]}}`, "loss", "grad",
			func(g any) any { return g.(map[string]any)["chosen"].([]any)[0].([]any)[1] }, -.9},
		{`{"objective":"IPO","params":{"ipoReduction":"mean"},"policy":{"chosen":[[-0.2],[-3]],"rejected":[[-1],[%v,-2]]},"reference":{"chosen":[[-1],[-1]],"rejected":[[-1],[-1,-1]]}}`,
			"loss", "grad", func(g any) any { return g.(map[string]any)["rejected"].([]any)[1].([]any)[0] }, -2},
		{`{"objective":"RRHF","params":{"lengthExponent":0.5},"responses":[[-3,-1],[%v,-2]],"ranks":[1,2]}`, "loss", "grad",
			func(g any) any { return g.([]any)[1].([]any)[0] }, -.25},
		{`{"objective":"RewardModel","scores":[0.5,%v,2],"ranks":[3,1,1]}`, "loss", "grad", func(g any) any { return g.([]any)[1] }, .75},
		{`{"objective":"PPO","logps":[[-1,%v],[-2]],"oldLogps":[[-1.1,-2],[-1.9]],"refLogps":[[-1,-1],[-1]],"values":[[0,1],[2]],"oldValues":[[0.1,1],[2]],"score":[1,-3]}`,
			"policyLoss", "grad", func(g any) any { return g.(map[string]any)["logps"].([]any)[0].([]any)[1] }, -1.95},
		{`{"objective":"PPO","logps":[[-1,-1],[-2]],"oldLogps":[[-1.1,-2],[-1.9]],"refLogps":[[-1,-1],[-1]],"values":[[0,1],[%v]],"oldValues":[[0.1,1],[2]],"score":[1,-3]}`,
			"valueLoss", "grad", func(g any) any { return g.(map[string]any)["values"].([]any)[1].([]any)[0] }, 2.05},
	} {
		got := run(t, fmt.Sprintf(c.line, c.x), fmt.Sprintf(c.line, c.x+h), fmt.Sprintf(c.line, c.x-h))
		slope := (got[1][c.loss].(float64) - got[2][c.loss].(float64)) / (2 * h)
		if slope == 0 {
			t.Errorf("%s: nothing depends on the token", c.line)
		}
		near(t, c.line, c.at(got[0][c.grad]), slope, 1e-8)
	}
}

func TestLinesAreCasesOfTheirOwn(t *testing.T) {
	a, b := `{"objective":"RewardModel","scores":[1,2],"ranks":[1,2]}`, `{"objective":"RewardModel","scores":[4,2],"ranks":[1,2]}`
	together := run(t, a, b)
	near(t, "first", together[0], any(run(t, a)[0]), 0)
	near(t, "second", together[1], any(run(t, b)[0]), 0)
}

func TestNumbersRoundTrip(t *testing.T) {
	var out bytes.Buffer
	line := `{"objective":"PPO","params":{"klCoef":0,"whiten":false},"logps":[[0]],"oldLogps":[[0]],"refLogps":[[0]],"values":[[0]],"oldValues":[[0]],"score":[0.1234567890123456789]}`
	if err := cases.Run(strings.NewReader("\n"+line+"\n\n"), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"returns":[[0.12345678901234568]]`) { // the shortest that reads back as the same float64
		t.Error(out.String())
	}
}

func TestErrorsNameLineAndField(t *testing.T) {
	const (
		chosen = `"policy":{"chosen":[[-1]],"rejected":[[-2]]}`
		both   = chosen + `,"reference":{"chosen":[[-1]],"rejected":[[-2]]}`
		ppo    = `{"objective":"PPO","oldLogps":[[-1,-1]],"refLogps":[[-1,-1]],"values":[[0,0]],"oldValues":[[0,0]]`
	)
	for _, c := range []struct{ line, field string }{
		{`{"objective":"DPO","policy":{"chosen":[[-1,NaN]],"rejected":[[-2]]}}`, "policy.chosen[0][1]"},
		{`{"objective":"DPO","policy":{"chosen":[[-1]],"rejected":[[-Infinity]]}}`, "policy.rejected[0][0]"},
		{`{"objective":"DPO","policy":{"chosen":[[-1]],"rejected":[[-1e999]]}}`, "policy.rejected[0][0]"},
		{`{"objective":"DPO","policy":{"chosen":[[-1]],"rejected":[[null]]}}`, "policy.rejected[0][0]"},
		{`{"objective":"DPO","policy":{"chosen":[[-1]],"rejected":[["-2"]]}}`, "policy.rejected[0][0]"},
		{`{"objective":"DPO","policy":{"chosen":[-1],"rejected":[[-2]]}}`, "policy.chosen[0]"},
		{`{"objective":"DPO","policy":{"chosen":[[-1]],"rejected":[[-2]]`, "policy"},
		{`{"objective":"DPO","policy":{"chosen":[[-1]],"rejected":[[-2`, "policy.rejected[0]"},
		{`{"objective":"DPO",` + chosen + `}`, "reference"},
		{`{"objective":"DPO",` + both + `,"kl":1}`, "kl"},
		{`{"objective":"DPO",` + both + `} {}`, ""},
		{`{"objective":"DPO","objective":"IPO",` + both + `}`, "objective"},
		{`{"objective":"Dpo",` + both + `}`, "objective"},
		{`{"objective":7,` + both + `}`, "objective"},
		{`{` + both + `}`, "objective"},
		{`[]`, ""},
		{`7`, ""},
		{`{"objective":"DPO","policy":{"chosen":[[-1]],"rejected":[[-2],[-3]]}}`, "policy.rejected"},
		{`{"objective":"DPO","policy":{"chosen":[],"rejected":[]}}`, "policy.chosen"},
		{`{"objective":"DPO","policy":{"chosen":[[-1]],"rejected":[[-2]],"extra":[]},"reference":{"chosen":[[-1]],"rejected":[[-2]]}}`, "policy.extra"},
		{`{"objective":"DPO",` + chosen + `,"reference":{"chosen":[[-1]],"rejected":[[-2,-3]]}}`, "reference.rejected[0]"},
		{`{"objective":"DPO",` + chosen + `,"reference":{"chosen":[[-1],[-1]],"rejected":[[-2],[-2]]}}`, "reference.chosen"},
		{`{"objective":"DPO","params":{"gamma":1},` + both + `}`, "params.gamma"},
		{`{"objective":"DPO","params":{"beta":-1},` + both + `}`, "params.beta"},
		{`{"objective":"DPO","params":{"beta":"0.1"},` + both + `}`, "params.beta"},
		{`{"objective":"DPO","params":null,` + both + `}`, "params"},
		{`{"objective":"Robust","params":{"labelSmoothing":0.5},` + both + `}`, "params.labelSmoothing"},
		{`{"objective":"IPO","params":{"tau":0},` + both + `}`, "params.tau"},
		{`{"objective":"IPO","params":{"ipoReduction":"max"},` + both + `}`, "params.ipoReduction"},
		{`{"objective":"KTO",` + both + `}`, "kl"},
		{`{"objective":"SimPO",` + both + `}`, "reference"},
		{`{"objective":"SimPO","params":{"gamma":1,"gammaBetaRatio":0.5},` + chosen + `}`, "params.gammaBetaRatio"},
		{`{"objective":"SimPO","params":{"lengthNormalize":1},` + chosen + `}`, "params.lengthNormalize"},
		{`{"objective":"ORPO","params":{"nllReduction":"mean"},` + chosen + `}`, "params.nllReduction"},
		{`{"objective":"RRHF","responses":[[-1],[-2]],"ranks":[1,2,3]}`, "ranks"},
		{`{"objective":"RRHF","responses":[],"ranks":[]}`, "responses"},
		{`{"objective":"RewardModel","scores":[1,2],"ranks":[1]}`, "ranks"},
		{`{"objective":"RewardModel","scores":[],"ranks":[]}`, "scores"},
		{`{"objective":"RewardModel","params":{"beta":1},"scores":[1,2],"ranks":[1,2]}`, "params.beta"},
		{ppo + `,"logps":[[-1]],"score":[1]}`, "oldLogps[0]"},
		{ppo + `,"logps":[[-1,-1]],"score":[1,2]}`, "score"},
		{ppo + `,"logps":[[-1,-1]],"score":[[1]]}`, "score[0]"},
		{ppo + `,"params":{"gamma":1.1},"logps":[[-1,-1]],"score":[1]}`, "params.gamma"},
		{ppo + `,"params":{"clipRange":0},"logps":[[-1,-1]],"score":[1]}`, "params.clipRange"},
		{`{"objective":"PPO","logps":[[]],"oldLogps":[[]],"refLogps":[[]],"values":[[]],"oldValues":[[]],"score":[1]}`, "logps"},
		{`{"objective":"SLiCHF","policy":{"chosen":[[-1e308,-1e308]],"rejected":[[-2]]}}`, ""}, // the sum overflows
		{`{"objective":"DPO","policy":[[[[[[[[1]]]]]]]]}`, "policy[0][0][0][0][0][0]"},
	} {
		good := `{"objective":"RewardModel","scores":[1,2],"ranks":[1,2]}`
		var out bytes.Buffer
		err := cases.Run(strings.NewReader(good+"\n\n"+c.line+"\n"+good), &out)
		wrong, ok := errors.AsType[*cases.Error](err)
		if !ok {
			t.Errorf("%s: got %v, want an Error", c.line, err)
			continue
		}
		if wrong.Line != 3 || wrong.Field != c.field {
			t.Errorf("%s: got line %d, field %q, want line 3, %q (%v)", c.line, wrong.Line, wrong.Field, c.field, err)
		}
		if strings.Contains(c.line, "NaN") != strings.Contains(wrong.Message, "got NaN, want a finite number") {
			t.Errorf("%s: %v does not tell of NaN", c.line, err)
		}
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Errorf("%s: %d results, want the one before the error", c.line, n)
		}
	}
}

func FuzzRun(f *testing.F) {
	f.Add([]byte(`{"objective":"DPO",` + policy + `,` + reference + `}`))
	f.Add([]byte(`{"objective":"KTO","params":{"beta":1},"kl":0.3,` + policy + `,` + reference + `}`))
	f.Add([]byte(`{"objective":"RRHF","responses":[[-1],[]],"ranks":[1,2]}`))
	f.Add([]byte(`{"objective":"PPO","logps":[[-1]],"oldLogps":[[-1]],"refLogps":[[-1]],"values":[[1]],"oldValues":[[0]],"score":[1]}`))
	f.Add([]byte(`{"objective":"RewardModel","scores":[1e308,-1e308],"ranks":[1,2]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		err := cases.Run(bytes.NewReader(text), &out)
		if _, ok := errors.AsType[*cases.Error](err); err != nil && !ok {
			t.Errorf("%q: %v", text, err)
		}
		for line := range bytes.Lines(out.Bytes()) {
			if !json.Valid(line) {
				t.Errorf("%q gives %q", text, line)
			}
		}
	})
}
