package evaluate

import (
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/rollout"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// Answers are a policy's responses to questions, as text without special tokens, in their order. The ranks of g
// divide the questions among them.
func Answers(g *distributed.Group, policy *model.Model, t *tokenizer.Tokenizer, questions []data.Question, o rollout.Options) []string {
	prompts := make([][]int32, len(questions))
	for i, q := range questions {
		prompts[i] = q.Prompt
	}
	out := make([]string, len(questions))
	for i, response := range Sample(g, policy, prompts, o) {
		out[i] = t.Decode(response.Tokens, true)
	}
	return out
}

// Sample is rollout.Sample with the prompts divided among the ranks of g; all have all the responses.
func Sample(g *distributed.Group, policy *model.Model, prompts [][]int32, o rollout.Options) []rollout.Response {
	o.Share, o.Shares = g.Rank(), g.World()
	all := distributed.Gather(g, rollout.Sample(policy, prompts, o))
	out := make([]rollout.Response, len(prompts))
	for i := range out {
		out[i] = all[i%g.World()][i]
	}
	return out
}
