package data

import (
	"encoding/json"
	"errors"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// byteTokenizer has the bytes, EOS (shown as $) and padding: an example is easy to read.
func byteTokenizer(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Train(slices.Values([]string(nil)), 258, []string{tokenizer.EndOfText, tokenizer.Padding})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func load(t testing.TB, name string) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load("../tokenizer/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

var shorter = strings.NewReplacer(tokenizer.EndOfText, "$", "<|end_of_text|>", "$", "<|begin_of_text|>", "^", "<|im_start|>", "<", "<|im_end|>", ">")

// show is a sequence as text: what counts in [brackets], EOS as $, BOS as ^, ChatML's marks as < and >.
func show(tok *tokenizer.Tokenizer, s Sequence) string {
	var b strings.Builder
	for i, id := range s.Tokens {
		if s.ResponseMask[i] && (i == 0 || !s.ResponseMask[i-1]) {
			b.WriteString("[")
		}
		b.WriteString(shorter.Replace(tok.Decode([]int32{id}, false)))
		if s.ResponseMask[i] && (i+1 == len(s.Tokens) || !s.ResponseMask[i+1]) {
			b.WriteString("]")
		}
	}
	return b.String()
}

func text(tok *tokenizer.Tokenizer, ids []int32) string {
	return shorter.Replace(tok.Decode(ids, false))
}

func record(t testing.TB, line string) Record {
	t.Helper()
	records, err := collect(line, runconfig.Dataset{})
	if err != nil {
		t.Fatal(err)
	}
	return records[0]
}

func TestSequence(t *testing.T) {
	const (
		pc           = `{"prompt": "Why? ", "completion": "So."}`
		conversation = `{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}, {"role": "assistant", "content": "b"}]}`
	)
	bytesOnly, llama3, qwen2 := byteTokenizer(t), load(t, "llama3"), load(t, "qwen2")
	for _, c := range []struct {
		name string
		line string
		e    Encoder
		want string // "" when it is not kept
	}{
		{"text: nothing predicts its first token", `{"text": "abc"}`, Encoder{}, "a[bc$]"},
		{"text after BOS", `{"text": "abc"}`, Encoder{Tokenizer: llama3}, "^[abc$]"},
		{"text too long has no EOS", `{"text": "abcdef"}`, Encoder{MaxLength: 4}, "a[bcd]"},
		{"empty text", `{"text": ""}`, Encoder{}, ""},
		{"response", pc, Encoder{}, "Why? [So.$]"},
		{"response after BOS", pc, Encoder{Tokenizer: llama3}, "^Why? [So.$]"},
		{"loss on all", pc, Encoder{LossOn: "all"}, "W[hy? So.$]"},
		{"loss on all, BOS", pc, Encoder{Tokenizer: llama3, LossOn: "all"}, "^[Why? So.$]"},
		{"no prompt", `{"prompt": "", "completion": "So."}`, Encoder{}, "S[o.$]"},
		{"empty response", `{"prompt": "Why?", "completion": ""}`, Encoder{}, ""},
		{"fits", pc, Encoder{MaxLength: 9}, "Why? [So.$]"},
		{"prompt loses its beginning", pc, Encoder{MaxLength: 8}, "hy? [So.$]"},
		{"prompt down to a half, then the response loses its end", `{"prompt": "Why? ", "completion": "So it is."}`, Encoder{MaxLength: 8}, "hy? [So i]"},
		{"prompt limit holds always", pc, Encoder{MaxLength: 100, MaxPromptLength: 2}, "? [So.$]"},
		{"prompt limit leaves room", `{"prompt": "Why? ", "completion": "So it is."}`, Encoder{MaxLength: 8, MaxPromptLength: 2}, "? [So it ]"},
		{"prompt limit keeps BOS", `{"prompt": "0 1 2 3 4 5", "completion": "So."}`, Encoder{Tokenizer: llama3, MaxPromptLength: 3}, "^ 5[So.$]"},
		{"special text in data is text", `{"prompt": "<|pad|>", "completion": "<|endoftext|>"}`, Encoder{Tokenizer: load(t, "trained")}, "<|pad|>[<|endoftext|>$]"},
		{"preference: the chosen one", `{"prompt": "p", "chosen": "c", "rejected": "r"}`, Encoder{}, "p[c$]"},
		{"every assistant's turn", conversation, Encoder{}, "<|user|>\nu$\n<|assistant|>\n[a$]\n<|user|>\nv$\n<|assistant|>\n[b$]"},
		{"ChatML with its system message", conversation, Encoder{Tokenizer: qwen2},
			"<system\nYou are a helpful assistant.>\n<user\nu>\n<assistant\n[a>]\n<user\nv>\n<assistant\n[b>]"},
		{"ends at the last turn that counts", `{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}]}`, Encoder{}, "<|user|>\nu$\n<|assistant|>\n[a$]"},
		{"no assistant", `{"messages": [{"role": "user", "content": "u"}]}`, Encoder{}, ""},
		{"assistant says nothing", `{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": ""}]}`, Encoder{}, ""},
		{"completion's turns only", `{"prompt": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}], "completion": [{"role": "assistant", "content": "b"}]}`, Encoder{},
			"<|user|>\nu$\n<|assistant|>\na$\n<|user|>\nv$\n<|assistant|>\n[b$]"},
		{"turns cut off", conversation, Encoder{MaxLength: 56}, "<|user|>\nu$\n<|assistant|>\n[a$]\n<|user|>\nv$\n<|assistant|>\n[b]"},
		{"desirable", `{"prompt": "p ", "completion": "c", "label": true}`, Encoder{}, "p [c$]"},
		{"undesirable", `{"prompt": "p ", "completion": "c", "label": false}`, Encoder{}, ""},
		{"ranked: the first of the best", `{"prompt": "p ", "responses": ["a", "b", "c"], "ranks": [2, 1, 1]}`, Encoder{}, "p [b$]"},
		{"ranked: the best is empty", `{"prompt": "p ", "responses": ["a", "", "c"], "ranks": [2, 1, 1]}`, Encoder{}, ""},
		{"conversational ranked", `{"prompt": [{"role": "user", "content": "u"}], "responses": [[{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": "b"}]], "ranks": [2, 1]}`, Encoder{},
			"<|user|>\nu$\n<|assistant|>\n[b$]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.e.Tokenizer == nil {
				c.e.Tokenizer = bytesOnly
			}
			s, kept, err := c.e.Sequence(record(t, c.line))
			if err != nil {
				t.Fatal(err)
			}
			if got := show(c.e.Tokenizer, s); kept != (c.want != "") || kept && got != c.want {
				t.Errorf("got %q, kept %v, want %q", got, kept, c.want)
			}
			if kept && (s.File != "f" || s.Line != 1) {
				t.Errorf("comes from %s:%d, want f:1", s.File, s.Line)
			}
		})
	}
}

func TestEncoderRefuses(t *testing.T) {
	e := Encoder{Tokenizer: byteTokenizer(t)}
	unknown, err := e.Tokenizer.WithChatTemplate("{{ messages | tojson }}")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		line string
		e    Encoder
		want string
	}{
		{"a pair of a text", `{"text": "a"}`, e, "text format"},
		{"a long response", `{"chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "c"}, {"role": "user", "content": "v"}], "rejected": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "r"}]}`, e, "one assistant message"},
		{"no response", `{"prompt": [{"role": "user", "content": "u"}], "chosen": [{"role": "user", "content": "u"}], "rejected": [{"role": "assistant", "content": "r"}]}`, e, "one assistant message"},
		{"no EOS", `{"prompt": "p", "chosen": "c", "rejected": "r"}`, Encoder{Tokenizer: load(t, "unknown")}, "eos_token"},
		{"unknown chat template", `{"prompt": [{"role": "user", "content": "u"}], "chosen": [{"role": "assistant", "content": "c"}], "rejected": [{"role": "assistant", "content": "r"}]}`, Encoder{Tokenizer: unknown}, "tojson"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := c.e.Pair(record(t, c.line))
			var e *Error
			if !errors.As(err, &e) || e.Line != 1 || !strings.Contains(e.Message, c.want) {
				t.Errorf("got %v, want an *Error in line 1 with %q", err, c.want)
			}
		})
	}
}

