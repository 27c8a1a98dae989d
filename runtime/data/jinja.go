package data

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/alignment-dev/alignment-operator/runtime/chat"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// renderingDate is today in a chat template: Llama 3.1's own default. A run renders alike whenever it is
// started or resumed, or its checkpoint could not be the same.
var renderingDate = time.Date(2024, time.July, 26, 0, 0, 0, 0, time.UTC)

// rendered is a conversation as text.
type rendered struct {
	text      string
	plain     [][2]int // where the text of a special token is a message's, and stays text
	generated [][2]int // {% generation %}
}

// tokens returns a conversation as render does, by the tokenizer's own template.
//
// Where the template marks with {% generation %} what it generates, that is what the assistant says, token for token as in
// transformers' return_assistant_tokens_mask. Else it is what an assistant's turn adds to the conversation before it as
// the template opens it for an answer, up to the first special token after the turn's content; no token reaches across
// either end. A template that renders the conversation before a turn otherwise when the turn follows is refused.
func (t *Template) tokens(tok *tokenizer.Tokenizer, messages []Message, from int, open bool) (ids []int32, said []bool, err error) {
	if t.jinja == nil {
		ids, said = t.render(tok, messages, from, open)
		return ids, said, nil
	}
	whole, err := t.text(tok, messages, open)
	if err != nil {
		return nil, nil, err
	}
	var spans [][2]int // of what is said, in bytes
	marked := t.jinja.MarksGeneration()
	if !open {
		if marked {
			spans, err = t.marked(tok, whole, messages, from)
		} else {
			spans, err = t.added(tok, whole, messages, from)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	r := tokenizer.Rendered{Text: whole.text, Plain: whole.plain, Split: !marked}
	for _, s := range spans {
		if marked { // the token of its last character counts, whole
			s[1] = strings.LastIndexFunc(whole.text[:s[1]], func(rune) bool { return true })
		}
		r.Cuts = append(r.Cuts, s[0], s[1])
	}
	ids, at := tok.EncodeRendered(r)
	said = make([]bool, len(ids))
	for i := 0; i < len(at); i += 2 {
		end := at[i+1]
		if marked {
			end = min(end+1, len(ids))
		}
		for k := at[i]; k < end; k++ {
			said[k] = true
		}
	}
	return ids, said, nil
}

// before renders the conversation before messages[i], opened for an answer, and checks that whole begins with it.
func (t *Template) before(tok *tokenizer.Tokenizer, whole rendered, messages []Message, i int) (string, error) {
	prompt, err := t.text(tok, messages[:i], true)
	if err != nil {
		return "", fmt.Errorf("the conversation before message %d: %w", i+1, err)
	}
	if !strings.HasPrefix(whole.text, prompt.text) {
		return "", fmt.Errorf("chat_template: renders the conversation before message %d otherwise when that follows, so that what the assistant says cannot be told; "+
			"mark it with {%% generation %%}: %s", i+1, t.shown())
	}
	return prompt.text, nil
}

// marked are the places of {% generation %} in the turns from messages[from] on.
func (t *Template) marked(tok *tokenizer.Tokenizer, whole rendered, messages []Message, from int) ([][2]int, error) {
	begin := ""
	if from > 0 {
		var err error
		if begin, err = t.before(tok, whole, messages, from); err != nil {
			return nil, err
		}
	}
	var spans [][2]int
	for _, g := range whole.generated {
		if g[0] >= len(begin) && g[1] > g[0] {
			spans = append(spans, g)
		}
	}
	return spans, nil
}

// added is what each assistant's turn from messages[from] on adds.
func (t *Template) added(tok *tokenizer.Tokenizer, whole rendered, messages []Message, from int) ([][2]int, error) {
	var spans [][2]int
	for i, m := range messages {
		if m.Role != roleAssistant || i < from {
			continue
		}
		prompt, err := t.before(tok, whole, messages, i)
		if err != nil {
			return nil, err
		}
		content := strings.TrimSpace(m.Content)
		start, end, ends := len(prompt), len(whole.text), true
		if i+1 < len(messages) {
			after, err := t.text(tok, messages[:i+1], false)
			if err != nil {
				return nil, fmt.Errorf("the conversation up to message %d: %w", i+1, err)
			}
			if end = common(after.text, whole.text); end < len(after.text) { // the last turn is written otherwise: Qwen3
				end, ends = len(whole.text), false
			}
		}
		if end < start || content != "" && strings.TrimSpace(whole.text[start:end]) == "" {
			return nil, fmt.Errorf("chat_template: does not write what the assistant says in message %d, or before its mark of the assistant: %s", i+1, t.shown())
		}
		turn := whole.text[start:end]
		if !ends && !strings.Contains(turn, firstLine(content)) {
			return nil, fmt.Errorf("chat_template: does not tell where message %d ends; mark what the assistant says with {%% generation %%}: %s", i+1, t.shown())
		}
		end = start + said(tok, turn, firstLine(content), whole.plain, start)
		if end > start {
			spans = append(spans, [2]int{start, end})
		}
	}
	return spans, nil
}

// firstLine is of a content what a template may be expected to write as it is.
func firstLine(content string) string {
	line, _, _ := strings.Cut(content, "\n")
	return line
}

// said is how much of a turn, which begins at start of the whole, is to be learnt: up to the first special token after
// its content, or to the last one, or without white space at its end.
func said(tok *tokenizer.Tokenizer, turn, content string, plain [][2]int, start int) int {
	at := strings.Index(turn, content)
	last := 0
	for _, s := range tok.FindSpecial(turn) {
		written := false // by a message
		for _, p := range plain {
			written = written || p[0] <= start+s[0] && start+s[1] <= p[1]
		}
		if written {
			continue
		}
		last = s[1]
		if at >= 0 && s[0] >= at+len(content) {
			return last
		}
	}
	if last > 0 {
		return last
	}
	return len(strings.TrimRight(turn, " \t\r\n"))
}

// common is the length of what both begin with.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// text renders messages. The special tokens' text in them stands between two characters that occur nowhere else while the
// template is at work.
func (t *Template) text(tok *tokenizer.Tokenizer, messages []Message, open bool) (rendered, error) {
	begin, end, err := marks(messages)
	if err != nil {
		return rendered{}, err
	}
	in := chat.Input{AddGenerationPrompt: open, Variables: make(map[string]any), Now: renderingDate}
	for name, token := range maps.All(tok.SpecialTokens()) {
		in.Variables[name] = token
	}
	for _, m := range messages {
		var b strings.Builder
		done := 0
		for _, s := range tok.FindSpecial(m.Content) {
			b.WriteString(m.Content[done:s[0]] + begin + m.Content[s[0]:s[1]] + end)
			done = s[1]
		}
		b.WriteString(m.Content[done:])
		in.Messages = append(in.Messages, chat.NewDict("role", m.Role, "content", b.String()))
	}
	out, err := t.jinja.Render(in)
	if err != nil {
		return rendered{}, err
	}
	var r rendered
	without := strings.NewReplacer(begin, "", end, "")
	for _, g := range out.Generated {
		r.generated = append(r.generated, [2]int{len(without.Replace(out.Text[:g[0]])), len(without.Replace(out.Text[:g[1]]))})
	}
	var b strings.Builder
	from := -1
	rest := out.Text
	for i := strings.IndexAny(rest, begin+end); i >= 0; i = strings.IndexAny(rest, begin+end) {
		b.WriteString(rest[:i])
		switch {
		case strings.HasPrefix(rest[i:], begin):
			from = b.Len()
		case from >= 0:
			r.plain = append(r.plain, [2]int{from, b.Len()})
			from = -1
		}
		rest = rest[i+len(begin):]
	}
	r.text = b.String() + rest
	return r, nil
}

// marks are two characters, of those that Unicode leaves to programs, that no message has.
func marks(messages []Message) (begin, end string, err error) {
	var free []string
	for c := '\uFDD0'; c <= '\uFDEF' && len(free) < 2; c++ {
		used := false
		for _, m := range messages {
			used = used || strings.ContainsRune(m.Content, c)
		}
		if !used {
			free = append(free, string(c))
		}
	}
	if len(free) < 2 {
		return "", "", errors.New("the messages have all of the characters U+FDD0 to U+FDEF, which are no characters")
	}
	return free[0], free[1], nil
}

// stop is the special token that ends an assistant's turn; ok is false when there is none.
func (t *Template) stop(tok *tokenizer.Tokenizer) (id int32, ok bool) {
	if t.chatML {
		return tok.ID(markEnd)
	}
	if t.jinja == nil {
		return 0, false
	}
	ids, said, err := t.tokens(tok, []Message{{roleUser, "Hello"}, {roleAssistant, "Hello"}}, 0, false)
	if err != nil {
		return 0, false
	}
	for i := len(ids) - 1; i >= 0; i-- {
		if said[i] {
			return ids[i], tok.Special(ids[i])
		}
	}
	return 0, false
}

// shown is the beginning of the template.
func (t *Template) shown() string {
	const most = 80
	if len(t.source) > most {
		return fmt.Sprintf("%q", strings.ToValidUTF8(t.source[:most], "")+"...")
	}
	return fmt.Sprintf("%q", t.source)
}
