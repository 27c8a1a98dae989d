package run

import (
	"context"
	"errors"
	"fmt"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/rollout"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
	"github.com/alignment-dev/alignment-operator/runtime/train"
)

// klPrompts is how many responses the KL estimate of a DPO evaluation samples.
const klPrompts = 64

// trainAndPublish is the part of a run that computes; it is called inside tensor.Run.
func (r *run) trainAndPublish(ctx context.Context) (runconfig.Result, error) {
	c := r.config
	dtype, device, err := r.place()
	if err != nil {
		return runconfig.Result{}, err
	}
	tok, err := r.loadTokenizer()
	if err != nil {
		return runconfig.Result{}, err
	}
	encoder := &data.Encoder{Tokenizer: tok, MaxLength: c.Data.MaxLength, MaxPromptLength: c.Data.MaxPromptLength, LossOn: c.Data.LossOn}
	// Examples before weights: a bad line is found before a large model is read.
	method, questions, err := r.loadExamples(encoder)
	if err != nil {
		return runconfig.Result{}, err
	}
	conversations := encoder.Template
	policy, err := r.loadModel(tok, dtype, device)
	if err != nil {
		return runconfig.Result{}, err
	}
	if err := r.checkSpace(policy); err != nil {
		return runconfig.Result{}, err
	}
	padID, _ := tok.Pad() // without one, rows are padded with token 0, which no mask lets through
	sampling := rollout.Options{MaxNewTokens: c.Evaluation.MaxNewTokens, EOS: encoder.Stops(), Pad: padID, Seed: c.Seed}
	switch m := method.(type) {
	case *train.SFT:
		m.Policy, m.Pad, m.MicroBatchSize = policy, padID, c.Training.MicroBatchSize
	case *train.DPO:
		if m.Reference, err = r.loadReference(policy, tok); err != nil {
			return runconfig.Result{}, err
		}
		m.Policy, m.Pad, m.MicroBatchSize = policy, padID, c.Training.MicroBatchSize
		m.Params = objective.DPOParams{Beta: c.Objective.Beta, LabelSmoothing: c.Objective.LabelSmoothing}
		m.Rollout, m.KLPrompts = sampling, klPrompts
		m.Rollout.Temperature = 1
		if c.Objective.PrecomputeReference {
			m.Precompute(func(done, of int) {
				r.progress.Message = fmt.Sprintf("Computing the reference's log-probabilities: %d of %d pairs", done, of)
				r.report(r.progress)
			})
			r.progress.Message = ""
		}
	}
	before := evaluate.Answers(policy, tok, questions, sampling)

	t := &train.Trainer{
		Config: c, Policy: policy, Method: method, Dir: r.dir, Identity: r.identity(), Now: r.Now,
		Log:      r.recorder.Log,
		Rewind:   r.rewind,
		Progress: r.report,
	}
	r.Log.Info("Training", "method", c.Method, "parameters", policy.Config().NumParameters(), "examples", len(method.Lengths()), "device", device)
	totals, metrics, err := t.Run(ctx)
	result := runconfig.Result{Step: totals.Step, TotalSteps: totals.TotalSteps, Epoch: totals.Epoch, Tokens: totals.Tokens, Seconds: totals.Seconds, Metrics: metrics}
	if err != nil {
		if errors.Is(err, train.ErrOtherRun) {
			err = fmt.Errorf("output.uri: %w", err)
		}
		return result, err
	}
	r.phase(runconfig.PhasePublishing)
	if conversations != nil { // the checkpoint must say how they were rendered
		if tok, err = tok.WithChatTemplate(conversations.Jinja()); err != nil {
			return result, err
		}
	}
	digest, err := r.publish(policy, tok, metrics)
	if err != nil {
		return result, err
	}
	result.Output = r.output(digest)
	after := evaluate.Answers(policy, tok, questions, sampling)
	return result, r.writeReport(result, questions, before, after)
}

func (r *run) place() (tensor.DType, tensor.Device, error) {
	p := r.config.Placement
	device := tensor.CPU
	if p.Device == "cuda" || p.Device == "auto" && tensor.CUDAAvailable() {
		if !tensor.CUDAAvailable() {
			return 0, device, invalidField("placement.device", errors.New("cuda is asked for, and this machine or this libtorch has none"))
		}
		device = "cuda:0"
	}
	if p.Threads > 0 {
		tensor.SetThreads(p.Threads)
	}
	if r.config.Training.Precision == "float64" {
		return tensor.Float64, device, nil
	}
	return tensor.Float32, device, nil
}

func (r *run) rewind(step int) error {
	if step > 0 {
		r.Log.Info("Resuming", "step", step)
		return r.recorder.Truncate(step)
	}
	return r.recorder.Truncate(-1)
}

// loadReference is DPO's frozen reference: the one that is named, or the policy before its first step.
func (r *run) loadReference(policy *model.Model, tok *tokenizer.Tokenizer) (*model.Model, error) {
	if r.config.Reference == nil {
		return policy.Clone().Freeze(), nil
	}
	m, err := r.openModel("reference.uri", *r.config.Reference, tok, policy.DType(), policy.Device())
	if err != nil {
		return nil, err
	}
	return m.Freeze(), nil
}

// loadExamples encodes the data: the method with its examples but without its models, and
// the held-out questions that the report answers.
func (r *run) loadExamples(e *data.Encoder) (train.Method, []data.Question, error) {
	c := r.config
	var method train.Method
	var held []int
	switch c.Method {
	case runconfig.SFT:
		s, err := load(r, e.Sequence)
		if err != nil {
			return nil, nil, err
		}
		method, held = &train.SFT{Examples: s.train, Held: s.held}, s.heldRecords
	case runconfig.DPO:
		s, err := load(r, e.Pair)
		if err != nil {
			return nil, nil, err
		}
		method, held = &train.DPO{Examples: s.train, Held: s.held}, s.heldRecords
	default:
		return nil, nil, invalidField("method", fmt.Errorf("got %q", c.Method))
	}
	questions, err := r.questions(e, held)
	return method, questions, err
}
