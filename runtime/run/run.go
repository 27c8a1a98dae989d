package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/metrics"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/train"
)

// Environment is what a run takes from its process.
type Environment struct {
	Now func() time.Time
	Log logr.Logger
	// Version of the trainer, recorded in manifest and report.
	Version string
	// Progress is told where the run is, besides Placement.Address; a progress bar, for example.
	Progress func(runconfig.Progress)
	// ExampleBudget is how many bytes of examples' tokens are kept in memory, and not in files; 0 is data.Store's default.
	ExampleBudget int64
	// ShardBytes is the size from which weights are published in several files; 0 is checkpoint.MaxShardBytes.
	ShardBytes int64
	// Process is which rank this process is of a run of several; nil: it is the run's only one.
	Process *distributed.Process
	// Open opens URIs other than file:// and pvc://; without it, they are refused.
	Open func(ctx context.Context, uri string) (storage.Remote, error)
	// Retry is how often what Open opened is asked again.
	Retry storage.Retry
}

// run is one attempt at a RunConfig.
type run struct {
	Environment
	config   *runconfig.RunConfig
	hash     string
	dir      string         // the output folder, or the one to work in where bucket is set
	bucket   storage.Bucket // the output, when it is in an object store
	cache    *storage.Cache
	working  bool // dir is this attempt's own
	fetched  map[string]fetched
	inputs   []runconfig.Artifact
	parents  []checkpoint.Parent // those of the inputs that are published checkpoints
	lineage  []checkpoint.Ancestor
	store    data.Store
	resolver storage.Resolver
	progress runconfig.Progress
	recorder *metrics.Recorder
	server   *metrics.Server // nil without Placement.Address
	group    *distributed.Group
}

// Run carries out c and says how it ended; it never panics on bad input. When ctx ends
// the run saves its state and the result is Interrupted.
func Run(ctx context.Context, c *runconfig.RunConfig, env Environment) runconfig.Result {
	r := newRun(c, env)
	result, err := r.do(ctx)
	result = r.end(result, err)
	if r.dir != "" && r.first() && !distributed.Lost(err) {
		if err := r.writeResult(result); err != nil {
			r.Log.Error(err, "Writing the result failed")
		}
	}
	defer r.leave(ctx)
	r.progress.Message = result.Message
	r.phase(runconfig.PhaseDone)
	if err != nil {
		r.phase(runconfig.PhaseFailed)
	}
	r.close()
	return result
}

// first says that this process writes what the run writes.
func (r *run) first() bool { return r.Process == nil || r.Process.Rank == 0 }

func newRun(c *runconfig.RunConfig, env Environment) *run {
	return &run{
		Environment: env, config: c, store: data.Store{Budget: env.ExampleBudget}, fetched: map[string]fetched{},
		resolver: storage.Resolver{Mounts: c.Placement.Mounts, Fetched: map[string]string{}},
	}
}

// end adds to a result what all have.
func (r *run) end(result runconfig.Result, err error) runconfig.Result {
	switch {
	case err != nil:
		result.ExitCode, result.Reason = classify(err)
		result.Message = err.Error()
	case result.Output == nil:
		result.Reason = runconfig.ReasonNotPublished
	default:
		result.Reason = runconfig.ReasonSucceeded
	}
	result.Inputs, result.RunHash = r.inputs, r.hash
	return result
}

// identify finds out which run this is and where its folder.
func (r *run) identify(ctx context.Context) (err error) {
	if r.hash = r.config.Output.RunHash; r.hash == "" {
		if r.hash, err = r.config.Hash(); err != nil {
			return err
		}
	}
	if storage.IsRemote(r.config.Output.URI) {
		return r.openOutput(ctx)
	}
	if r.dir, err = r.resolver.Path(r.config.Output.URI); err != nil {
		return invalidField("output.uri", err)
	}
	return nil
}

func (r *run) close() {
	if err := r.store.Close(); err != nil {
		r.Log.Error(err, "Letting the examples go failed")
	}
	if r.server != nil {
		r.server.Close()
	}
	if r.recorder != nil {
		r.recorder.Close()
	}
}

