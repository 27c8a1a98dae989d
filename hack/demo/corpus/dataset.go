package corpus

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
)

// The files of a dataset's folder.
const (
	SFTTrain = "sft-train.jsonl"
	SFTEval  = "sft-eval.jsonl"
	DPOTrain = "dpo-train.jsonl" // for SimPO too
	DPOEval  = "dpo-eval.jsonl"
	RMTrain  = "rm-train.jsonl"
	RMEval   = "rm-eval.jsonl"
	PPOTrain = "ppo-train.jsonl"
	PPOEval  = "ppo-eval.jsonl"
	License  = "LICENSE"
)

// Demonstration is a prompt and its response.
type Demonstration struct {
	Prompt     string `json:"prompt"`
	Completion string `json:"completion"`
}

// Prompt is a question without an answer.
type Prompt struct {
	Prompt string `json:"prompt"`
}

// Dataset is what the demo trains and evaluates on.
type Dataset struct {
	SFTTrain, SFTEval []Demonstration
	DPOTrain, DPOEval []Preference
	RMTrain, RMEval   []Ranking
	PPOTrain, PPOEval []Prompt
}

// Make splits declarations into training and held-out ones and makes all stages' examples, in an
// order drawn by the seed. heldOut is the fraction held out. Declarations with the same sentence
// are on one side, so that neither a prompt nor a response is on both; a rejected response comes
// from its own side too.
func Make(declarations []Declaration, heldOut float64, seed uint64) Dataset {
	ordered := slices.Clone(declarations)
	slices.SortStableFunc(ordered, func(a, b Declaration) int {
		return cmp.Or(cmp.Compare(hash(seed, a.Prompt), hash(seed, b.Prompt)), cmp.Compare(a.Prompt, b.Prompt))
	})
	var train, eval []Declaration
	for _, d := range ordered {
		if float64(hash(seed, d.Sentence)>>11)/(1<<53) < heldOut { // 53 bits: exact in a float64
			eval = append(eval, d)
		} else {
			train = append(train, d)
		}
	}
	return Dataset{
		SFTTrain: demonstrations(train), SFTEval: demonstrations(eval),
		DPOTrain: preferences(train, seed), DPOEval: preferences(eval, seed),
		RMTrain: rankings(train, seed), RMEval: rankings(eval, seed),
		PPOTrain: prompts(train), PPOEval: prompts(eval),
	}
}

func demonstrations(declarations []Declaration) []Demonstration {
	out := make([]Demonstration, len(declarations))
	for i, d := range declarations {
		out[i] = Demonstration{Prompt: d.Prompt, Completion: response(d.Sentence)}
	}
	return out
}

// prompts are those of declarations that follow the convention, as preferences has them.
func prompts(declarations []Declaration) (out []Prompt) {
	for _, d := range followers(declarations) {
		out = append(out, Prompt{d.Prompt})
	}
	return out
}

// Write writes the dataset's files as JSON Lines into a new or existing folder, with the licence
// of the source they were made from.
func (d Dataset) Write(dir string, license []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write dataset: %w", err)
	}
	err := errors.Join(
		writeLines(filepath.Join(dir, SFTTrain), d.SFTTrain),
		writeLines(filepath.Join(dir, SFTEval), d.SFTEval),
		writeLines(filepath.Join(dir, DPOTrain), d.DPOTrain),
		writeLines(filepath.Join(dir, DPOEval), d.DPOEval),
		writeLines(filepath.Join(dir, RMTrain), d.RMTrain),
		writeLines(filepath.Join(dir, RMEval), d.RMEval),
		writeLines(filepath.Join(dir, PPOTrain), d.PPOTrain),
		writeLines(filepath.Join(dir, PPOEval), d.PPOEval),
		os.WriteFile(filepath.Join(dir, License), license, 0o644),
	)
	if err != nil {
		return fmt.Errorf("write dataset: %w", err)
	}
	return nil
}

func writeLines[T any](path string, rows []T) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(file)
	encoder.SetEscapeHTML(false)
	for _, row := range rows {
		if err := encoder.Encode(row); err != nil {
			file.Close()
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return file.Close()
}

// hash is 64 bits of a text and a seed, the same on every machine.
func hash(seed uint64, text string) uint64 {
	h := fnv.New64a()
	h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	h.Write([]byte(text))
	x := h.Sum64() // FNV's high bits barely depend on the last bytes: mix (splitmix64's finaliser)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
