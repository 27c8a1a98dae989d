package runconfig

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShort(t *testing.T) {
	many := map[string]float64{}
	for i := range 200 {
		many[fmt.Sprintf("eval_rewards/metric-%d", i)] = float64(i) / 3
	}
	output := &Artifact{Role: "checkpoint", URI: "pvc://models/dpo", Digest: "sha256:" + strings.Repeat("a", 64)}
	for name, c := range map[string]struct {
		in   Result
		keep string // a part of the JSON that must survive
		drop string // one that must not; "" when all survives
	}{
		"small":               {Result{Metrics: map[string]float64{"loss": 0.5}, Output: output}, `"loss":0.5`, ""},
		"many metrics":        {Result{Metrics: many, Message: "it ended", Output: output}, `"message":"it ended"`, `"metrics"`},
		"many inputs":         {Result{Inputs: make([]Artifact, 500), Output: output}, `"output":{"role":"checkpoint"`, `"inputs"`},
		"long message":        {Result{Message: "data.jsonl:7: " + strings.Repeat("x", 10_000), Output: output}, `"message":"data.jsonl:7: xxx`, strings.Repeat("x", 1025)},
		"message of escapes":  {Result{Message: "data.jsonl:7: " + strings.Repeat("<", 10_000)}, `"message":"data.jsonl:7: \u003c`, ""},
		"message in Japanese": {Result{Message: strings.Repeat("日", 10_000)}, `"message":"日`, "\ufffd"},
		"not a number":        {Result{Metrics: map[string]float64{"loss": math.NaN()}, Message: "diverged"}, `"message":"diverged"`, `"metrics"`},
		"endless output":      {Result{Output: &Artifact{URI: strings.Repeat("x", 5000)}, Message: "m"}, `"message":"m"`, `"output"`},
		"nothing fits":        {Result{RunHash: strings.Repeat("x", 5000)}, `"reason":"Diverged"`, `"runHash"`},
	} {
		c.in.ExitCode, c.in.Reason = ExitStopped, ReasonDiverged
		b := c.in.Short()
		var out Result
		if err := json.Unmarshal(b, &out); err != nil || len(b) > TerminationLimit || !utf8.Valid(b) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		if out.ExitCode != ExitStopped || out.Reason != ReasonDiverged || !strings.Contains(string(b), c.keep) || (c.drop != "" && strings.Contains(string(b), c.drop)) {
			t.Errorf("%s: got %s", name, b)
		}
	}
}
