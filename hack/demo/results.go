package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/hack/demo/corpus"
	"github.com/alignment-dev/alignment-operator/hack/demo/ngram"
)

const (
	// askedPrompts is how many held-out prompts both models answer, at most: enough for a difference of a few percent to be no accident.
	askedPrompts = 1000
	// draws is how often each prompt is answered anew, to tell a small difference from an accident.
	draws = 4
	// shownPrompts of them are printed.
	shownPrompts = 3
	// answerTokens bounds an answer; the manifests' samples have the same.
	answerTokens = "48"
)

// results are what the two stages came to.
type results struct {
	sft, dpo  stageResult
	bigram    ngram.Score
	answers   []answer
	followsBy map[string]float64 // share of answers that follow the convention, by stage
}

// stageResult is a finished stage.
type stageResult struct {
	kind    v1alpha1.StageKind
	dir     string // of this machine: the checkpoint and its report
	remote  string // of the claim
	seconds float64
	runconfig.Result
}

// answer is what the models say to a prompt. Base is known for the samples of the report only.
type answer struct {
	Prompt    string `json:"prompt"`
	Reference string `json:"reference"`
	Base      string `json:"base,omitempty"`
	SFT       string `json:"sft"`
	DPO       string `json:"dpo"`
}

// collect copies both checkpoints, scores the baseline and asks both models.
func (d *demo) collect(ctx context.Context) (*results, error) {
	r := &results{}
	err := d.console.step("Checkpoints and reports", func() (err error) {
		if r.sft, err = d.fetch(ctx, &v1alpha1.SFTJob{}, "sft"); err != nil {
			return err
		}
		r.dpo, err = d.fetch(ctx, &v1alpha1.DPOJob{}, "dpo")
		return err
	})
	if err != nil {
		return nil, err
	}
	err = d.console.step("Baseline: an interpolated bigram model on the same tokens", func() (err error) {
		job := &v1alpha1.SFTJob{}
		if err := readManifest("sftjob.yaml", job); err != nil {
			return err
		}
		r.bigram, err = ngram.Baseline(filepath.Join(r.sft.dir, "tokenizer.json"),
			d.path("data", corpus.SFTTrain), d.path("data", corpus.SFTEval), int(job.Spec.Data.MaxLength))
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, d.console.step("Answers to held-out prompts", func() error { return d.ask(ctx, r) })
}

// fetch copies a stage's checkpoint, with its report, to this machine.
func (d *demo) fetch(ctx context.Context, stage v1alpha1.Stage, name string) (r stageResult, err error) {
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: stageName}, stage); err != nil {
		return r, err
	}
	status := stage.StageStatus()
	if status.Output == nil || status.StartTime == nil || status.CompletionTime == nil {
		return r, fmt.Errorf("%s %s: succeeded, but its status has no output or times", stage.StageKind(), stageName)
	}
	r.kind, r.dir = stage.StageKind(), d.path(name)
	r.remote = strings.TrimPrefix(status.Output.URI, "pvc://demo/")
	r.seconds = status.CompletionTime.Sub(status.StartTime.Time).Seconds()
	if err := d.download(ctx, r.remote, r.dir); err != nil {
		return r, fmt.Errorf("copy %s: %w", status.Output.URI, err)
	}
	b, err := os.ReadFile(filepath.Join(r.dir, "result.json"))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r.Result)
}

// ask has both models answer the held-out prompts: greedily, to be read, and by sampling from their
// distribution, to count the answers that begin with the name they are about.
func (d *demo) ask(ctx context.Context, r *results) error {
	// The user's data may be conversations, or have its prompts in the responses: then there is nothing to ask.
	examples, err := readLines[struct{ Prompt, Completion, Chosen any }](d.path("data", corpus.SFTEval))
	if err != nil {
		return err
	}
	var prompts bytes.Buffer
	for _, e := range examples[:min(askedPrompts, len(examples))] {
		prompt, ok := e.Prompt.(string)
		if !ok {
			continue
		}
		if err := json.NewEncoder(&prompts).Encode(map[string]string{"prompt": prompt}); err != nil {
			return err
		}
		reference, _ := cmp.Or(e.Completion, e.Chosen).(string)
		r.answers = append(r.answers, answer{Prompt: prompt, Reference: reference})
	}
	if len(r.answers) == 0 {
		return nil
	}
	if err := d.addBase(r); err != nil {
		return err
	}
	r.followsBy = map[string]float64{}
	for _, stage := range []struct {
		name, remote string
		into         func(a *answer) *string
	}{
		{"SFT", r.sft.remote, func(a *answer) *string { return &a.SFT }},
		{"DPO", r.dpo.remote, func(a *answer) *string { return &a.DPO }},
	} {
		d.console.progress("%s answers %d prompts", stage.name, len(r.answers))
		greedy, err := d.generate(ctx, stage.remote, prompts.Bytes(), len(r.answers), "--max-new-tokens", answerTokens)
		if err != nil {
			return fmt.Errorf("%s: %w", stage.name, err)
		}
		for i, said := range greedy {
			*stage.into(&r.answers[i]) = said.Response
		}
		follow := 0
		for draw := range draws {
			d.console.progress("%s answers %d prompts, draw %d of %d", stage.name, len(r.answers), draw+1, draws)
			drawn, err := d.generate(ctx, stage.remote, prompts.Bytes(), len(r.answers), "--max-new-tokens", "24", "--temperature", "1", "--seed", strconv.Itoa(draw))
			if err != nil {
				return fmt.Errorf("%s: %w", stage.name, err)
			}
			for i, said := range drawn {
				if corpus.BeginsWithIdentifier(r.answers[i].Prompt, said.Response) {
					follow++
				}
			}
		}
		r.followsBy[stage.name] = float64(follow) / float64(draws*len(r.answers))
	}
	b, err := json.MarshalIndent(r.answers, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(d.path("answers.json"), append(b, '\n'), 0o644)
}

// response is a line of the trainer's answers.
type response struct{ Response string }

// generate has a checkpoint on the claim answer prompts, one JSON object a line.
func (d *demo) generate(ctx context.Context, remote string, prompts []byte, want int, flags ...string) ([]response, error) {
	var out bytes.Buffer
	args := append([]string{"generate", "--checkpoint", claimRoot + remote, "--prompts", "-"}, flags...)
	if err := d.exec(ctx, bytes.NewReader(prompts), &out, args...); err != nil {
		return nil, err
	}
	said, err := decodeLines[response](out.Bytes())
	if err == nil && len(said) != want {
		err = fmt.Errorf("%d answers to %d prompts", len(said), want)
	}
	return said, err
}

// addBase takes the answers before the SFTJob's training from the samples beside its report.
func (d *demo) addBase(r *results) error {
	samples, err := readLines[struct{ Prompt, Before string }](filepath.Join(r.sft.dir, "samples.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range r.answers {
		for _, s := range samples {
			if s.Prompt == r.answers[i].Prompt {
				r.answers[i].Base = s.Before
			}
		}
	}
	return nil
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
