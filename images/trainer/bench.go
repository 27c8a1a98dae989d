package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/bench"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

func benchCommand() *cobra.Command {
	o := bench.Options{Now: time.Now}
	var config, method, device string
	var asJSON, show bool
	c := &cobra.Command{
		Use:   "bench",
		Short: "Time training steps of a randomly initialised model: tokens/s, model FLOP utilisation, peak memory",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			defer endAtSignal(c.Context())()
			b, err := bench.Architecture(config)
			if err != nil {
				return err
			}
			if show {
				_, err := os.Stdout.Write(b.JSON())
				return err
			}
			o.Method, o.Config, o.Device = runconfig.Method(method), b, tensor.Device(device)
			r, err := bench.Run(context.WithoutCancel(c.Context()), o)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(r)
			}
			return printBench(os.Stdout, r)
		},
	}
	f := c.Flags()
	f.StringVar(&config, "init", "1b", "the architecture: 1b (Llama 3.2's), tiny, or a config.json")
	f.StringVar(&method, "method", "SFT", "SFT or DPO")
	f.StringVar(&o.Precision, "precision", "bfloat16", "float32, float64 or bfloat16")
	f.IntVar(&o.SeqLen, "seq-len", 1024, "tokens of an example; of a pair, of the prompt (half of it) and each response (the other half)")
	f.IntVar(&o.Batch, "batch", 8, "examples, or pairs, of an optimiser step")
	f.IntVar(&o.MicroBatch, "micro-batch", 0, "of a forward pass; 0 is the batch")
	f.IntVar(&o.Steps, "steps", 10, "steps to time, after the warm-up")
	f.IntVar(&o.WarmUp, "warm-up", 3, "steps before")
	f.BoolVar(&o.ActivationCheckpointing, "activation-checkpointing", false, "recompute layers in the backward pass")
	f.Float64Var(&o.PeakTFLOPS, "peak-tflops", 0, "of the device, dense, in this precision; 0 looks the device's name up")
	f.StringVar(&device, "device", "cpu", "cpu, cuda or cuda:N")
	f.BoolVar(&show, "show-config", false, "print the architecture's config.json, and time nothing")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

func printBench(w io.Writer, r bench.Result) error {
	mfu := "unknown: set --peak-tflops"
	if r.MFU > 0 {
		mfu = fmt.Sprintf("%.1f %% of %.4g TFLOP/s", 100*r.MFU, r.PeakTFLOPS)
	}
	_, err := fmt.Fprintf(w, `%s, %s, %.4gM parameters, %d x %d tokens a step, %s, libtorch %s

a step      %.4g s (median of %d; fastest %.4g)
tokens/s    %.4g
model FLOP  %.4g T a step, %.4g TFLOP/s
MFU         %s
peak memory %.4g GiB
loss        %.4g
`, r.Method, r.Precision, float64(r.Parameters)/1e6, r.Batch, r.SeqLen, r.Device, r.Libtorch,
		r.SecondsPerStep, r.Steps, r.Fastest, r.TokensPerSecond, r.ModelTFLOP, r.TFLOPS, mfu, float64(r.PeakMemoryBytes)/(1<<30), r.Loss)
	return err
}
