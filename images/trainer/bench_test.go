package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/bench"
)

func TestBench(t *testing.T) {
	args := []string{"bench", "--init", "tiny", "--method", "DPO", "--precision", "float32", "--seq-len", "16", "--batch", "2", "--steps", "1", "--warm-up", "1", "--peak-tflops", "0.1"}
	code, out := trainer(t, append(args, "--json")...)
	var r bench.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || r.SecondsPerStep <= 0 || r.MFU <= 0 {
		t.Errorf("got exit code %d, %s, %v", code, out, err)
	}
	if code, out := trainer(t, args...); code != 0 || !strings.Contains(out, "tokens/s") || !strings.Contains(out, "% of 0.1 TFLOP/s") {
		t.Errorf("got exit code %d, %s", code, out)
	}
	if code, out := trainer(t, "bench", "--init", "nowhere"); code != runconfig.ExitInvalid || !strings.Contains(out, "nowhere") {
		t.Errorf("got exit code %d, %s", code, out)
	}
}
