package model_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/train"
)

// twoRows of tiny's logits are a chunk: sharedRows' five targets are three.
const twoRows = 2 * 23

// atOnce sets how many logits a model computes at a time, a chunk being two rows; 0 all of them.
func atOnce(m *model.Model, n int64) *model.Model {
	if n == 0 {
		n = math.MaxInt64
	}
	m.ComputeLogitsAtOnce(n)
	return m
}

func TestChunkedHeadIsTheWholeOne(t *testing.T) {
	// A loss that is not linear in the log-probabilities: their gradients differ.
	loss := func(m *model.Model) (model.Logps, *tensor.Tensor) {
		l := m.DetailedLogps(m.Hidden(sharedRows), []int64{0, 4, 5, 12, 13}, []int64{3, 17, 8, 21, 3})
		return l, l.TokenLogps.Square().Sum().MulScalar(0.05)
	}
	for name, c := range architectures() {
		for dtype, tolerance := range map[tensor.DType]float64{tensor.Float64: 1e-12, tensor.Float32: 1e-5, tensor.BFloat16: 0.02} {
			for _, frozenLayers := range []int{-1, 1} { // -1: none, nor the embedding; a tied head is the embedding
				for _, checkpointing := range []bool{false, true} {
					run(t, func() {
						m := newModel(t, c, dtype)
						if frozenLayers >= 0 {
							m.FreezeLayers(frozenLayers)
						}
						m.CheckpointActivations(checkpointing)
						var values [2][]float64
						var grads [2]map[string][]float64
						for i, n := range []int64{0, twoRows} {
							atOnce(m, n)
							grads[i] = gradientsOf(m, func() {
								l, loss := loss(m)
								values[i] = append(l.TokenLogps.Float64s(), l.Entropy(), l.Accuracy())
								loss.Backward()
								m.FinishBackward()
							})
						}
						t.Log(name, dtype, frozenLayers, checkpointing)
						near(t, "logps, entropy, accuracy", values[1], values[0], tolerance)
						for _, p := range m.Parameters() {
							if !p.Tensor.NeedsGrad() {
								delete(grads[0], p.Name)
								if grads[1][p.Name] != nil {
									t.Errorf("%s is frozen and has a gradient", p.Name)
								}
							}
						}
						sameGradients(t, grads[1], grads[0], tolerance)
					})
				}
			}
		}
	}
}

func TestGradientsOfChunkedHeadsAddUp(t *testing.T) {
	other := rowsOf(alone(tokens(7, 12)))
	run(t, func() {
		m := newModel(t, tied(tiny), tensor.Float64)
		second := func() *tensor.Tensor {
			return m.TokenLogps(m.Hidden(other), []int64{2, 3, 4}, []int64{5, 6, 1}).TokenLogps.Sum().MulScalar(0.3)
		}
		want := gradientsOf(m, func() { likelihood(m).Add(second()).Backward() })
		atOnce(m, twoRows)
		for name, f := range map[string]func(){
			"one loss": func() {
				likelihood(m).Add(second()).Backward()
				m.FinishBackward()
			},
			"micro-batches": func() {
				for _, f := range []func() *tensor.Tensor{func() *tensor.Tensor { return likelihood(m) }, second} {
					tensor.Scoped(func() {
						f().Backward()
						m.FinishBackward()
					})
				}
			},
			"one that no loss needs": func() {
				a := likelihood(m)
				likelihood(m)
				a.Add(second()).Backward()
				m.FinishBackward()
				m.FinishBackward() // nothing pending
			},
			"one without autograd": func() {
				loss := likelihood(m).Add(second())
				tensor.NoGrad(func() { likelihood(m).Item() })
				loss.Backward()
				tensor.NoGrad(m.FinishBackward)
			},
		} {
			t.Log(name)
			sameGradients(t, gradientsOf(m, f), want, 1e-12)
		}
	})
}

