package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Two layers of width 4, one head, an MLP of 6, 10 tokens: 4*4*4 + 3*4*6 = 136 weights a layer in products.
var small = model.Config{
	VocabSize: 10, HiddenSize: 4, IntermediateSize: 6, NumHiddenLayers: 2, NumAttentionHeads: 1, NumKeyValueHeads: 1, HeadDim: 4,
	RMSNormEps: 1e-5, RopeTheta: 10000, MaxPositionEmbeddings: 64, TieWordEmbeddings: true, InitializerRange: 0.02,
}

func TestFLOPByHand(t *testing.T) {
	// 8 tokens, 36 pairs: blocks 2*8*272 = 4352, attention 4*2*4*36 = 1152, head 2*7*40 = 560; three times that for each of 2 examples.
	if got := FLOP(small, runconfig.SFT, 8, 2); got != 2*3*(4352+1152+560) {
		t.Errorf("SFT: got %g", got)
	}
	// A prompt of 4 and two responses of 4: 12 tokens, 10 + 2*(36-10) = 62 pairs: 2*12*272 = 6528, 32*62 = 1984, 2*8*40 = 640; the reference is a fourth.
	if got := FLOP(small, runconfig.DPO, 8, 1); got != 4*(6528+1984+640) {
		t.Errorf("DPO: got %g", got)
	}
	c, err := Architecture("1b")
	if err != nil || c.NumParameters() != 1235814400 { // Llama 3.2 1B's
		t.Errorf("1b: %d parameters, %v", c.NumParameters(), err)
	}
}

func TestRun(t *testing.T) {
	for _, method := range []runconfig.Method{runconfig.SFT, runconfig.DPO} {
		for _, precision := range []string{"float32", "bfloat16"} {
			clock := time.Unix(0, 0)
			o := Options{
				Method: method, Config: small, Precision: precision, SeqLen: 8, Batch: 4, MicroBatch: 2, Steps: 5, WarmUp: 2,
				ActivationCheckpointing: true, Device: tensor.CPU, PeakTFLOPS: 1e-6,
				Now: func() time.Time { clock = clock.Add(time.Second); return clock },
			}
			r, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			tokens := 4 * 8.
			if method == runconfig.DPO {
				tokens = 4 * 12
			}
			if r.SecondsPerStep <= 0 || r.TokensPerSecond != tokens/r.SecondsPerStep || r.MFU != r.ModelTFLOP/r.SecondsPerStep/1e-6 || r.PeakMemoryBytes == 0 || r.Loss <= 0 {
				t.Errorf("%s %s: got %+v", method, precision, r)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	good := Options{Method: runconfig.SFT, Config: small, Precision: "float32", SeqLen: 8, Batch: 4, Steps: 1, Device: tensor.CPU, Now: time.Now}
	for names, change := range map[string]func(*Options){
		"method":      func(o *Options) { o.Method = runconfig.PPO },
		"precision":   func(o *Options) { o.Precision = "int8" },
		"seq-len":     func(o *Options) { o.SeqLen = 128 },
		"micro-batch": func(o *Options) { o.MicroBatch = 3 },
		"steps":       func(o *Options) { o.Steps = 0 },
		"device":      func(o *Options) { o.Device = "cuda" },
	} {
		if names == "device" && tensor.CUDAAvailable() {
			continue
		}
		o := good
		change(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), names+":") {
			t.Errorf("%s: got %v", names, err)
		}
	}
}

func TestParseGPU(t *testing.T) {
	g, err := parseGPU("NVIDIA H100 80GB HBM3, 1234\n")
	if err != nil || g.name != "NVIDIA H100 80GB HBM3" || g.used != 1234<<20 || g.bfloat16TFLOPS() != 989.4 {
		t.Errorf("got %+v, %v", g, err)
	}
	if g := (gpu{name: "NVIDIA H100 PCIe"}); g.bfloat16TFLOPS() != 756 {
		t.Errorf("PCIe: got %g", g.bfloat16TFLOPS())
	}
	if _, err := parseGPU("No devices were found"); err == nil {
		t.Error("no error")
	}
}
