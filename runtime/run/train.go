package run

import (
	"context"
	"errors"
	"fmt"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/evaluate"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/train"
)

// trainAndPublish is the part of a run that computes; it is called inside tensor.Run.
func (r *run) trainAndPublish(ctx context.Context) (runconfig.Result, error) {
	c := r.config
	dtype, device, err := r.place()
	if err != nil {
		return runconfig.Result{}, err
	}
	if err := r.checkTargets(); err != nil {
		return runconfig.Result{}, err
	}
	tok, err := r.loadTokenizer()
	if err != nil {
		return runconfig.Result{}, err
	}
	encoder := r.encoder(tok)
	encoder.Store = &r.store
	// Examples before weights: a bad line is found before a large model is read.
	plan, err := r.plan(encoder)
	if err != nil {
		return runconfig.Result{}, err
	}
	conversations := encoder.Template
	policy, err := r.loadPolicy(tok, dtype, device)
	if err != nil {
		return runconfig.Result{}, err
	}
	method, err := plan.method(policy)
	if err != nil {
		return runconfig.Result{}, err
	}
	if c.Training.ActivationCheckpointing {
		for _, l := range method.Learners() {
			l.Model.CheckpointActivations(true)
		}
	}
	if err := r.checkSpace(method.Learners()); err != nil {
		return runconfig.Result{}, err
	}
	if plan.prepare != nil {
		if err := plan.prepare(ctx, method); err != nil {
			return runconfig.Result{}, err
		}
	}
	answers := func() []string { return nil }
	if !method.Published().HasScore() { // a reward model answers nothing
		answers = func() []string {
			return evaluate.Answers(r.group, method.Published(), tok, plan.questions, r.sampling(encoder))
		}
	}
	before := answers()

	t := &train.Trainer{
		Config: c, Method: method, Weights: plan.weights, Dir: r.dir, Identity: r.identity(), Now: r.Now,
		Log:      r.record,
		Saved:    func(step int) error { return r.saved(ctx, step) },
		Rewind:   r.rewind,
		Progress: r.report,
		Group:    r.group,
	}
	r.Log.Info("Training", "method", c.Method, "parameters", policy.Config().NumParameters(), "examples", len(method.Lengths()), "device", device)
	totals, metrics, err := t.Run(ctx)
	result := runconfig.Result{
		Step: totals.Step, TotalSteps: totals.TotalSteps, Epoch: totals.Epoch, Tokens: totals.Tokens, Seconds: totals.Seconds,
		Metrics: metrics, Message: totals.Stopped, PeakMemoryBytes: tensor.PeakBytes(),
	}
	if err != nil {
		if errors.Is(err, train.ErrOtherRun) {
			err = fmt.Errorf("output.uri: %w", err)
		}
		return result, err
	}
	if plan.finish != nil {
		plan.finish(method, metrics)
	}
	r.phase(runconfig.PhasePublishing)
	if conversations != nil { // the checkpoint must say how they were rendered
		if tok, err = tok.WithChatTemplate(conversations.Jinja()); err != nil {
			return result, err
		}
	}
	after := answers()
	trained := method.Published()
	if !c.Training.PublishesAdapter() {
		trained = trained.Merge()
	}
	var digest string
	trained.Whole(func() {
		if r.first() {
			digest, err = r.publish(ctx, trained, tok, metrics)
		}
	})
	if err != nil || !r.first() {
		return result, err
	}
	result.Output = r.output(digest)
	return result, r.writeReport(result, plan.questions, before, after)
}

// record writes a line of metrics.
func (r *run) record(step int, values map[string]float64) error {
	if !r.first() {
		return nil
	}
	return r.recorder.Log(step, values)
}

// threads is how many operators use: all processors, shared by a node's ranks, unless the run says.
func (r *run) threads() int {
	p := r.config.Placement
	if p.Threads == 0 && p.ProcessesPerNode > 1 {
		return max(1, tensor.ThisMachine().Threads/p.ProcessesPerNode)
	}
	return p.Threads
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
	return r.weightType(), device, nil
}

// weightType is that of weights in training.
func (r *run) weightType() tensor.DType {
	if r.config.Training.Precision == "float64" {
		return tensor.Float64
	}
	return tensor.Float32
}

// mixPrecision makes a model that is to be trained compute in bfloat16 where the run asks for that.
func (r *run) mixPrecision(m *model.Model) {
	if r.config.Training.Precision == "bfloat16" {
		m.ComputeIn(tensor.BFloat16)
	}
}

func (r *run) rewind(step int) error {
	if !r.first() {
		return nil
	}
	if step > 0 {
		r.Log.Info("Resuming", "step", step)
		return r.recorder.Truncate(step)
	}
	return r.recorder.Truncate(-1)
}