func TestChunkedHeadLeaksNothing(t *testing.T) {
	run(t, func() {
		m := atOnce(newModel(t, tiny, tensor.Float64), twoRows)
		m.CheckpointActivations(true)
		frozen := atOnce(m.Clone().Freeze(), twoRows)
		step := func() {
			likelihood(m).Backward()
			m.FinishBackward()
		}
		want := gradientsOf(m, step)
		tensors, bytes := tensor.Live()
		for name, f := range map[string]func(){
			"no Backward":       func() { likelihood(m) },
			"no FinishBackward": func() { likelihood(m).Backward() },
			"frozen":            func() { likelihood(frozen) },
		} {
			gradientsOf(m, f)
			sameGradients(t, gradientsOf(m, step), want, 0)
			if n, b := tensor.Live(); n != tensors || b != bytes {
				t.Fatalf("%s: %d tensors of %d bytes live, want %d of %d", name, n, b, tensors, bytes)
			}
		}
		tensor.NoGrad(func() { // nothing waits for a backward pass
			before, _ := tensor.Live()
			if l := m.TokenLogps(m.Hidden(sharedRows), []int64{0, 1, 2}, []int64{1, 2, 3}); l.TokenLogps.NeedsGrad() {
				t.Error("requires grad")
			}
			if after, _ := tensor.Live(); after != before+2 {
				t.Errorf("%d tensors live, want %d, the states and the log-probabilities", after, before)
			}
		})
	})
}

func TestEntropyMustBeAskedFor(t *testing.T) {
	for _, n := range []int64{0, twoRows} {
		err := tensor.Run(func() error {
			m := atOnce(newModel(t, tiny, tensor.Float64), n)
			m.TokenLogps(m.Hidden(sharedRows), []int64{0, 1, 2}, []int64{1, 2, 3}).Entropy()
			return nil
		})
		if e := (*tensor.Error)(nil); !errors.As(err, &e) {
			t.Errorf("at most %d logits: got %v", n, err)
		}
	}
}

// The bound that issue "memory and precision" asks for: everything that is live in a DPO step, weights, gradients and
// optimiser included, at Llama 3's vocabulary.
func TestChunkedHeadTakesLessMemory(t *testing.T) {
	for _, tied := range []bool{true, false} {
		c := model.Config{
			VocabSize: 128256, HiddenSize: 64, IntermediateSize: 128, NumHiddenLayers: 2, NumAttentionHeads: 4, NumKeyValueHeads: 2,
			HeadDim: 16, RMSNormEps: 1e-5, RopeTheta: 1e4, MaxPositionEmbeddings: 256, TieWordEmbeddings: tied, InitializerRange: 0.02,
		}
		whole, wholeLoss := dpoStep(t, c, 0)
		chunked, loss := dpoStep(t, c, 1<<25)
		t.Logf("tied %t: %d MiB whole, %d MiB in chunks: %.2f; losses %v, %v", tied, whole>>20, chunked>>20, float64(chunked)/float64(whole), wholeLoss, loss)
		if float64(chunked) > 0.4*float64(whole) {
			t.Errorf("tied %t: %d bytes in chunks, %d whole: want at most 0.4", tied, chunked, whole)
		}
		if math.Abs(loss-wholeLoss) > 1e-5 {
			t.Errorf("tied %t: loss %v in chunks, %v whole", tied, loss, wholeLoss)
		}
	}
}

// dpoStep makes an optimiser step on pairs of long responses. It returns the peak of live bytes and the loss.
func dpoStep(t *testing.T, c model.Config, logitsAtOnce int64) (peak int64, loss float64) {
	rc := &runconfig.RunConfig{Version: runconfig.Version, Method: runconfig.DPO}
	rc.SetDefaults()
	rc.Training.BatchSize, rc.Training.MicroBatchSize, rc.Training.MaxSteps, rc.Training.LearningRate = 4, 4, 1, 1e-3
	run(t, func() {
		policy := atOnce(newModel(t, c, tensor.Float32), logitsAtOnce)
		objective, err := train.PairLossOf(*rc.Objective)
		if err != nil {
			t.Fatal(err)
		}
		dpo := &train.Preference{Policy: policy, Reference: atOnce(policy.Clone().Freeze(), logitsAtOnce), Objective: objective, MicroBatchSize: 4}
		for i := range 4 {
			sequence := func(n, from int) (out []int32) {
				for j := range n {
					out = append(out, int32((from*7919+i*104729+j*1299709)%c.VocabSize))
				}
				return out
			}
			dpo.Examples = append(dpo.Examples, data.Pair{Prompt: sequence(16, 1), Chosen: sequence(96, 2), Rejected: sequence(96, 3)})
		}
		trainer := train.Trainer{
			Config: rc, Dir: t.TempDir(), Now: func() time.Time { return time.Time{} },
			Method:   &train.Descent{Loss: dpo, Policy: train.NewLearner("policy", policy, rc.Training), MicroBatchSize: 4},
			Log:      func(int, map[string]float64) error { return nil },
			Rewind:   func(int) error { return nil },
			Progress: func(runconfig.Progress) {},
		}
		tensor.ResetPeak()
		_, metrics, err := trainer.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		peak, loss = tensor.PeakBytes(), metrics["loss"]
	})
	return peak, loss
}
