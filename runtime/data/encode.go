package data

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// ErrNoExamples is returned when a whole dataset has no token to learn from.
var ErrNoExamples = errors.New("no example is left to train on")

// Sequence is an example of supervised fine-tuning.
type Sequence struct {
	Tokens       []int32 // [length]
	ResponseMask []bool  // [length]; true: this token is predicted and counts. The first never does.
	File         string  // where it comes from
	Line         int
}

// Question is what a model can be asked about a record.
type Question struct {
	Prompt    []int32
	Text      string // the prompt as the model reads it, without special tokens
	Reference string // the record's own response: the chosen, best or desirable one; empty when it has none
}

// Encoder makes tokens of records. Prompt and response are encoded apart, so that the boundary
// between them is the same in training and in generation. It is not safe for concurrent use.
type Encoder struct {
	Tokenizer *tokenizer.Tokenizer
	// MaxLength of prompt and response, in tokens; the response loses its end. 0 is no limit.
	MaxLength int
	// MaxPromptLength in tokens; a longer prompt loses its beginning, but for BOS. 0 shortens a
	// prompt only when an example is too long, and then to no less than MaxLength/2.
	MaxPromptLength int
	// LossOn is "response" or "all".
	LossOn string
	// Template renders conversations; when nil, it is TemplateOf(Tokenizer) from the first on.
	Template *Template
	// Store is where the examples' tokens are kept; nil is in memory.
	Store *Store
}

// Sequence encodes a record of any format but FormatPrompt for supervised fine-tuning: of a
// preference, the chosen response (DPO's Preferred-FT), of ranked responses the first of the
// best. kept is false when no token of it would count, since the response is undesirable, is
// empty or was cut off entirely.
func (e *Encoder) Sequence(r Record) (s Sequence, kept bool, err error) {
	if r.Format == FormatPrompt {
		return Sequence{}, false, r.errorf("", "is in the %s format, which has no response to learn", r.Format)
	}
	x, err := e.example(r)
	if err != nil || len(x.response) == 0 || r.Format == FormatUnpaired && !r.Label {
		return Sequence{}, false, err
	}
	prompt, cut := e.fit(x.prompt, x.response)
	response := cut[0]
	s = Sequence{File: r.File, Line: r.Line}
	s.Tokens = append(append(make([]int32, 0, len(prompt)+len(response)), prompt...), response...)
	s.ResponseMask = make([]bool, len(s.Tokens))
	for i := 1; i < len(s.Tokens); i++ { // nothing predicts the first token
		inResponse := i >= len(prompt) && (x.said == nil || x.said[i-len(prompt)])
		s.ResponseMask[i] = inResponse || e.LossOn == "all"
		kept = kept || inResponse
	}
	if s.Tokens, err = keep(e.Store, s.Tokens); err == nil {
		s.ResponseMask, err = keep(e.Store, s.ResponseMask)
	}
	return s, kept, err
}

// Question encodes a record's prompt as Sequence and Pair do, for generation. ok is false when
// the record has none, or has an empty response.
func (e *Encoder) Question(r Record) (q Question, ok bool, err error) {
	x, err := e.example(r)
	if err != nil || r.Format == FormatText || len(x.prompt) == 0 || len(x.response) == 0 && r.Format != FormatPrompt {
		return Question{}, false, err
	}
	prompt, _ := e.fit(x.prompt, x.response)
	q = Question{Text: e.Tokenizer.Decode(prompt, true), Reference: x.reference}
	if q.Prompt, err = keep(e.Store, prompt); err != nil {
		return Question{}, false, err
	}
	if r.Format == FormatUnpaired && !r.Label {
		q.Reference = ""
	}
	return q, true, nil
}

// Prompt encodes a plain text to be continued, whole.
func (e *Encoder) Prompt(text string) []int32 {
	var ids []int32
	if bos, ok := e.Tokenizer.BOS(); ok {
		ids = append(ids, bos)
	}
	return append(ids, e.Tokenizer.Encode(text)...)
}

// Chat encodes a conversation for an assistant to answer, whole.
func (e *Encoder) Chat(messages []Message) ([]int32, error) {
	t, err := e.template()
	if err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		return nil, errors.New("a conversation has no messages")
	}
	ids, _, err := t.tokens(e.Tokenizer, messages, len(messages), true)
	return ids, err
}

// Stops are the tokens that end a response: EOS, and what ends a turn of a chat template.
func (e *Encoder) Stops() []int32 {
	var ids []int32
	if eos, ok := e.Tokenizer.EOS(); ok {
		ids = append(ids, eos)
	}
	if t, err := e.template(); err == nil {
		if end, ok := t.stop(e.Tokenizer); ok && !slices.Contains(ids, end) {
			ids = append(ids, end)
		}
	}
	return ids
}

// Sequences encodes a whole dataset; dropped counts the records that Sequence did not keep.
// ErrNoExamples when it kept none.
func (e *Encoder) Sequences(records iter.Seq2[Record, error]) (kept []Sequence, dropped int, err error) {
	return all(records, e.Sequence)
}

// Pairs encodes a whole dataset; dropped counts the records that Pair did not keep.
// ErrNoExamples when it kept none.
func (e *Encoder) Pairs(records iter.Seq2[Record, error]) (kept []Pair, dropped int, err error) {
	return all(records, e.Pair)
}

