package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// MaxShardBytes is how large a file of weights may be, as in transformers.
const MaxShardBytes = 5_000_000_000

// WriteWeights writes weights as transformers does: model.safetensors or, where they are more than maxShard bytes,
// model-00001-of-0000N.safetensors and so on, in the given order, and their index. A tensor that is larger has a file of its
// own. It returns the names of the files; those that an earlier attempt left under other names are removed.
func WriteWeights(dir string, tensors []LazyTensor, maxShard int64) (files []string, err error) {
	shards, total := [][]LazyTensor{nil}, int64(0)
	for i, left := 0, maxShard; i < len(tensors); i++ {
		size, ok := byteSize(tensors[i].DType, tensors[i].Shape)
		if !ok {
			return nil, fmt.Errorf("write weights: tensor %q: dtype %q, shape %v", tensors[i].Name, tensors[i].DType, tensors[i].Shape)
		}
		if last := len(shards) - 1; size > left && len(shards[last]) > 0 {
			shards, left = append(shards, nil), maxShard
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], tensors[i])
		left, total = left-size, total+size
	}
	if err := removeWeights(dir); err != nil {
		return nil, fmt.Errorf("write weights: %w", err)
	}
	metadata := map[string]string{"format": "pt"} // transformers asks for it
	if len(shards) == 1 {
		return []string{WeightsFile}, WriteSafetensors(filepath.Join(dir, WeightsFile), tensors, metadata)
	}
	var index struct {
		Metadata struct {
			TotalSize int64 `json:"total_size"`
		} `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}
	index.Metadata.TotalSize, index.WeightMap = total, map[string]string{}
	for i, shard := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		if err := WriteSafetensors(filepath.Join(dir, name), shard, metadata); err != nil {
			return nil, err
		}
		files = append(files, name)
		for _, t := range shard {
			index.WeightMap[t.Name] = name
		}
	}
	b, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write weights: %w", err)
	}
	return append(files, IndexFile), storage.WriteFile(filepath.Join(dir, IndexFile), append(b, '\n'), 0o644)
}

var shardName = regexp.MustCompile(`^model-\d{5}-of-\d{5}\.safetensors$`)

// IsWeights says whether name is that of a file of WriteWeights.
func IsWeights(name string) bool {
	return name == WeightsFile || name == IndexFile || shardName.MatchString(name)
}

func removeWeights(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !IsWeights(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