func TestWholeDatasets(t *testing.T) {
	e := Encoder{Tokenizer: byteTokenizer(t), MaxLength: 64}
	of := func(lines ...string) iter.Seq2[Record, error] {
		return read(strings.NewReader(strings.Join(lines, "\n")), "f", runconfig.Dataset{})
	}
	kept, dropped, err := e.Sequences(of(`{"text": "a"}`, `{"text": ""}`, `{"text": "b"}`))
	if err != nil || len(kept) != 2 || dropped != 1 || kept[1].Line != 3 {
		t.Errorf("Sequences = %v, %d, %v, want 2 and 1 dropped", kept, dropped, err)
	}
	if _, dropped, err := e.Sequences(of(`{"text": ""}`)); !errors.Is(err, ErrNoExamples) || dropped != 1 {
		t.Errorf("nothing left: %v, %d dropped, want ErrNoExamples and 1", err, dropped)
	}
	pairs, dropped, err := e.Pairs(of(`{"prompt": "p", "chosen": "", "rejected": "r"}`, `{"prompt": "p", "chosen": "c", "rejected": "r"}`))
	if err != nil || len(pairs) != 1 || dropped != 1 {
		t.Errorf("Pairs = %v, %d, %v, want 1 and 1 dropped", pairs, dropped, err)
	}
	var at *Error
	if _, _, err := e.Pairs(of(`{"prompt": "p", "chosen": "c", "rejected": "r"}`, `{"prompt": "p"}`)); !errors.As(err, &at) || at.Line != 2 {
		t.Errorf("a broken line: %v, want an error in line 2", err)
	}
}

