package evaluate

import (
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/rollout"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// Answers are a policy's responses to questions, as text without special tokens, in their order.
func Answers(policy *model.Model, t *tokenizer.Tokenizer, questions []data.Question, o rollout.Options) []string {
	prompts := make([][]int32, len(questions))
	for i, q := range questions {
		prompts[i] = q.Prompt
	}
	out := make([]string, len(questions))
	for i, response := range rollout.Generate(policy, prompts, o) {
		out[i] = t.Decode(response, true)
	}
	return out
}
