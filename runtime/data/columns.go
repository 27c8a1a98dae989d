package data

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The marks of HH-RLHF's turns.
const (
	hhHuman     = "\n\nHuman:"
	hhAssistant = "\n\nAssistant:"
)

// fill reads the columns of r's format out of o.
func (p *parser) fill(r *Record, o object) error {
	switch r.Format {
	case FormatAlpaca:
		return p.fillAlpaca(r, o)
	case FormatShareGPT:
		return p.fillShareGPT(r, o)
	case FormatTLDRComparison:
		return p.fillTLDRComparison(r, o)
	case FormatText:
		return p.read(r, o, "text", &r.Text, nil)
	case FormatMessages:
		return p.read(r, o, "messages", nil, &r.Messages)
	case FormatPrompt:
		return p.read(r, o, "prompt", &r.Prompt, &r.PromptMessages)
	case FormatPromptCompletion:
		return p.fillPromptCompletion(r, o)
	case FormatPreference:
		return p.fillPreference(r, o)
	case FormatUnpaired:
		return p.fillUnpaired(r, o)
	case FormatRanked:
		return p.fillRanked(r, o)
	case FormatHH:
		return p.fillHH(r, o)
	}
	return r.errorf("", "unknown format %q", r.Format)
}

func (p *parser) fillPromptCompletion(r *Record, o object) error {
	if err := p.read(r, o, "prompt", &r.Prompt, &r.PromptMessages); err != nil {
		return err
	}
	if err := p.read(r, o, "completion", &r.Completion, &r.CompletionMessages); err != nil {
		return err
	}
	return alike(r, p.column("prompt"), r.PromptMessages, p.column("completion"), r.CompletionMessages)
}

