package data

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPair(t *testing.T) {
	bytesOnly, llama3 := byteTokenizer(t), load(t, "llama3")
	for _, c := range []struct {
		name                     string
		line                     string
		e                        Encoder
		prompt, chosen, rejected string // all "" when it is not kept
	}{
		{"plain", `{"prompt": "p ", "chosen": "c", "rejected": "re"}`, Encoder{}, "p ", "c$", "re$"},
		{"BOS", `{"prompt": "p", "chosen": "c", "rejected": "re"}`, Encoder{Tokenizer: llama3}, "^p", "c$", "re$"},
		{"hh", `{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}`, Encoder{}, "\n\nHuman: a\n\nAssistant:", " b$", " c$"},
		{"hh, two prompts", `{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: x\n\nAssistant: c"}`, Encoder{}, "", "", ""},
		{"conversational", `{"prompt": [{"role": "user", "content": "u"}], "chosen": [{"role": "assistant", "content": "c"}], "rejected": [{"role": "assistant", "content": "r"}]}`, Encoder{},
			"<|user|>\nu$\n<|assistant|>\n", "c$", "r$"},
		{"the longer response cuts the prompt of both", `{"prompt": "01234567", "chosen": "c", "rejected": "rrrrr"}`, Encoder{MaxLength: 10}, "34567", "c$", "rrrrr"},
		{"a cut response has no EOS", `{"prompt": "0123", "chosen": "ccccccc", "rejected": "r"}`, Encoder{MaxLength: 8}, "0123", "cccc", "r$"},
		{"empty chosen", `{"prompt": "p", "chosen": "", "rejected": "r"}`, Encoder{}, "", "", ""},
		{"empty rejected", `{"prompt": "p", "chosen": "c", "rejected": ""}`, Encoder{}, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.e.Tokenizer == nil {
				c.e.Tokenizer = bytesOnly
			}
			p, kept, err := c.e.Pair(record(t, c.line))
			if err != nil {
				t.Fatal(err)
			}
			got := [3]string{text(c.e.Tokenizer, p.Prompt), text(c.e.Tokenizer, p.Chosen), text(c.e.Tokenizer, p.Rejected)}
			if want := [3]string{c.prompt, c.chosen, c.rejected}; kept != (c.chosen != "") || kept && got != want {
				t.Errorf("got %q, kept %v, want %q", got, kept, want)
			}
		})
	}
}

// rankedText is a group with its tokens as text.
type rankedText struct {
	Prompt    string
	Responses []string
	Ranks     []float64
}