func TestQuestion(t *testing.T) {
	e := Encoder{Tokenizer: byteTokenizer(t), MaxLength: 31}
	for _, c := range []struct{ line, prompt, text, reference string }{
		{`{"prompt": "p ", "completion": "c"}`, "p ", "p ", "c"},
		{`{"prompt": "p ", "chosen": "c", "rejected": "r"}`, "p ", "p ", "c"},
		{`{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}`, "<|user|>\nu$\n<|assistant|>\n", "<|user|>\nu\n<|assistant|>\n", "a"},
		{`{"text": "t"}`, "", "", ""},
		{`{"prompt": "p "}`, "p ", "p ", ""},
		{`{"prompt": "0123456789012345678901234567890123456789"}`, "9012345678901234567890123456789", "9012345678901234567890123456789", ""},
		{`{"prompt": ""}`, "", "", ""},
		{`{"prompt": [{"role": "user", "content": "u"}]}`, "<|user|>\nu$\n<|assistant|>\n", "<|user|>\nu\n<|assistant|>\n", ""},
		{`{"prompt": "p ", "completion": "c", "label": true}`, "p ", "p ", "c"},
		{`{"prompt": "p ", "completion": "c", "label": false}`, "p ", "p ", ""},
		{`{"prompt": "p ", "responses": ["a", "b", "c"], "ranks": [2, 1, 1]}`, "p ", "p ", "b"},
		{`{"prompt": "p ", "responses": ["a", ""], "ranks": [2, 1]}`, "", "", ""},
		{`{"messages": [{"role": "user", "content": "u"}]}`, "", "", ""},
	} {
		q, ok, err := e.Question(record(t, c.line))
		if err != nil {
			t.Fatal(err)
		}
		if ok != (c.prompt != "") || text(e.Tokenizer, q.Prompt) != c.prompt || q.Text != c.text || q.Reference != c.reference {
			t.Errorf("%s: got %+v, %v, want %+v", c.line, q, ok, c)
		}
	}
}

