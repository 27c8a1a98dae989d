package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// small is a model from scratch; the demo's is 2048, 128, 4.
func small(vocabulary, hidden, layers int) runconfig.Model {
	return runconfig.Model{
		Init: map[string]any{
			"hidden_size": hidden, "intermediate_size": hidden * 11 / 4, "num_hidden_layers": layers, "num_attention_heads": 4,
			"num_key_value_heads": 2, "max_position_embeddings": 1024, "tie_word_embeddings": true,
		},
		Tokenizer: &runconfig.Tokenizer{Train: &runconfig.TokenizerTraining{VocabSize: vocabulary}},
	}
}

func pick(asked, otherwise int) int {
	if asked > 0 {
		return asked
	}
	return otherwise
}

func mean(v []float64) (m float64) {
	for _, x := range v {
		m += x / float64(len(v))
	}
	return m
}

// spread is mean ± standard deviation.
func spread(v []float64) string {
	m, sum := mean(v), 0.
	for _, x := range v {
		sum += (x - m) * (x - m)
	}
	if len(v) < 2 {
		return fmt.Sprintf("%.3f", m)
	}
	return fmt.Sprintf("%.3f ± %.3f", m, math.Sqrt(sum/float64(len(v)-1)))
}

func dashes(n int) string { return strings.Repeat("---|", n) }
