package data

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// The formats of well-known datasets, each of which becomes one of the formats above.
const (
	FormatAlpaca         = "alpaca"          // {instruction, input, output}: arXiv:2212.10560 and Stanford Alpaca
	FormatShareGPT       = "sharegpt"        // {conversations: [{from: human or gpt, value}]}
	FormatTLDRComparison = "tldr-comparison" // {info: {subreddit, title, post}, summaries: [{text}, {text}], choice: 0 or 1}: arXiv:2009.01325
)

// fillAlpaca makes a conversation of an instruction, so that it is rendered by the model's own chat template.
func (p *parser) fillAlpaca(r *Record, o object) error {
	r.Format = FormatPromptCompletion
	var instruction, input, output string
	if err := p.read(r, o, "instruction", &instruction, nil); err != nil {
		return err
	}
	if !isNull(o[p.column("input")]) {
		if err := p.read(r, o, "input", &input, nil); err != nil {
			return err
		}
	}
	if err := p.read(r, o, "output", &output, nil); err != nil {
		return err
	}
	if input != "" {
		instruction += "\n\n" + input
	}
	r.PromptMessages = []Message{{roleUser, instruction}}
	r.CompletionMessages = []Message{{roleAssistant, output}}
	return nil
}

func (p *parser) fillShareGPT(r *Record, o object) error {
	r.Format = FormatMessages
	return p.read(r, o, "conversations", nil, &r.Messages)
}

// fillTLDRComparison asks for a summary as the comparisons' authors did.
func (p *parser) fillTLDRComparison(r *Record, o object) error {
	r.Format = FormatPreference
	var info struct {
		Subreddit, Title, Post string
		Article                string // of the CNN/DM part, which has no post
	}
	if err := p.decode(r, o, "info", &info); err != nil {
		return err
	}
	var summaries []struct{ Text string }
	if err := p.decode(r, o, "summaries", &summaries); err != nil {
		return err
	}
	var choice int
	if err := p.decode(r, o, "choice", &choice); err != nil {
		return err
	}
	switch {
	case len(summaries) != 2:
		return r.errorf("summaries", "has length %d, want 2", len(summaries))
	case choice != 0 && choice != 1:
		return r.errorf("choice", "is %d, want 0 or 1", choice)
	case info.Post == "" && info.Article == "":
		return r.errorf("info.post", "is missing or empty")
	}
	if info.Post != "" {
		r.Prompt = fmt.Sprintf("SUBREDDIT: r/%s\n\nTITLE: %s\n\nPOST: %s\n\nTL;DR:", info.Subreddit, info.Title, info.Post)
	} else {
		r.Prompt = fmt.Sprintf("Article: %s\n\nTL;DR:", info.Article)
	}
	r.Chosen, r.Rejected = spaced(summaries[choice].Text), spaced(summaries[1-choice].Text)
	return nil
}

// spaced begins with the space that stands between a prompt and its answer.
func spaced(s string) string { return " " + strings.TrimSpace(s) }

// decode reads a column of any type.
func (p *parser) decode(r *Record, o object, column string, to any) error {
	raw, err := p.raw(r, o, column)
	if err != nil {
		return err
	}
	if raw[0] == 'n' {
		return r.errorf(p.column(column), "is null")
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return r.errorf(p.column(column), "is %s: %v", kindOf(raw), err)
	}
	return nil
}

// splitAskedPrompt is splitSharedPrompt for conversations whose prompt is given as a text too, as UltraFeedback's
// binarized preferences have it: both must begin with it.
func (p *parser) splitAskedPrompt(r *Record, asked string) error {
	splitSharedPrompt(r)
	n := len(r.PromptMessages)
	if n == 0 || r.PromptMessages[n-1].Role != roleUser {
		return r.errorf(p.column("rejected"), "answers another conversation than %s: they share no user message at their beginning", p.column("chosen"))
	}
	if !slices.ContainsFunc(r.PromptMessages, func(m Message) bool { return strings.TrimSpace(m.Content) == strings.TrimSpace(asked) }) {
		return r.errorf(p.column("prompt"), "is a text that no message of %s before the answer says", p.column("chosen"))
	}
	return nil
}

// roles of ShareGPT's conversations.
var roles = map[string]string{"human": roleUser, "gpt": roleAssistant, "system": roleSystem, roleUser: roleUser, roleAssistant: roleAssistant}