// The ids are what transformers' apply_chat_template returns: see hack/goldens/tokenizer.
func TestTemplatesAsTransformersRenders(t *testing.T) {
	b, err := os.ReadFile("testdata/chat.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Tokenizer, Template, Text string
		Messages                  []Message
		Generate                  bool
		IDs                       []int32
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 10 {
		t.Fatalf("%d cases, want 10", len(cases))
	}
	for _, c := range cases {
		tok := load(t, c.Tokenizer)
		template, err := TemplateOf(tok)
		if err != nil {
			t.Fatal(err)
		}
		if c.Template != "" && template.Jinja() != c.Template {
			t.Errorf("Jinja = %s\nwant %s", template.Jinja(), c.Template)
		}
		ids, _ := template.render(tok, c.Messages, 0, c.Generate)
		if !slices.Equal(ids, c.IDs) {
			t.Errorf("%s: got %q, want %q", c.Tokenizer, tok.Decode(ids, false), c.Text)
		}
		if !c.Generate {
			continue
		}
		e := Encoder{Tokenizer: tok}
		if ids, err := e.Chat(c.Messages); err != nil || !slices.Equal(ids, c.IDs) {
			t.Errorf("%s: Chat = %d, %v, want %d", c.Tokenizer, ids, err, c.IDs)
		}
	}
}

func TestTemplateOf(t *testing.T) {
	const (
		plainChatML = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
		quoted      = "{%for message in messages%}{{\"<|im_start|>\" + message[\"role\"] + \"\n\" + message[\"content\"] + \"<|im_end|>\" + \"\n\"}}{%endfor%}{%if add_generation_prompt%}{{\"<|im_start|>assistant\n\"}}{%endif%}\n"
	)
	tok := byteTokenizer(t)
	for _, c := range []struct {
		name, jinja string
		want        *Template // nil: an error
	}{
		{"none", "", &Template{}},
		{"ChatML", plainChatML, &Template{chatML: true}},
		{"ChatML in another hand", quoted, &Template{chatML: true}},
		{"ChatML with BOS", "{{ bos_token }}" + plainChatML, &Template{chatML: true, bos: true}},
		{"ChatML with a system message", load(t, "qwen2").ChatTemplate(), &Template{chatML: true, system: "You are a helpful assistant."}},
		{"ours", (&Template{}).Jinja(), &Template{}},
		{"ours with BOS", (&Template{bos: true}).Jinja(), &Template{bos: true}},
		{"what Jinja wrote", (&Template{chatML: true, system: "Be good."}).Jinja(), &Template{chatML: true, system: "Be good."}},
		{"no Jinja", "{{ x ", nil},
		{"not supported", plainChatML + "{% include 'x' %}", nil},
		{"any other", "{{ x }}", &Template{source: "{{ x }}"}},
		{"ChatML and more", plainChatML + "{{ x }}", &Template{source: plainChatML + "{{ x }}"}},
		{"ChatML without newlines", strings.ReplaceAll(plainChatML, `\n`, ""), &Template{source: strings.ReplaceAll(plainChatML, `\n`, "")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok, err := tok.WithChatTemplate(c.jinja)
			if err != nil {
				t.Fatal(err)
			}
			got, err := TemplateOf(tok)
			if c.want == nil {
				if err == nil {
					t.Errorf("got %+v, want an error", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (got.jinja != nil) != (c.want.source != "") {
				t.Errorf("rendered as Jinja: %v", got.jinja != nil)
			}
			if got.jinja = nil; *got != *c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestStops(t *testing.T) {
	for name, want := range map[string][]int32{"trained": {0}, "qwen2": {2}, "unknown": nil} {
		e := Encoder{Tokenizer: load(t, name)}
		if got := e.Stops(); !slices.Equal(got, want) {
			t.Errorf("%s: Stops = %d, want %d", name, got, want)
		}
	}
	if e := (Encoder{Tokenizer: load(t, "llama3")}); !slices.Equal(e.Prompt(""), []int32{0}) {
		t.Errorf("Prompt of nothing = %d, want BOS", e.Prompt(""))
	}
	if _, err := (&Encoder{Tokenizer: load(t, "qwen2")}).Chat(nil); err == nil {
		t.Error("a conversation without messages is accepted")
	}
}
