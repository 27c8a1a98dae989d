package data

import (
	"fmt"
	"iter"
	"strings"
)

// The formats of a dataset, as runconfig.Dataset names them.
const (
	FormatAuto             = "auto"                // from the columns of the first line
	FormatText             = "text"                // {text}
	FormatPrompt           = "prompt"              // {prompt}
	FormatPromptCompletion = "prompt-completion"   // {prompt, completion}
	FormatMessages         = "messages"            // {messages}
	FormatPreference       = "preference"          // {prompt, chosen, rejected}, or without prompt
	FormatUnpaired         = "unpaired-preference" // {prompt, completion, label: true or false}
	FormatRanked           = "ranked"              // {prompt, responses, ranks}, lists of equal length; 1 is the best, equal ranks are a tie
	FormatHH               = "hh"                  // {chosen, rejected}, texts of "\n\nHuman: ...\n\nAssistant: ..."
)

// Message is a turn of a conversation.
type Message struct {
	Role    string // system, user or assistant
	Content string
}

// Record is an example, one line of a file. A column is a text or, when the dataset is
// conversational, a list of messages; the other of the two fields is then empty.
type Record struct {
	File string // the dataset's URI, or its path
	Line int    // from 1

	Format string // one of the first eight, never FormatAuto

	Text       string
	Prompt     string
	Completion string
	Chosen     string
	Rejected   string // empty in FormatHH when it answers another prompt than Chosen: no pair
	Responses  []string

	Messages           []Message
	PromptMessages     []Message
	CompletionMessages []Message
	ChosenMessages     []Message
	RejectedMessages   []Message
	ResponseMessages   [][]Message

	Label bool      // in FormatUnpaired: the completion is desirable
	Ranks []float64 // of the responses, smaller is better; not all are equal
}

// Texts are all the texts of a record, for training a tokenizer.
func (r Record) Texts() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, s := range append([]string{r.Text, r.Prompt, r.Completion, r.Chosen, r.Rejected}, r.Responses...) {
			if s != "" && !yield(s) {
				return
			}
		}
		for _, list := range append([][]Message{r.Messages, r.PromptMessages, r.CompletionMessages, r.ChosenMessages, r.RejectedMessages}, r.ResponseMessages...) {
			for _, m := range list {
				if !yield(m.Content) {
					return
				}
			}
		}
	}
}

func (r Record) errorf(field, format string, args ...any) error {
	return &Error{File: r.File, Line: r.Line, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Error is an example that cannot be used, and where it is.
type Error struct {
	File    string // the dataset's URI, or its path
	Line    int    // from 1; 0 when the file as a whole is meant
	Field   string // the file's own column, as "chosen" or "messages[2].role"; may be empty
	Message string
	Err     error // the cause, may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Field != "" {
		b.WriteString(": " + e.Field)
	}
	return b.String() + ": " + e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