func TestRanked(t *testing.T) {
	const conversation = `{"prompt": [{"role": "user", "content": "u"}],
		"responses": [[{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": ""}], [{"role": "assistant", "content": "c"}]], "ranks": [3, 1, 2]}`
	bytesOnly, llama3 := byteTokenizer(t), load(t, "llama3")
	for _, c := range []struct {
		name string
		line string
		e    Encoder
		want *rankedText // nil when it is not kept
	}{
		{"plain", `{"prompt": "p ", "responses": ["a", "bb", "c"], "ranks": [2, 1, 2]}`, Encoder{}, &rankedText{"p ", []string{"a$", "bb$", "c$"}, []float64{2, 1, 2}}},
		{"BOS", `{"prompt": "p", "responses": ["a", "b"], "ranks": [2, 1]}`, Encoder{Tokenizer: llama3}, &rankedText{"^p", []string{"a$", "b$"}, []float64{2, 1}}},
		{"no prompt", `{"prompt": "", "responses": ["a", "b"], "ranks": [2, 1]}`, Encoder{}, &rankedText{"", []string{"a$", "b$"}, []float64{2, 1}}},
		{"an empty response is left out", `{"prompt": "p", "responses": ["a", "", "c"], "ranks": [1, 2, 3]}`, Encoder{}, &rankedText{"p", []string{"a$", "c$"}, []float64{1, 3}}},
		{"ties only are left", `{"prompt": "p", "responses": ["a", "", "c"], "ranks": [1, 2, 1]}`, Encoder{}, nil},
		{"one is left", `{"prompt": "p", "responses": ["a", ""], "ranks": [1, 2]}`, Encoder{}, nil},
		{"none is left", `{"prompt": "p", "responses": ["", ""], "ranks": [1, 2]}`, Encoder{}, nil},
		{"the prompt leaves no room", `{"prompt": "0123456789", "responses": ["a", "b"], "ranks": [1, 2]}`, Encoder{MaxLength: 8, MaxPromptLength: 8}, nil},
		{"the longest response cuts the prompt of all", `{"prompt": "01234567", "responses": ["a", "b", "ccccc"], "ranks": [1, 2, 3]}`, Encoder{MaxLength: 10}, &rankedText{"34567", []string{"a$", "b$", "ccccc"}, []float64{1, 2, 3}}},
		{"conversational", conversation, Encoder{}, &rankedText{"<|user|>\nu$\n<|assistant|>\n", []string{"a$", "c$"}, []float64{3, 2}}},
		{"a preference", `{"prompt": "p", "chosen": "c", "rejected": "r"}`, Encoder{}, &rankedText{"p", []string{"c$", "r$"}, []float64{1, 2}}},
		{"hh", `{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}`, Encoder{}, &rankedText{"\n\nHuman: a\n\nAssistant:", []string{" b$", " c$"}, []float64{1, 2}}},
		{"hh, two prompts", `{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: x\n\nAssistant: c"}`, Encoder{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.e.Tokenizer == nil {
				c.e.Tokenizer = bytesOnly
			}
			g, kept, err := c.e.Ranked(record(t, strings.ReplaceAll(c.line, "\n\t", " ")))
			if err != nil || kept != (c.want != nil) {
				t.Fatalf("got %v, kept %v, %v, want %v", g, kept, err, c.want)
			}
			if !kept {
				return
			}
			got := rankedText{Prompt: text(c.e.Tokenizer, g.Prompt), Ranks: g.Ranks}
			for _, response := range g.Responses {
				got.Responses = append(got.Responses, text(c.e.Tokenizer, response))
			}
			if diff := cmp.Diff(*c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnpaired(t *testing.T) {
	tok := byteTokenizer(t)
	for _, c := range []struct {
		name string
		line string
		e    Encoder
		want []string // + or - for desirable, prompt, response
	}{
		{"desirable", `{"prompt": "p ", "completion": "c", "label": true}`, Encoder{}, []string{"+ p |c$"}},
		{"undesirable", `{"prompt": "p ", "completion": "c", "label": false}`, Encoder{}, []string{"- p |c$"}},
		{"no prompt", `{"prompt": "", "completion": "c", "label": true}`, Encoder{}, []string{"+ |c$"}},
		{"empty response", `{"prompt": "p", "completion": "", "label": true}`, Encoder{}, nil},
		{"cut", `{"prompt": "01234567", "completion": "ccccccc", "label": true}`, Encoder{MaxLength: 8}, []string{"+ 4567|cccc"}},
		{"conversational", `{"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "c"}], "label": false}`, Encoder{},
			[]string{"- <|user|>\nu$\n<|assistant|>\n|c$"}},
		{"a preference is two", `{"prompt": "p", "chosen": "c", "rejected": "r"}`, Encoder{}, []string{"+ p|c$", "- p|r$"}},
		{"hh is two", `{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}`, Encoder{},
			[]string{"+ \n\nHuman: a\n\nAssistant:| b$", "- \n\nHuman: a\n\nAssistant:| c$"}},
		{"empty chosen", `{"prompt": "p", "chosen": "", "rejected": "r"}`, Encoder{}, []string{"- p|r$"}},
		{"empty rejected", `{"prompt": "p", "chosen": "c", "rejected": ""}`, Encoder{}, []string{"+ p|c$"}},
		{"empty both", `{"prompt": "p", "chosen": "", "rejected": ""}`, Encoder{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.e.Tokenizer = tok
			u, kept, err := c.e.Unpaired(record(t, c.line))
			if err != nil || kept != (c.want != nil) {
				t.Fatalf("got %v, kept %v, %v, want %q", u, kept, err, c.want)
			}
			var got []string
			for _, x := range u {
				sign := map[bool]string{true: "+", false: "-"}[x.Desirable]
				got = append(got, fmt.Sprintf("%s %s|%s", sign, text(tok, x.Prompt), text(tok, x.Response)))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Each method names the format that it cannot use.
func TestFormatsThatDoNotFit(t *testing.T) {
	const (
		prompt   = `{"prompt": "p"}`
		pc       = `{"prompt": "p", "completion": "c"}`
		unpaired = `{"prompt": "p", "completion": "c", "label": true}`
		ranked   = `{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2]}`
	)
	e := Encoder{Tokenizer: byteTokenizer(t)}
	calls := map[string]func(Record) error{
		"Sequence": func(r Record) error { _, _, err := e.Sequence(r); return err },
		"Pair":     func(r Record) error { _, _, err := e.Pair(r); return err },
		"Ranked":   func(r Record) error { _, _, err := e.Ranked(r); return err },
		"Unpaired": func(r Record) error { _, _, err := e.Unpaired(r); return err },
	}
	for call, lines := range map[string][]string{
		"Sequence": {prompt}, "Pair": {prompt, pc, unpaired, ranked}, "Ranked": {prompt, pc, unpaired}, "Unpaired": {prompt, pc, ranked},
	} {
		for _, line := range lines {
			r := record(t, line)
			var e *Error
			if err := calls[call](r); !errors.As(err, &e) || e.Line != 1 || !strings.Contains(e.Message, r.Format+" format") {
				t.Errorf("%s of %s: %v, want an *Error in line 1 that names the format", call, line, err)
			}
		}
	}
}
