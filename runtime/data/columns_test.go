package data

import (
	"errors"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// A line of a named format is broken in one column; the message names it.
func TestReadRefusesColumn(t *testing.T) {
	for _, c := range []struct{ format, line, field, message string }{
		{FormatPrompt, `{"question": "p"}`, "prompt", "missing"},
		{FormatPrompt, `{"prompt": null}`, "prompt", "null"},
		{FormatPrompt, `{"prompt": []}`, "prompt", "no messages"},
		{FormatPrompt, `{"prompt": {"role": "user"}}`, "prompt", "an object"},

		{FormatUnpaired, `{"prompt": "p", "completion": "c"}`, "label", "missing"},
		{FormatUnpaired, `{"prompt": "p", "completion": "c", "label": null}`, "label", "null"},
		{FormatUnpaired, `{"prompt": "p", "completion": "c", "label": 1}`, "label", "a number"},
		{FormatUnpaired, `{"prompt": "p", "completion": "c", "label": "true"}`, "label", "a text"},
		{FormatUnpaired, `{"prompt": "p", "completion": "c", "label": [true]}`, "label", "a list"},
		{FormatUnpaired, `{"completion": "c", "label": true}`, "prompt", "missing"},
		{FormatUnpaired, `{"prompt": "p", "label": true}`, "completion", "missing"},
		{FormatUnpaired, `{"prompt": "p", "completion": [{"role": "assistant", "content": "c"}], "label": true}`, "completion", "prompt is a text"},
		{FormatUnpaired, `{"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "user", "content": "c"}], "label": true}`, "completion", "one assistant message"},
		{FormatUnpaired, `{"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "c"}, {"role": "user", "content": "d"}], "label": true}`, "completion", "one assistant message"},

		{FormatRanked, `{"responses": ["a", "b"], "ranks": [1, 2]}`, "prompt", "missing"},
		{FormatRanked, `{"prompt": "p", "ranks": [1, 2]}`, "responses", "missing"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"]}`, "ranks", "missing"},
		{FormatRanked, `{"prompt": "p", "responses": "a", "ranks": [1, 2]}`, "responses", "a text"},
		{FormatRanked, `{"prompt": "p", "responses": null, "ranks": [1, 2]}`, "responses", "null"},
		{FormatRanked, `{"prompt": "p", "responses": [], "ranks": []}`, "responses", "at least 2"},
		{FormatRanked, `{"prompt": "p", "responses": ["a"], "ranks": [1]}`, "responses", "at least 2"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", 2], "ranks": [1, 2]}`, "responses[1]", "a number"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", null], "ranks": [1, 2]}`, "responses[1]", "null"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", [{"role": "assistant", "content": "b"}]], "ranks": [1, 2]}`, "responses[1]", "prompt is a text"},
		{FormatRanked, `{"prompt": [{"role": "user", "content": "u"}], "responses": [[{"role": "assistant", "content": "a"}], "b"], "ranks": [1, 2]}`, "responses[1]", "is a text"},
		{FormatRanked, `{"prompt": [{"role": "user", "content": "u"}], "responses": [[], []], "ranks": [1, 2]}`, "responses[0]", "no messages"},
		{FormatRanked, `{"prompt": [{"role": "user", "content": "u"}], "responses": [[{"role": "assistant", "content": "a"}], [{"role": "tool", "content": "b"}]], "ranks": [1, 2]}`, "responses[1][0].role", `"tool"`},
		{FormatRanked, `{"prompt": [{"role": "user", "content": "u"}], "responses": [[{"role": "assistant", "content": "a"}], [{"role": "user", "content": "b"}]], "ranks": [1, 2]}`, "responses[1]", "one assistant message"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"], "ranks": [1]}`, "ranks", "length 1"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2, 3]}`, "ranks", "length 3"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"], "ranks": 1}`, "ranks", "a number"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"], "ranks": [1, "2"]}`, "ranks[1]", "a text"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"], "ranks": [1, null]}`, "ranks[1]", "null"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"], "ranks": [true, 2]}`, "ranks[0]", "true or false"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"], "ranks": ["NaN", 2]}`, "ranks[0]", "a text"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"], "ranks": [NaN, 2]}`, "", "broken JSON"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 1e999]}`, "ranks[1]", "1e999"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b", "c"], "ranks": [1, 1, 1.0]}`, "ranks", "all 1"},
		{FormatRanked, `{"prompt": "p", "responses": ["a", "b"], "ranks": [0, -0]}`, "ranks", "all 0"},

		{FormatAuto, `{"prompt": "p", "completion": "c", "label": 7}`, "label", "a number"},
		{FormatAuto, `{"prompt": "p", "label": true}`, "", "no known format"},
		{FormatAuto, `{"prompt": "p", "responses": ["a", "b"]}`, "", "no known format"},
		{FormatAuto, `{"prompt": "p", "ranks": [1, 2]}`, "", "no known format"},
		{FormatAuto, `{"responses": ["a", "b"], "ranks": [1, 2]}`, "", "no known format"},
		{FormatAuto, `{"completion": "c", "label": true}`, "", "no known format"},
	} {
		_, err := collect("\n"+c.line, runconfig.Dataset{Format: c.format})
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s %s: got %v, want an *Error", c.format, c.line, err)
		} else if e.File != "f" || e.Line != 2 || e.Field != c.field || !strings.Contains(e.Message, c.message) {
			t.Errorf("%s %s: got %+v, want line 2, field %q and a message with %q", c.format, c.line, *e, c.field, c.message)
		}
	}
	var e *Error
	const line = `{"q": "p", "answers": ["a", "b"], "order": [1, "x"]}`
	_, err := collect(line, runconfig.Dataset{Columns: map[string]string{"prompt": "q", "responses": "answers", "ranks": "order"}})
	if !errors.As(err, &e) || e.Field != "order[1]" {
		t.Errorf("got %v, want the file's own column, order[1]", err)
	}
}