func all[T any](records iter.Seq2[Record, error], encode func(Record) (T, bool, error)) (kept []T, dropped int, err error) {
	for r, err := range records {
		if err != nil {
			return nil, 0, err
		}
		x, ok, err := encode(r)
		switch {
		case err != nil:
			return nil, 0, err
		case ok:
			kept = append(kept, x)
		default:
			dropped++
		}
	}
	if len(kept) == 0 {
		return nil, dropped, fmt.Errorf("%w: all %d have an empty response, or one that is cut off by the length limits", ErrNoExamples, dropped)
	}
	return kept, dropped, nil
}

// example is a record as tokens, before it is cut to length.
type example struct {
	prompt, response []int32
	said             []bool // of response: what counts; nil is all of it
	reference        string // the response, or the first of them, as text
}

func (e *Encoder) example(r Record) (example, error) {
	eos, ok := e.Tokenizer.EOS()
	if !ok {
		return example{}, r.errorf("", "the tokenizer has no eos_token (tokenizer_config.json), without which no response ends")
	}
	plain := func(prompt, response string) (example, error) {
		x := example{prompt: e.Prompt(prompt), reference: response}
		if response != "" {
			x.response = append(e.Tokenizer.Encode(response), eos)
		}
		return x, nil
	}
	switch r.Format {
	case FormatText:
		return plain("", r.Text)
	case FormatHH:
		return plain(r.Prompt, r.Chosen)
	case FormatMessages:
		return e.conversation(r, r.Messages, 0)
	case FormatPrompt:
		if r.PromptMessages == nil {
			return plain(r.Prompt, "")
		}
		return e.open(r)
	case FormatRanked:
		best := 0
		for k, rank := range r.Ranks {
			if rank < r.Ranks[best] {
				best = k
			}
		}
		if r.PromptMessages == nil {
			return plain(r.Prompt, r.Responses[best])
		}
		return e.conversation(r, concat(r.PromptMessages, r.ResponseMessages[best]), len(r.PromptMessages))
	case FormatPromptCompletion, FormatUnpaired:
		if r.PromptMessages != nil {
			return e.conversation(r, concat(r.PromptMessages, r.CompletionMessages), len(r.PromptMessages))
		}
		return plain(r.Prompt, r.Completion)
	case FormatPreference:
		if r.ChosenMessages == nil {
			return plain(r.Prompt, r.Chosen)
		}
		if n := len(r.ChosenMessages); n != 1 || r.ChosenMessages[0].Role != roleAssistant {
			return example{}, r.errorf("", "chosen and rejected must each be one assistant message after the prompt, got %d from %s", n, firstRole(r.ChosenMessages))
		}
		return e.conversation(r, concat(r.PromptMessages, r.ChosenMessages), len(r.PromptMessages))
	}
	return example{}, r.errorf("", "unknown format %q", r.Format)
}

func firstRole(messages []Message) string {
	if len(messages) == 0 {
		return "nobody"
	}
	return messages[0].Role
}

func concat(a, b []Message) []Message { return append(append([]Message(nil), a...), b...) }

// conversation encodes messages; the assistant's among messages[from:] count. The prompt ends
// where the first of them begins.
func (e *Encoder) conversation(r Record, messages []Message, from int) (example, error) {
	t, err := e.template()
	if err != nil {
		return example{}, &Error{File: r.File, Line: r.Line, Message: err.Error(), Err: err}
	}
	ids, said, err := t.tokens(e.Tokenizer, messages, from, false)
	if err != nil {
		return example{}, &Error{File: r.File, Line: r.Line, Message: err.Error(), Err: err}
	}
	start, end := 0, len(ids)
	for start < end && !said[start] {
		start++
	}
	for end > start && !said[end-1] {
		end-- // what follows the last turn has no effect
	}
	x := example{prompt: ids[:start], response: ids[start:end], said: said[start:end]}
	for _, m := range messages[from:] {
		if m.Role == roleAssistant && m.Content != "" {
			x.reference = m.Content
			return x, nil
		}
	}
	x.response = nil // ends of turns only
	return x, nil
}

// open encodes a conversation up to where the assistant's answer begins.
func (e *Encoder) open(r Record) (example, error) {
	ids, err := e.Chat(r.PromptMessages)
	if err != nil {
		return example{}, &Error{File: r.File, Line: r.Line, Message: err.Error(), Err: err}
	}
	return example{prompt: ids}, nil
}

func (e *Encoder) template() (*Template, error) {
	if e.Template == nil {
		t, err := TemplateOf(e.Tokenizer)
		if err != nil {
			return nil, err
		}
		e.Template = t
	}
	return e.Template, nil
}

// fit cuts a prompt's beginning, then its responses' ends, to the limits.
func (e *Encoder) fit(prompt []int32, responses ...[]int32) ([]int32, [][]int32) {
	length := e.MaxLength
	if length == 0 {
		length = math.MaxInt
	}
	longest := 0
	for _, r := range responses {
		longest = max(longest, len(r))
	}
	limit := e.MaxPromptLength
	if limit == 0 {
		limit = max(length/2, length-longest)
	}
	if cut := len(prompt) - min(limit, length); cut > 0 {
		rest := prompt[cut:]
		if bos, ok := e.Tokenizer.BOS(); ok && prompt[0] == bos && len(rest) > 0 {
			rest = append([]int32{bos}, rest[1:]...)
		}
		prompt = rest
	}
	for i, r := range responses {
		responses[i] = r[:min(len(r), length-len(prompt))]
	}
	return prompt, responses
}
