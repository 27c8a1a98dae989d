package run

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/train"
)

// A reference's log-probabilities are computed once: an attempt finds them beside the states that an earlier one has saved, and,
// where there is a cache, a run finds those of another with the same reference and pairs, and another beta, say.

var referenceFolder = path.Join(checkpoint.StateFolder, checkpoint.ReferenceName)

const (
	referenceFile   = "logps.safetensors" // in referenceFolder, and in the cache's entry
	referenceTensor = "logps"             // [pairs, 2], chosen before rejected
	referenceKey    = "key"               // of the metadata
)

// precompute sets the reference's log-probabilities: those that are kept, or computed now.
func (r *run) precompute(ctx context.Context, method train.Method) error {
	m := method.(*train.Descent).Loss.(*train.Preference)
	var key string
	var kept []float64
	if r.first() {
		key = r.referenceKey(m)
		kept = r.findReference(ctx, key)
	}
	if m.ReferenceLogps = distributed.Gather(r.group, kept)[0]; m.ReferenceLogps == nil {
		m.ReferenceLogps = m.Precompute(func(done, of int) {
			r.progress.Message = fmt.Sprintf("Computing the reference's log-probabilities: %d of %d pairs", done, of)
			r.report(r.progress)
		})
		r.progress.Message = ""
	}
	if !r.first() || kept != nil {
		return nil
	}
	return r.keepReference(ctx, key, m.ReferenceLogps)
}

// referenceKey is the digest of all that decides the log-probabilities: the weights, as they were verified, what computes them, and the
// tokens of each pair. Weights without a digest are this run's only.
func (r *run) referenceKey(m *train.Preference) string {
	role := "model"
	if r.config.Reference != nil {
		role = "reference"
	}
	var weights []string
	for _, in := range r.inputs {
		if in.Role == role || in.Role == role+"Base" {
			weights = append(weights, in.Digest)
		}
	}
	if len(weights) == 0 || slices.Contains(weights, "") {
		weights = append(weights, r.identity())
	}
	sum := sha256.New()
	lines := json.NewEncoder(sum)
	write := func(v any) {
		if err := lines.Encode(v); err != nil {
			panic(err) // strings and numbers only
		}
	}
	write(map[string]any{
		"weights": weights, "precision": r.config.Training.Precision, "device": m.Policy.Device(), "versions": r.versions(), "train": len(m.Examples),
	})
	for _, p := range m.Examples {
		write(p)
	}
	for _, p := range m.Held {
		write(p)
	}
	return fmt.Sprintf("reference-%x", sum.Sum(nil))
}

// findReference looks beside the states, then in the cache. What cannot be read is computed again.
func (r *run) findReference(ctx context.Context, key string) []float64 {
	for _, find := range []func() (dir string, err error){
		func() (string, error) { return checkpoint.FindReference(r.dir) },
		func() (string, error) {
			if r.config.Placement.Cache == "" {
				return "", nil
			}
			cache, err := r.openCache()
			if err != nil {
				return "", err
			}
			return cache.Find(ctx, key)
		},
	} {
		dir, err := find()
		var logps []float64
		if err == nil && dir != "" {
			logps, err = readReference(dir, key)
		}
		if err != nil {
			r.Log.Error(err, "Looking for the reference's log-probabilities failed", "dir", dir)
		}
		if logps != nil {
			r.Log.Info("The reference's log-probabilities were computed before", "dir", dir)
			return logps
		}
	}
	return nil
}

// readReference is nil for those of another key.
func readReference(dir, key string) ([]float64, error) {
	file, err := checkpoint.OpenSafetensors(filepath.Join(dir, referenceFile))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if file.Metadata[referenceKey] != key {
		return nil, nil
	}
	t, err := file.Read(referenceTensor)
	if err != nil {
		return nil, err
	}
	logps := make([]float64, len(t.Data)/8)
	_, err = binary.Decode(t.Data, binary.LittleEndian, logps)
	return logps, err
}

// keepReference is what findReference finds later. A cache that takes nothing more, as one whose limit is too small, costs time only.
func (r *run) keepReference(ctx context.Context, key string, logps []float64) error {
	b, err := binary.Append(nil, binary.LittleEndian, logps)
	if err != nil {
		return err
	}
	write := func(dir string) error {
		return checkpoint.WriteSafetensors(filepath.Join(dir, referenceFile), []checkpoint.LazyTensor{{
			Name: referenceTensor, DType: "F64", Shape: []int64{int64(len(logps) / 2), 2}, Data: func() []byte { return b },
		}}, map[string]string{referenceKey: key})
	}
	if r.config.Placement.Cache != "" {
		cache, err := r.openCache()
		if err == nil {
			err = cache.Put(ctx, key, int64(len(b))+1<<10, write)
		}
		if err != nil {
			r.Log.Error(err, "Keeping the reference's log-probabilities in the cache failed")
		}
	}
	if err := checkpoint.SaveReference(r.dir, write); err != nil {
		return fmt.Errorf("output.uri: %w", err)
	}
	if r.bucket != nil {
		if err := r.upload(ctx, referenceFolder); err != nil {
			return fmt.Errorf("output.uri: write state: %w", err)
		}
	}
	return nil
}
