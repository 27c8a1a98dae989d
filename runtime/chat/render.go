package chat

import (
	"fmt"
	"strings"
	"time"
)

// What a rendering may use: far more than any conversation needs, and less than a second.
const (
	maxSteps  = 2_000_000 // nodes visited, and items and pieces of text handled by filters and methods
	maxBytes  = 64 << 20  // of the texts and lists made on the way, 16 bytes an item
	maxOutput = 16 << 20  // bytes of text
	maxCalls  = 100       // macros in each other
	maxRange  = 100_000   // numbers, as Jinja's sandbox
)

// Template is a chat template. It is safe for concurrent use.
type Template struct {
	body       []statement
	generation bool
}

// Parse reads a template. An error is an *Error.
func Parse(source string) (t *Template, err error) {
	tokens, err := lex(source)
	if err != nil {
		return nil, err
	}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Error:
			t, err = nil, e
		default:
			panic(e)
		}
	}()
	p := &parser{tokens: tokens}
	t = new(Template)
	t.body, _ = p.statements()
	for i, token := range tokens[1:] {
		t.generation = t.generation || tokens[i].kind == blockBegin && token.is(name, "generation")
	}
	return t, nil
}

// MarksGeneration says that the template has a {% generation %} block.
func (t *Template) MarksGeneration() bool { return t.generation }

// Input is what a template is given.
type Input struct {
	Messages            []*Dict
	Tools, Documents    []any // nil is none
	AddGenerationPrompt bool
	Variables           map[string]any // bos_token and so on, and what a template takes besides
	Now                 time.Time      // of strftime_now
}

// Output is a rendered conversation.
type Output struct {
	Text      string
	Generated [][2]int // Text[from:to] of each {% generation %} block, in order
}

// Render renders a conversation. An error is an *Error.
func (t *Template) Render(in Input) (out Output, err error) {
	r := &renderer{now: in.Now}
	r.scope = &scope{values: map[string]any{
		"messages": aliasReasoning(in.Messages), "tools": optional(in.Tools), "documents": optional(in.Documents), "add_generation_prompt": in.AddGenerationPrompt,
	}}
	for k, v := range in.Variables {
		r.scope.values[k] = v
	}
	r.root = new(strings.Builder)
	r.out = r.root
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Error:
			out, err = Output{}, e
		default:
			panic(e)
		}
	}()
	r.run(t.body)
	out.Text = r.out.String()
	for _, g := range r.generated {
		out.Generated = append(out.Generated, [2]int{byteOffset(out.Text, g[0]), byteOffset(out.Text, g[1])})
	}
	return out, nil
}

// byteOffset is where the character n of s begins.
func byteOffset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

func optional(list []any) any {
	if list == nil {
		return nil
	}
	return list
}

// aliasReasoning gives a message's reasoning the names that templates read it under, as transformers does.
func aliasReasoning(messages []*Dict) []any {
	list := make([]any, len(messages))
	for i, m := range messages {
		list[i] = m
		for _, name := range []string{"reasoning_content", "thinking", "reasoning"} {
			if reasoning, _ := m.Get(name); reasoning != nil {
				d := NewDict("thinking", reasoning)
				for _, k := range m.keys {
					d.set(k, m.values[k])
				}
				d.Set("reasoning_content", reasoning)
				list[i] = d
				break
			}
		}
	}
	return list
}

// scope are the variables of a loop or macro; others are looked up around it.
type scope struct {
	values map[string]any
	around *scope
}

func (s *scope) get(name string) (any, bool) {
	for ; s != nil; s = s.around {
		if v, ok := s.values[name]; ok {
			return v, true
		}
	}
	return nil, false
}

type renderer struct {
	out       *strings.Builder
	scope     *scope
	root      *strings.Builder // the output; out is another one within a macro
	generated [][2]int         // in characters
	line      int
	now       time.Time

	steps, bytes, calls int
}

// fail ends rendering: recovered in Render.
func (r *renderer) fail(format string, args ...any) any {
	panic(&Error{Line: r.line, Message: fmt.Sprintf(format, args...)})
}

// spend counts n steps.
func (r *renderer) spend(n int) {
	if r.steps += n; n < 0 || r.steps > maxSteps {
		r.fail("takes more than %d steps", maxSteps)
	}
}

// make counts n bytes of a new value.
func (r *renderer) make(n int) {
	if r.bytes += n; n < 0 || r.bytes > maxBytes {
		r.fail("makes texts of more than %d bytes", maxBytes)
	}
	r.spend(n / 1024)
}

// made is make of a list.
func (r *renderer) made(list []any) []any {
	r.spend(len(list))
	r.make(16 * len(list))
	return list
}

// scan counts reading a text.
func (r *renderer) scan(values ...any) {
	for _, v := range values {
		if s, ok := v.(string); ok {
			r.spend(len(s) / 64)
		}
	}
}

// iterate is items, counted.
func (r *renderer) iterate(v any) ([]any, bool) {
	if s, ok := v.(string); ok {
		r.spend(len(s))
		r.make(16 * len(s))
	}
	list, ok := items(v)
	r.spend(len(list))
	return list, ok
}

// madeText is make of a text.
func (r *renderer) madeText(s string) string {
	r.make(len(s))
	return s
}

func (r *renderer) write(s string) {
	if r.out.Len()+len(s) > maxOutput {
		r.fail("writes more than %d bytes", maxOutput)
	}
	r.make(len(s))
	r.out.WriteString(s)
}

// capture runs f and returns what it writes.
func (r *renderer) capture(f func()) string {
	out := r.out
	r.out = new(strings.Builder)
	defer func() { r.out = out }()
	f()
	return r.out.String()
}

func (r *renderer) text(v any) string {
	switch v.(type) {
	case string, nil, bool, int64, float64, undefined:
		return text(v)
	case []any, tuple, view, *Dict:
		r.spend(r.size(v, 0))
		return r.madeText(text(v))
	}
	r.fail("a %s is no text", typeName(v))
	return ""
}

// size counts the values within v, which may hold one value many times.
func (r *renderer) size(v any, depth int) int {
	if depth > maxDepth {
		r.fail("values lie more than %d levels in each other", maxDepth)
	}
	n := 1
	add := func(x any) {
		if n += r.size(x, depth+1); n > maxSteps {
			r.spend(maxSteps)
		}
	}
	switch v := v.(type) {
	case string:
		n += len(v) / 16
	case []any, tuple, view:
		list, _ := items(v)
		for _, x := range list {
			add(x)
		}
	case *Dict:
		for k, x := range v.values {
			add(k)
			add(x)
		}
	}
	return n
}
