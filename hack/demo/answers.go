package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/hack/demo/corpus"
)

const (
	// askedPrompts is how many held-out prompts the policies answer, at most: enough for a difference of a few percent to be no accident.
	askedPrompts = 1000
	// draws is how often each prompt is answered anew, to tell a small difference from an accident.
	draws = 4
	// shownPrompts of them are printed.
	shownPrompts = 3
	// answerTokens bounds an answer; the manifests' samples have the same.
	answerTokens = "48"
)

// question is a held-out prompt and what it is answered with by people and, where the report has it, by the
// model before any training.
type question struct{ prompt, reference, base string }

// response is a line of "trainer evaluate --each".
type response struct {
	Prompt   string
	Response string
	Reward   float64 // of the RewardModelJob; 0 when there is none
	KL       float64 // to the SFTJob's policy, in nats
	Length   float64 // in tokens
	Ended    bool
}

// What is compared, of one response.
func reward(r response) float64 { return r.Reward }
func kl(r response) float64     { return r.KL }
func length(r response) float64 { return r.Length }
func ended(r response) float64  { return indicator(r.Ended) }

// follows is 1 for a comment that begins with the name it is about.
func follows(r response) float64 { return indicator(corpus.BeginsWithIdentifier(r.Prompt, r.Response)) }

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// ask has all policies answer the held-out prompts: the first few greedily, to be read, and all by sampling
// from their distribution, to be measured.
func (d *demo) ask(ctx context.Context, r *results) error {
	if err := d.readQuestions(r); err != nil || len(r.asked) == 0 {
		return err
	}
	if err := os.MkdirAll(d.path("answers"), 0o755); err != nil {
		return err
	}
	policies := r.policies()
	lines := make([][draws][]byte, len(policies))
	sampled := make([][draws][]response, len(policies))
	d.console.progress("%d policies answer %d prompts, %d times each", len(policies), len(r.asked), draws)
	var answered atomic.Int32
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU()) // each has one thread
	for i, s := range policies {
		group.Go(func() (err error) {
			s.likeliest, _, err = d.answers(ctx, r, s, r.asked[:min(shownPrompts, len(r.asked))], "0", 0)
			return err
		})
		for draw := range draws {
			group.Go(func() (err error) {
				sampled[i][draw], lines[i][draw], err = d.answers(ctx, r, s, r.asked, "1", draw)
				d.console.progress("%d of %d times %d prompts answered", answered.Add(1), draws*len(policies), len(r.asked))
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, s := range policies {
		s.sampled = slices.Concat(sampled[i][:]...)
		if err := os.WriteFile(d.path("answers", strings.ToLower(s.name())+".jsonl"), bytes.Join(lines[i][:], nil), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// readQuestions reads what to ask. The user's data may be conversations, or have its prompts in the
// responses: then there is nothing.
func (d *demo) readQuestions(r *results) error {
	examples, err := readLines[struct{ Prompt, Completion, Chosen any }](d.path("data", corpus.SFTEval))
	if err != nil {
		return err
	}
	// The answers before the SFTJob's training are known for the samples of its report.
	samples, err := readLines[struct{ Prompt, Before string }](filepath.Join(r.of(v1alpha1.SFTJobKind).dir, "samples.jsonl"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	base := map[string]string{}
	for _, s := range samples {
		base[s.Prompt] = s.Before
	}
	for _, e := range examples[:min(askedPrompts, len(examples))] {
		if prompt, ok := e.Prompt.(string); ok {
			reference, _ := cmp.Or(e.Completion, e.Chosen).(string)
			r.asked = append(r.asked, question{prompt, reference, base[prompt]})
		}
	}
	return nil
}

// answers has a policy's checkpoint on the claim answer questions, and measures what it says by the
// SFTJob's and the RewardModelJob's.
func (d *demo) answers(ctx context.Context, r *results, s *stageResult, asked []question, temperature string, seed int) ([]response, []byte, error) {
	var prompts, out bytes.Buffer
	for _, q := range asked {
		if err := json.NewEncoder(&prompts).Encode(map[string]string{"prompt": q.prompt}); err != nil {
			return nil, nil, err
		}
	}
	args := []string{"evaluate", "--each", "--prompts", "-", "--checkpoint", claimRoot + s.remote, "--reference", claimRoot + r.of(v1alpha1.SFTJobKind).remote,
		"--max-new-tokens", answerTokens, "--temperature", temperature, "--seed", strconv.Itoa(seed)}
	if rm := r.of(v1alpha1.RewardModelJobKind); rm != nil {
		args = append(args, "--reward-model", claimRoot+rm.remote)
	}
	if err := d.exec(ctx, &prompts, &out, args...); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.name(), err)
	}
	said, err := decodeLines[response](out.Bytes())
	if err == nil && len(said) != len(asked) {
		err = fmt.Errorf("%s: %d answers to %d prompts", s.name(), len(said), len(asked))
	}
	return said, out.Bytes(), err
}

// mean is of a number of each response.
func mean(of func(response) float64, responses []response) (m float64) {
	for _, r := range responses {
		m += of(r) / float64(len(responses))
	}
	return m
}

// gain is by how much a number is larger in after than in before, on average, and the standard error of
// that. Both have draws of the same prompts; only the prompts are independent.
func gain(of func(response) float64, before, after []response, prompts int) (difference, standardError float64) {
	perPrompt := make([]float64, prompts)
	for i := range after {
		perPrompt[i%prompts] += (of(after[i]) - of(before[i])) * float64(prompts) / float64(len(after))
	}
	for _, v := range perPrompt {
		difference += v / float64(prompts)
	}
	for _, v := range perPrompt {
		standardError += (v - difference) * (v - difference)
	}
	return difference, math.Sqrt(standardError / float64(prompts-1) / float64(prompts))
}

func readLines[T any](path string) ([]T, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rows, err := decodeLines[T](b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rows, nil
}

func decodeLines[T any](b []byte) (rows []T, err error) {
	for line := range bytes.Lines(b) {
		var row T
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(rows)+1, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
