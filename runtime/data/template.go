package data

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/chat"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// The roles of a conversation.
const (
	roleSystem    = "system"
	roleUser      = "user"
	roleAssistant = "assistant"
)

// The marks of a ChatML turn.
const (
	markStart = "<|im_start|>"
	markEnd   = "<|im_end|>"
)

// Template says how a conversation becomes tokens: by the tokenizer's chat_template, in Jinja. Two are
// known, of which each turn's tokens are made apart: ChatML, as Qwen2's and SmolLM2's chat_template has it
// (with their default system message), and this project's own, for tokenizers that have no chat template:
//
//	<|user|>
//	Hello!EOS
//	<|assistant|>
//	Hi.EOS
//
// Its marks are plain text, so it works with any vocabulary; EOS is the tokenizer's.
type Template struct {
	chatML bool
	system string // what a conversation without a system message begins with
	bos    bool   // begins with the BOS token

	jinja  *chat.Template // any other; nil for the two
	source string
}

// The templates' Jinja, as patterns: a space stands for any white space, ' for either quote.
var (
	jinjaBOS    = "{{ bos_token }}"
	jinjaSystem = `{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n` + "\x00" + `<|im_end|>\n' }}{% endif %}`
	jinjaLoop   = `{% for message in messages %}`
	jinjaChatML = `{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}` +
		`{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`
	jinjaPlain = `{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}` +
		`{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}`

	chatMLPattern = templatePattern(jinjaChatML)
	plainPattern  = templatePattern(jinjaPlain)
)

func templatePattern(turns string) *regexp.Regexp {
	loosen := strings.NewReplacer(" ", `\s*`, "'", `['"]`, `\\n`, `(?:\\n|\n)`, "\x00", `([^'"{}]*)`)
	p := func(s string) string { return loosen.Replace(regexp.QuoteMeta(s)) }
	return regexp.MustCompile(`^\s*(` + p(jinjaBOS) + `)?` + p(jinjaLoop) + `(?:` + p(jinjaSystem) + `)?` + p(turns) + `\s*$`)
}

// TemplateOf returns the template of a tokenizer, this project's own when it has none. A chat_template
// that is no Jinja, or has what runtime/chat does not know, is an error.
func TemplateOf(t *tokenizer.Tokenizer) (*Template, error) {
	jinja := t.ChatTemplate()
	if jinja == "" {
		_, bos := t.BOS()
		return &Template{bos: bos}, nil
	}
	if m := chatMLPattern.FindStringSubmatch(jinja); m != nil {
		return &Template{chatML: true, bos: m[1] != "", system: m[2]}, nil
	}
	if m := plainPattern.FindStringSubmatch(jinja); m != nil && m[2] == "" {
		return &Template{bos: m[1] != ""}, nil
	}
	j, err := chat.Parse(jinja)
	if err != nil {
		return nil, fmt.Errorf("chat_template: %w", err)
	}
	return &Template{jinja: j, source: jinja}, nil
}

// Jinja is the template as tokenizer_config.json's chat_template.
func (t *Template) Jinja() string {
	if t.jinja != nil {
		return t.source
	}
	var b strings.Builder
	if t.bos {
		b.WriteString(jinjaBOS)
	}
	b.WriteString(jinjaLoop)
	switch {
	case !t.chatML:
		b.WriteString(jinjaPlain)
	case t.system != "":
		b.WriteString(strings.ReplaceAll(jinjaSystem, "\x00", t.system) + jinjaChatML)
	default:
		b.WriteString(jinjaChatML)
	}
	return b.String()
}

// render returns a conversation as tokens, and which of them an assistant's turn among
// messages[from:] says, its end included. With open, an assistant's turn is begun at the end.
func (t *Template) render(tok *tokenizer.Tokenizer, messages []Message, from int, open bool) (ids []int32, said []bool) {
	w := writer{tok: tok}
	if id, ok := tok.BOS(); ok && t.bos {
		w.ids, w.said = append(w.ids, id), append(w.said, false)
	}
	if t.system != "" && messages[0].Role != roleSystem {
		t.begin(&w, roleSystem)
		w.text.WriteString(t.system)
		t.end(&w, false)
	}
	for i, m := range messages {
		t.begin(&w, m.Role)
		speaks := m.Role == roleAssistant && i >= from
		if speaks {
			w.flush(false)
		}
		w.text.WriteString(m.Content)
		w.flush(speaks)
		t.end(&w, speaks)
	}
	if open {
		t.begin(&w, roleAssistant)
	}
	w.flush(false)
	return w.ids, w.said
}

func (t *Template) begin(w *writer, role string) {
	if t.chatML {
		w.mark(markStart, false)
		w.text.WriteString(role + "\n")
	} else {
		w.mark("<|"+role+"|>", false)
		w.text.WriteString("\n")
	}
}

func (t *Template) end(w *writer, said bool) {
	w.flush(said)
	if t.chatML {
		w.mark(markEnd, said)
	} else if id, ok := w.tok.EOS(); ok {
		w.ids, w.said = append(w.ids, id), append(w.said, said)
	}
	w.flush(said)
	w.text.WriteString("\n")
}

// writer gathers text and encodes as much of it at once as it can, as a whole rendered
// conversation would be.
type writer struct {
	tok  *tokenizer.Tokenizer
	ids  []int32
	said []bool
	text strings.Builder // not yet encoded
}

func (w *writer) flush(said bool) {
	for _, id := range w.tok.Encode(w.text.String()) {
		w.ids, w.said = append(w.ids, id), append(w.said, said)
	}
	w.text.Reset()
}

// mark writes a template's mark: a token where the vocabulary has it, else plain text.
func (w *writer) mark(mark string, said bool) {
	id, ok := w.tok.ID(mark)
	if !ok {
		w.text.WriteString(mark)
		return
	}
	w.flush(false)
	w.ids, w.said = append(w.ids, id), append(w.said, said)
}