func (r *run) do(ctx context.Context) (result runconfig.Result, err error) {
	if err := r.identify(ctx); err != nil {
		return result, err
	}
	if p := r.config.Placement; r.bucket != nil && p.Nodes > 1 && p.Sharding == runconfig.ShardingFull {
		return result, invalidField("placement.sharding", errors.New("ranks of several nodes write their parts of a state into one folder: with Full, output.uri must be one that all nodes mount"))
	}
	if !r.first() {
		return r.follow(ctx)
	}
	if a := r.config.Placement.Address; a != "" { // before anything that takes long
		if r.server, err = metrics.Serve(a); err != nil {
			return result, fmt.Errorf("placement.address: %w", err)
		}
	}
	r.phase(runconfig.PhaseLoading)
	if n := r.config.Placement.Ranks(); n > 1 && r.Process == nil {
		return result, invalidField("placement", fmt.Errorf("%d ranks (nodes times processesPerNode), and no launcher has started them", n))
	}
	if err := r.verifyInputs(ctx); err != nil {
		return result, err
	}
	if published, done, err := r.published(ctx); err != nil || done {
		return published, err
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return result, fmt.Errorf("output.uri: %w", err)
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return result, fmt.Errorf("output.uri: %w", err)
	}
	defer unlock()
	r.working = true
	// The one that was waited for may have published.
	if published, done, err := r.published(ctx); err != nil || done {
		return published, err
	}
	if err := r.restore(ctx); err != nil {
		return result, fmt.Errorf("output.uri: %w", err)
	}
	if err := checkpoint.CleanTemp(r.dir); err != nil {
		return result, fmt.Errorf("output.uri: %w", err)
	}
	if r.recorder, err = metrics.New(metrics.Options{Dir: r.dir, Clock: r.Now, Server: r.server}); err != nil {
		return result, fmt.Errorf("output.uri: %w", err)
	}
	tensor.SetThreads(r.threads()) // from the next Run on
	err = tensor.Run(func() (err error) {
		if err := r.join(); err != nil {
			return err
		}
		result, err = r.trainAndPublish(ctx)
		return err
	})
	return result, err
}

// join meets the other ranks, all of which have verified their inputs.
func (r *run) join() (err error) {
	if r.Process == nil {
		return nil
	}
	dtype, device, err := r.place()
	if err != nil {
		return err
	}
	if r.group, err = distributed.Join(*r.Process, device); err != nil {
		return err
	}
	type rank struct {
		Device tensor.Device
		Inputs []runconfig.Artifact
	}
	all := distributed.Gather(r.group, rank{device, r.inputs})
	for i, of := range all {
		if (of.Device == tensor.CPU) != (device == tensor.CPU) {
			return invalidField("placement.processesPerNode", fmt.Errorf("rank %d computes on %s, rank %d on %s: is there a GPU for each?", i, of.Device, r.Process.Rank, device))
		}
		if here, there := digests(r.inputs), digests(of.Inputs); !slices.Equal(here, there) {
			return invalidData("placement.nodes", fmt.Errorf("rank %d has read other inputs (%s) than rank %d (%s)", i, strings.Join(there, ", "), r.Process.Rank, strings.Join(here, ", ")))
		}
	}
	r.Log.Info("Joined", "rank", r.group.Rank(), "ranks", r.group.World(), "node", r.Process.Node, "device", device, "dtype", dtype)
	return nil
}

// follow is do of all ranks but the first, which locks, publishes and reports for them.
func (r *run) follow(ctx context.Context) (result runconfig.Result, err error) {
	if err := r.verifyInputs(ctx); err != nil {
		return result, err
	}
	tensor.SetThreads(r.threads())
	err = tensor.Run(func() error {
		if err := r.join(); err != nil {
			return err
		}
		if err := r.prepare(ctx); err != nil {
			return err
		}
		result, err = r.trainAndPublish(ctx)
		return err
	})
	return result, err
}

// prepare brings the state that rank 0 has brought to its own machine.
func (r *run) prepare(ctx context.Context) error {
	if r.bucket != nil && r.Process.Node != 0 {
		r.dir += fmt.Sprintf("-rank%d", r.Process.Rank)
		if err := os.MkdirAll(r.dir, 0o755); err != nil {
			return fmt.Errorf("output.uri: %w", err)
		}
		r.working = true
		if err := r.restore(ctx); err != nil {
			return fmt.Errorf("output.uri: %w", err)
		}
	}
	if _, err := os.Stat(r.dir); err != nil {
		return fmt.Errorf("output.uri: the nodes of a run share its folder: %w", err)
	}
	return nil
}