func (p *parser) fillPreference(r *Record, o object) error {
	if err := p.read(r, o, "chosen", &r.Chosen, &r.ChosenMessages); err != nil {
		return err
	}
	if err := p.read(r, o, "rejected", &r.Rejected, &r.RejectedMessages); err != nil {
		return err
	}
	if err := alike(r, p.column("chosen"), r.ChosenMessages, p.column("rejected"), r.RejectedMessages); err != nil {
		return err
	}
	if isNull(o[p.column("prompt")]) {
		splitSharedPrompt(r)
	} else {
		if err := p.read(r, o, "prompt", &r.Prompt, &r.PromptMessages); err != nil {
			return err
		}
		if asked := r.Prompt; asked != "" && r.ChosenMessages != nil {
			r.Prompt = ""
			return p.splitAskedPrompt(r, asked)
		}
		if err := alike(r, p.column("prompt"), r.PromptMessages, p.column("chosen"), r.ChosenMessages); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) fillUnpaired(r *Record, o object) error {
	if err := p.fillPromptCompletion(r, o); err != nil {
		return err
	}
	if err := oneAnswer(r, p.column("completion"), r.CompletionMessages); err != nil {
		return err
	}
	raw, err := p.raw(r, o, "label")
	if err != nil {
		return err
	}
	if raw[0] != 't' && raw[0] != 'f' {
		return r.errorf(p.column("label"), "is %s, want true or false", kindOf(raw))
	}
	r.Label = raw[0] == 't'
	return nil
}

func (p *parser) fillRanked(r *Record, o object) error {
	if err := p.read(r, o, "prompt", &r.Prompt, &r.PromptMessages); err != nil {
		return err
	}
	if err := p.fillResponses(r, o); err != nil {
		return err
	}
	field := p.column("ranks")
	ranks, err := p.list(r, o, "ranks")
	if err != nil {
		return err
	}
	responses := max(len(r.Responses), len(r.ResponseMessages))
	if len(ranks) != responses {
		return r.errorf(field, "has length %d, but there are %d %s", len(ranks), responses, p.column("responses"))
	}
	differ := false
	for k, raw := range ranks {
		at := fmt.Sprintf("%s[%d]", field, k)
		if kind := kindOf(raw); kind != aNumber {
			return r.errorf(at, "is %s, want a number", kind)
		}
		var rank float64
		if err := json.Unmarshal(raw, &rank); err != nil {
			return r.errorf(at, "is %s, which is out of range", raw)
		}
		r.Ranks = append(r.Ranks, rank)
		differ = differ || rank != r.Ranks[0]
	}
	if !differ {
		return r.errorf(field, "are all %v: no response is better than another", r.Ranks[0])
	}
	return nil
}

// fillResponses reads at least two responses, all of the prompt's kind.
func (p *parser) fillResponses(r *Record, o object) error {
	field := p.column("responses")
	responses, err := p.list(r, o, "responses")
	if err != nil {
		return err
	}
	if len(responses) < 2 {
		return r.errorf(field, "has length %d, want at least 2", len(responses))
	}
	for k, raw := range responses {
		at := fmt.Sprintf("%s[%d]", field, k)
		var text string
		var messages []Message
		if err := readEither(r, at, raw, &text, &messages); err != nil {
			return err
		}
		if err := alike(r, p.column("prompt"), r.PromptMessages, at, messages); err != nil {
			return err
		}
		if messages == nil {
			r.Responses = append(r.Responses, text)
			continue
		}
		if err := oneAnswer(r, at, messages); err != nil {
			return err
		}
		r.ResponseMessages = append(r.ResponseMessages, messages)
	}
	return nil
}

// oneAnswer refuses a response of more than one turn, whose parts would have to be told apart.
func oneAnswer(r *Record, field string, messages []Message) error {
	if messages == nil || len(messages) == 1 && messages[0].Role == roleAssistant {
		return nil
	}
	return r.errorf(field, "must be one assistant message, got %d from %s", len(messages), firstRole(messages))
}

// splitSharedPrompt makes a prompt of what chosen and rejected both begin with: whole messages,
// or a text up to the white space before the first word that differs. (TRL cuts within a word.)
func splitSharedPrompt(r *Record) {
	if r.ChosenMessages != nil {
		n := 0
		for n < min(len(r.ChosenMessages), len(r.RejectedMessages)) && r.ChosenMessages[n] == r.RejectedMessages[n] {
			n++
		}
		if n > 0 && r.ChosenMessages[n-1].Role == roleAssistant {
			n-- // two conversations of which one is the other's beginning, or that are the same
		}
		r.PromptMessages, r.ChosenMessages, r.RejectedMessages = r.ChosenMessages[:n:n], r.ChosenMessages[n:], r.RejectedMessages[n:]
		return
	}
	n := sharedPrefix(r.Chosen, r.Rejected)
	n = max(strings.LastIndexFunc(r.Chosen[:n], unicode.IsSpace), 0)
	n = len(strings.TrimRightFunc(r.Chosen[:n], unicode.IsSpace))
	r.Prompt, r.Chosen, r.Rejected = r.Chosen[:n], r.Chosen[n:], r.Rejected[n:]
}

// sharedPrefix returns the length in bytes of what a and b both begin with, in whole characters.
func sharedPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(a) && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}

// fillHH takes as the prompt all through chosen's last "\n\nAssistant:".
func (p *parser) fillHH(r *Record, o object) error {
	var chosen, rejected string
	if err := p.read(r, o, "chosen", &chosen, nil); err != nil {
		return err
	}
	if err := p.read(r, o, "rejected", &rejected, nil); err != nil {
		return err
	}
	end := strings.LastIndex(chosen, hhAssistant)
	if end < 0 {
		return r.errorf(p.column("chosen"), "has no %q, which the hh format needs", hhAssistant)
	}
	r.Prompt, r.Chosen = chosen[:end+len(hhAssistant)], chosen[end+len(hhAssistant):]
	if response, ok := strings.CutPrefix(rejected, r.Prompt); ok && !strings.Contains(response, hhHuman) {
		r.Rejected = response // else the two answer different prompts: 4 of 2,312 in harmless-base's test set
	}
	return nil
}

// alike refuses a record in which one field is a text and another is a list.
func alike(r *Record, a string, aList []Message, b string, bList []Message) error {
	if (aList == nil) == (bList == nil) {
		return nil
	}
	kind := map[bool]string{true: "a text", false: "a list of messages"}
	return r.errorf(b, "is %s, but %s is %s", kind[bList == nil], a, kind[aList == nil])
}

