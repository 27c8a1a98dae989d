// Command logits prints what the model in a folder makes of tokens 1 to 12, as JSON: logits [12, vocab] in a row, or scores
// [12]. back.py beside it compares them with transformers'.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/run"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

func main() {
	err := tensor.Run(func() error {
		m, err := run.LoadModel(os.Args[1], tensor.Float32, tensor.CPU)
		if err != nil {
			return err
		}
		in := model.Input{Rows: 1, SeqLen: 12}
		var all []int64
		for i := range int64(12) {
			all = append(all, i)
			in.Tokens, in.Positions = append(in.Tokens, i+1), append(in.Positions, i)
			in.Segments, in.Prefixes = append(in.Segments, 0), append(in.Prefixes, -1)
		}
		hidden := m.Hidden(in)
		if m.HasScore() {
			return json.NewEncoder(os.Stdout).Encode(m.Scores(hidden, all).Float32s())
		}
		return json.NewEncoder(os.Stdout).Encode(m.Logits(hidden, all).Float32s())
	})
	if err != nil {
		log.Fatal(err)
	}
}