// lock makes this the only attempt that writes into the output folder. Kubernetes sees to that as well, except where it was told
// that a node is off that is not: its trainer then goes on to the end, and this one takes over what it leaves.
func (r *run) lock(ctx context.Context) (unlock func(), err error) {
	unlock, err = storage.Lock(ctx, r.dir, func() {
		r.Log.Info("Waiting for another trainer that writes this run", "dir", r.dir)
		r.progress.Message = "Waiting for another trainer that writes this run"
		r.report(r.progress)
	})
	r.progress.Message = ""
	if errors.Is(err, storage.ErrNoLocks) {
		r.Log.Info("Nothing keeps a second trainer from writing this run", "err", err.Error())
		return func() {}, nil
	}
	return unlock, err
}

// published looks whether the output folder holds a checkpoint already: this run's own, from
// an attempt that ended after publishing or an earlier run of the same hash, is taken as it is.
func (r *run) published(ctx context.Context) (runconfig.Result, bool, error) {
	m, digest, err := r.readManifest(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return runconfig.Result{}, false, nil
	}
	if err != nil {
		return runconfig.Result{}, false, fmt.Errorf("output.uri: %w", err)
	}
	if m.RunHash != r.hash {
		return runconfig.Result{}, false, invalidField("output.uri", fmt.Errorf("%s holds the checkpoint of another run (hash %.12s, this run is %.12s)", r.config.Output.URI, m.RunHash, r.hash))
	}
	if now, then := digests(r.inputs), digests(m.Inputs); !slices.Equal(now, then) {
		return runconfig.Result{}, false, invalidData("output.uri", fmt.Errorf("%s was trained on other inputs (%s) than there are now (%s): name the digests in the configuration, which makes it a run of its own, or delete the folder",
			r.config.Output.URI, strings.Join(then, ", "), strings.Join(now, ", ")))
	}
	if err := r.verifyOutput(ctx, m, digest); err != nil {
		return runconfig.Result{}, false, fmt.Errorf("output.uri: %w", err)
	}
	r.Log.Info("Adopting the checkpoint published by a run of the same hash", "uri", r.config.Output.URI, "digest", digest)
	result, _ := r.readResult(ctx) // lost if the attempt died between the two files
	result.ExitCode, result.Message, result.Adopted = runconfig.ExitDone, "", true
	result.Output = r.output(digest)
	result.Metrics = m.Metrics // result.json is not part of what was verified
	return result, true, nil
}

func (r *run) output(digest string) *runconfig.Artifact {
	return &runconfig.Artifact{Role: "checkpoint", URI: r.config.Output.URI, Digest: digest}
}

func (r *run) phase(phase string) {
	r.progress.Phase = phase
	r.report(r.progress)
}

func (r *run) report(p runconfig.Progress) {
	r.progress = p
	if r.Progress != nil {
		r.Progress(p)
	}
	if r.server != nil {
		r.server.Update(p)
	}
}

// invalid is an error that no retry mends.
type invalid struct {
	reason string
	err    error
}

func (e *invalid) Error() string { return e.err.Error() }
func (e *invalid) Unwrap() error { return e.err }

func invalidField(field string, err error) error {
	return &invalid{runconfig.ReasonInvalidConfig, fmt.Errorf("%s: %w", field, err)}
}

func invalidData(field string, err error) error {
	return &invalid{runconfig.ReasonInvalidData, fmt.Errorf("%s: %w", field, err)}
}

// classify says how an error ends the process, and the word for a condition.
func classify(err error) (exitCode int, reason string) {
	var bad *invalid
	var digest *storage.DigestError
	switch {
	case errors.Is(err, train.ErrInterrupted), errors.Is(err, context.Canceled):
		return runconfig.ExitTerminated, runconfig.ReasonInterrupted
	case errors.As(err, &digest):
		return runconfig.ExitInvalid, runconfig.ReasonDigestMismatch
	case storage.IsDiskFull(err): // a retry would meet the same disk; what was saved stays
		return runconfig.ExitInvalid, runconfig.ReasonDiskFull
	case errors.As(err, &bad):
		return runconfig.ExitInvalid, bad.reason
	case errors.Is(err, runconfig.ErrInvalid), errors.Is(err, train.ErrOtherRun), errors.Is(err, model.ErrConfig), errors.Is(err, storage.ErrURI):
		return runconfig.ExitInvalid, runconfig.ReasonInvalidConfig
	case errors.Is(err, train.ErrDiverged):
		return runconfig.ExitStopped, runconfig.ReasonDiverged
	case errors.Is(err, train.ErrStopRule):
		return runconfig.ExitStopped, runconfig.ReasonStopRule
	case distributed.Lost(err):
		return runconfig.ExitError, runconfig.ReasonRankLost
	}
	return runconfig.ExitError, runconfig.ReasonError
}
