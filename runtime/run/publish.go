package run

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"syscall"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/report"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
	"github.com/alignment-dev/alignment-operator/runtime/train"
)

// The files of an output folder beside the checkpoint's own. They hold times, so they are
// not in its manifest.
const (
	resultFile  = "result.json"
	reportFile  = "report.html"
	samplesFile = "samples.jsonl"
)

// published are the files of a checkpoint, or of an adapter, beside the weights.
var published = []string{
	"README.md", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model",
	adapterFile, adapterWeight,
}

// publish writes the Hugging Face folder and, last, its manifest. Of a model with adapters it is a folder in PEFT's format,
// with the config.json of the model that base and adapter make.
func (r *run) publish(ctx context.Context, policy *model.Model, tok *tokenizer.Tokenizer, metrics map[string]float64) (digest string, err error) {
	fail := func(err error) (string, error) { return "", fmt.Errorf("output.uri: publish: %w", err) }
	c := policy.Config()
	c.DType = policy.DType().String()
	files := map[string][]byte{"config.json": c.JSON(), "README.md": r.modelCard(metrics)}
	var weights []string
	if policy.Base() != nil {
		weights, files[adapterFile] = []string{adapterWeight}, r.adapterConfig(policy)
		tensors := train.Tensors(adapterWeights(policy.AdapterParameters()))
		err = checkpoint.WriteSafetensors(filepath.Join(r.dir, adapterWeight), tensors, map[string]string{"format": "pt"})
	} else {
		generation, bad := json.MarshalIndent(generationConfig{c.BOSTokenID, c.EOSTokenID, c.PadTokenID}, "", "  ")
		if bad != nil {
			return fail(bad)
		}
		files["generation_config.json"] = append(generation, '\n')
		weights, err = checkpoint.WriteWeights(r.dir, train.Weights(policy), cmp.Or(r.ShardBytes, checkpoint.MaxShardBytes))
	}
	if err != nil {
		return fail(err)
	}
	if err := tok.Save(r.dir); err != nil {
		return fail(err)
	}
	for name, b := range files {
		if err := storage.WriteFile(filepath.Join(r.dir, name), b, 0o644); err != nil {
			return fail(err)
		}
	}
	m := checkpoint.Manifest{
		RunHash: r.hash, Method: string(r.config.Method), Inputs: r.inputs, Lineage: r.lineage, Metrics: metrics, Versions: r.versions(),
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(files)), weights, tok.Files()) {
		m.Files = append(m.Files, checkpoint.File{Path: name})
	}
	if digest, err = checkpoint.Publish(r.dir, m); err != nil {
		return fail(err)
	}
	if err := r.publishRemote(ctx, digest); err != nil {
		return fail(err)
	}
	if err := checkpoint.DropStates(r.dir); err != nil { // the checkpoint stands without it
		r.Log.Error(err, "Removing resume state failed")
	}
	r.Log.Info("Published", "uri", r.config.Output.URI, "digest", digest)
	return digest, nil
}

type generationConfig struct {
	BOSTokenID *int32         `json:"bos_token_id,omitempty"`
	EOSTokenID model.TokenIDs `json:"eos_token_id,omitempty"`
	PadTokenID *int32         `json:"pad_token_id,omitempty"`
}

func (r *run) versions() map[string]string {
	return map[string]string{"trainer": r.Version, "libtorch": tensor.Version(), "go": goruntime.Version()}
}

// checkSpace refuses to start what the disk cannot hold: keepLast states and one being
// written, and the checkpoint.
func (r *run) checkSpace(learners []*train.Learner) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(r.dir, &disk); err != nil {
		return fmt.Errorf("output.uri: %w", err)
	}
	var state int64
	for _, l := range learners {
		state += l.StateBytes()
	}
	published := learners[0].Model.Parameters()
	if r.config.Training.PublishesAdapter() {
		published = learners[0].Model.AdapterParameters()
	}
	need := train.Bytes(published)
	if r.config.Checkpoint.EverySteps > 0 {
		need += state * int64(r.config.Checkpoint.KeepLast+1)
	}
	if have := int64(disk.Bavail) * disk.Bsize; have < need {
		return &invalid{runconfig.ReasonDiskFull, fmt.Errorf("output.uri: %s has %d MiB free, the run needs %d MiB for its checkpoint and %d states", r.config.Output.URI, have>>20, need>>20, r.config.Checkpoint.KeepLast+1)}
	}
	return nil
}

func (r *run) writeResult(result runconfig.Result) error {
	b, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	if _, err := os.Stat(r.dir); errors.Is(err, fs.ErrNotExist) { // the run failed before it had a folder
		return nil
	}
	return storage.WriteFile(filepath.Join(r.dir, resultFile), append(b, '\n'), 0o644)
}

// maxResult bounds what is read of a result.json, which anything may have written.
const maxResult = 1 << 20

func (r *run) readResult(ctx context.Context) (result runconfig.Result, err error) {
	if r.bucket != nil {
		b, err := r.readOutput(ctx, resultFile)
		if err == nil {
			err = json.Unmarshal(b, &result)
		}
		return result, err
	}
	f, err := storage.Open(filepath.Join(r.dir, resultFile))
	if err != nil {
		return result, err
	}
	defer f.Close()
	err = json.NewDecoder(io.LimitReader(f, maxResult)).Decode(&result)
	return result, err
}

// writeReport writes report.html and samples.jsonl. They are for people: a run whose checkpoint stands does not fail for it.
func (r *run) writeReport(result runconfig.Result, questions []data.Question, before, after []string) error {
	history, err := r.recorder.History()
	if err != nil {
		r.Log.Error(err, "Reading the metrics for the report failed")
	}
	config, err := runconfig.Marshal(r.config)
	if err != nil {
		return err
	}
	result.Inputs, result.RunHash, result.Reason = r.inputs, r.hash, runconfig.ReasonSucceeded
	page := report.Report{Title: r.config.Name, Method: string(r.config.Method), Result: result, Config: string(config), History: history, Versions: r.versions()}
	var samples bytes.Buffer
	lines := json.NewEncoder(&samples)
	for i, q := range questions {
		s := report.Sample{Prompt: q.Text, Before: before[i], After: after[i], Reference: q.Reference}
		page.Samples = append(page.Samples, s)
		if err := lines.Encode(s); err != nil {
			return err
		}
	}
	err = errors.Join(
		storage.WriteFile(filepath.Join(r.dir, samplesFile), samples.Bytes(), 0o644),
		report.Write(filepath.Join(r.dir, reportFile), page),
	)
	if err != nil {
		r.Log.Error(err, "Writing the report failed")
	}
	return nil
}