// read reads one of our columns into text or, if it is a list of messages, into list; the kind
// whose target is nil is refused. A list is never left nil.
func (p *parser) read(r *Record, o object, column string, text *string, list *[]Message) error {
	field := p.column(column)
	raw, err := p.raw(r, o, column)
	if err != nil {
		return err
	}
	return readEither(r, field, raw, text, list)
}

// raw is one of our columns as it is.
func (p *parser) raw(r *Record, o object, column string) (json.RawMessage, error) {
	field := p.column(column)
	raw, ok := o[field]
	if !ok {
		return nil, r.errorf(field, "is missing: the columns are %s", columnNames(o))
	}
	return raw, nil
}

// list is one of our columns as a list of anything.
func (p *parser) list(r *Record, o object, column string) (list []json.RawMessage, err error) {
	raw, err := p.raw(r, o, column)
	if err != nil {
		return nil, err
	}
	if raw[0] != '[' {
		return nil, r.errorf(p.column(column), "is %s, want a list", kindOf(raw))
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, r.errorf(p.column(column), "%v", err)
	}
	return list, nil
}

// readEither reads a value into text or list, as read does.
func readEither(r *Record, field string, raw json.RawMessage, text *string, list *[]Message) error {
	want := "a text or a list of messages"
	if list == nil {
		want = "a text"
	} else if text == nil {
		want = "a list of messages"
	}
	switch {
	case raw[0] == '"' && text != nil:
		if err := json.Unmarshal(raw, text); err != nil {
			return r.errorf(field, "%v", err)
		}
	case raw[0] == '[' && list != nil:
		var err error
		*list, err = readMessages(r, field, raw)
		return err
	default:
		return r.errorf(field, "is %s, want %s", kindOf(raw), want)
	}
	return nil
}

func readMessages(r *Record, field string, raw json.RawMessage) ([]Message, error) {
	var objects []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &objects); err != nil {
		return nil, r.errorf(field, "is not a list of objects")
	}
	if len(objects) == 0 {
		return nil, r.errorf(field, "has no messages")
	}
	messages := make([]Message, len(objects))
	for i, o := range objects {
		at := func(key string) string { return fmt.Sprintf("%s[%d].%s", field, i, key) }
		role, content := "role", "content"
		if o["from"] != nil && o["role"] == nil { // ShareGPT's
			role, content = "from", "value"
		}
		if err := readText(r, at(role), o[role], &messages[i].Role); err != nil {
			return nil, err
		}
		known, ok := roles[messages[i].Role]
		if !ok || role == "role" && known != messages[i].Role {
			return nil, r.errorf(at(role), "got %q, want %s, %s or %s", messages[i].Role, roleSystem, roleUser, roleAssistant)
		}
		messages[i].Role = known
		text, err := readContent(r, at(content), o[content])
		if err != nil {
			return nil, err
		}
		messages[i].Content = text
	}
	return messages, nil
}

// readContent reads a text, or the list of parts that multimodal datasets have, if all are texts.
func readContent(r *Record, field string, raw json.RawMessage) (string, error) {
	if len(raw) == 0 || raw[0] != '[' {
		var s string
		err := readText(r, field, raw, &s)
		return s, err
	}
	var parts []struct{ Type, Text string }
	if err := json.Unmarshal(raw, &parts); err != nil {
		return "", r.errorf(field, "is not a list of text parts")
	}
	var b strings.Builder
	for i, part := range parts {
		if part.Type != "text" {
			return "", r.errorf(fmt.Sprintf("%s[%d].type", field, i), "got %q, only text is supported", part.Type)
		}
		b.WriteString(part.Text)
	}
	return b.String(), nil
}

func readText(r *Record, field string, raw json.RawMessage, to *string) error {
	switch {
	case raw == nil:
		return r.errorf(field, "is missing")
	case raw[0] != '"':
		return r.errorf(field, "is %s, want a text", kindOf(raw))
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return r.errorf(field, "%v", err)
	}
	return nil
}

const aNumber = "a number"

// kindOf names the kind of a JSON value.
func kindOf(raw json.RawMessage) string {
	switch raw[0] {
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	case '"':
		return "a text"
	case '[':
		return "a list"
	case '{':
		return "an object"
	}
	return aNumber
}
