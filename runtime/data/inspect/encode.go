package inspect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// Use is what a list's records are encoded as.
type Use string

// The uses.
const (
	Natural   Use = ""          // what the record's format is made for
	Sequences Use = "sequences" // SFT, demonstrations, pretraining
	Pairs     Use = "pairs"     // DPO, SimPO and most of their relatives
	Unpaired  Use = "unpaired"  // KTO
	Ranked    Use = "ranked"    // RewardModel, RRHF
	Prompts   Use = "prompts"   // PPO
)

func (u Use) of(r data.Record) Use {
	if u != Natural {
		return u
	}
	switch r.Format {
	case data.FormatPreference, data.FormatHH:
		return Pairs
	case data.FormatUnpaired:
		return Unpaired
	case data.FormatRanked:
		return Ranked
	case data.FormatPrompt:
		return Prompts
	}
	return Sequences
}

// part is a prompt, the first of an example's parts, or one of its responses.
type part struct {
	name   string
	label  string // says more than name; may be empty
	tokens []int32
	mask   []bool  // [len(tokens)]; true: this token counts
	rank   float64 // of a response, smaller is better
}

// encode makes the parts that a record is trained on as; none when it is dropped. e's LossOn is "response":
// the boundary between prompt and response is then to be seen.
func encode(e *data.Encoder, use Use, r data.Record) ([]part, error) {
	prompt := func(tokens []int32) part {
		return part{name: "prompt", tokens: tokens, mask: make([]bool, len(tokens))}
	}
	response := func(name string, tokens []int32, rank float64) part {
		return part{name: name, tokens: tokens, mask: slices.Repeat([]bool{true}, len(tokens)), rank: rank}
	}
	switch use {
	case Pairs:
		p, kept, err := e.Pair(r)
		if err != nil || !kept {
			return nil, err
		}
		return []part{prompt(p.Prompt), response("chosen", p.Chosen, 1), response("rejected", p.Rejected, 2)}, nil
	case Unpaired:
		list, kept, err := e.Unpaired(r)
		if err != nil || !kept {
			return nil, err
		}
		parts := []part{prompt(list[0].Prompt)}
		for _, u := range list {
			if u.Desirable {
				parts = append(parts, response("desirable", u.Response, 1))
			} else {
				parts = append(parts, response("undesirable", u.Response, 2))
			}
		}
		return parts, nil
	case Ranked:
		g, kept, err := e.Ranked(r)
		if err != nil || !kept {
			return nil, err
		}
		parts := []part{prompt(g.Prompt)}
		for k, tokens := range g.Responses {
			p := response("response", tokens, g.Ranks[k])
			p.label = fmt.Sprintf("response of rank %g", g.Ranks[k])
			parts = append(parts, p)
		}
		return parts, nil
	case Prompts:
		q, ok, err := e.Question(r)
		if err != nil || !ok {
			return nil, err
		}
		return []part{prompt(q.Prompt)}, nil
	}
	s, kept, err := e.Sequence(r)
	if err != nil || !kept {
		return nil, err
	}
	n := slices.Index(s.ResponseMask, true)
	if noPrompt(e, r) {
		n = 0 // its first token does not count either, for want of one before it
	}
	return []part{prompt(s.Tokens[:n]), {name: "response", tokens: s.Tokens[n:], mask: s.ResponseMask[n:]}}, nil
}

// noPrompt says that a record's prompt has no token, not even BOS.
func noPrompt(e *data.Encoder, r data.Record) bool {
	_, bos := e.Tokenizer.BOS()
	return !bos && r.Prompt == "" && r.PromptMessages == nil && r.Messages == nil
}

// fits says that the limits of e leave an example as it is.
func fits(e *data.Encoder, use Use, parts []part) bool {
	switch {
	case e.MaxLength == 0 && e.MaxPromptLength == 0:
		return true
	case use == Prompts: // whose room depends on the record's own response
		return false
	}
	prompt := len(parts[0].tokens)
	return (e.MaxLength == 0 || prompt+longest(parts) <= e.MaxLength) && (e.MaxPromptLength == 0 || prompt <= e.MaxPromptLength)
}

// longest is the length of an example's longest response.
func longest(parts []part) int {
	n := 0
	for _, p := range parts[1:] {
		n = max(n, len(p.tokens))
	}
	return n
}

// countAll makes a sequence's tokens all count but the first, as LossOn "all" does.
func countAll(parts []part) {
	first := true
	for _, p := range parts {
		for i := range p.mask {
			p.mask[i] = !first
			first = false
		}
	}
}

// why says why a record, or one of its responses, is dropped before anything is cut.
func why(use Use, r data.Record) string {
	switch {
	case use == Sequences && r.Format == data.FormatUnpaired && !r.Label:
		return Undesirable
	case r.Format == data.FormatHH && r.Chosen != "" && r.Rejected == "":
		return OtherPrompt
	case use == Prompts && (r.Format == data.FormatText || r.Format == data.FormatPrompt || r.Prompt == "" && r.PromptMessages == nil):
		return EmptyPrompt
	}
	return EmptyResponse
}

// responses is the number of responses that a record has for a use.
func responses(use Use, r data.Record) int {
	switch {
	case use == Prompts:
		return 0
	case use == Sequences || r.Format == data.FormatUnpaired:
		return 1
	case r.Format == data.FormatRanked:
		return len(r.Ranks)
	}
	return 2
}

// same says that two responses of different rank are the same.
func same(parts []part) bool {
	for i, a := range parts[1:] {
		for _, b := range parts[1 : i+1] {
			if a.rank != b.rank && slices.Equal(a.tokens, b.tokens) {
				return true
			}
		}
	}
	return false
}

// render is an example as text; full is what it was before it was cut.
func render(tok *tokenizer.Tokenizer, full, parts []part) []Part {
	out := make([]Part, len(parts))
	for i, p := range parts {
		before := parts[0].tokens
		if i == 0 {
			before = nil
		}
		out[i] = Part{Name: p.name, Tokens: len(p.tokens), Spans: spans(tok, before, p)}
		if p.label != "" {
			out[i].Name = p.label
		}
		if len(full) == len(parts) {
			out[i].Cut = len(full[i].tokens) - len(p.tokens)
		}
	}
	return out
}

// spans are a part's tokens as text. Some decoders treat the beginning of a text differently, so each is what
// its tokens add to the text of those before it.
func spans(tok *tokenizer.Tokenizer, before []int32, p part) (out []Span) {
	row := slices.Concat(before, p.tokens)
	for start := 0; start < len(p.tokens); {
		end := start + 1
		for end < len(p.tokens) && p.mask[end] == p.mask[start] {
			end++
		}
		text, ok := strings.CutPrefix(tok.Decode(row[:len(before)+end], false), tok.Decode(row[:len(before)+start], false))
		if !ok {
			text = tok.Decode(p.tokens[start:end], false)
		}
		out = append(out, Span{Text: text, Trained: p.mask[start]})
		start = end
	}
	return out
}
