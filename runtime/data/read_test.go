package data

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/google/go-cmp/cmp"
)

// collect reads until the first error.
func collect(content string, ds runconfig.Dataset) (records []Record, err error) {
	for r, err := range read(strings.NewReader(content), "f", ds) {
		if err != nil {
			return records, err
		}
		records = append(records, r)
	}
	return records, nil
}

func TestReadFormats(t *testing.T) {
	user, hi, ho := Message{"user", "u"}, Message{"assistant", "hi"}, Message{"assistant", "ho"}
	for _, c := range []struct {
		name string
		line string
		ds   runconfig.Dataset
		want Record
	}{
		{
			name: "text", line: `{"text": "a\nb", "id": 3}`,
			want: Record{Format: FormatText, Text: "a\nb"},
		}, {
			name: "prompt and completion", line: `{"prompt": "p", "completion": "c"}`,
			want: Record{Format: FormatPromptCompletion, Prompt: "p", Completion: "c"},
		}, {
			name: "conversational prompt and completion",
			line: `{"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "hi"}]}`,
			want: Record{Format: FormatPromptCompletion, PromptMessages: []Message{user}, CompletionMessages: []Message{hi}},
		}, {
			name: "messages", line: `{"messages": [{"role": "user", "content": "u"}, {"content": "hi", "role": "assistant"}]}`,
			want: Record{Format: FormatMessages, Messages: []Message{user, hi}},
		}, {
			name: "content in parts", line: `{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}`,
			want: Record{Format: FormatMessages, Messages: []Message{{"user", "ab"}}},
		}, {
			name: "preference", line: `{"prompt": "p", "chosen": "c", "rejected": "r"}`,
			want: Record{Format: FormatPreference, Prompt: "p", Chosen: "c", Rejected: "r"},
		}, {
			name: "conversational preference",
			line: `{"prompt": [{"role": "user", "content": "u"}], "chosen": [{"role": "assistant", "content": "hi"}], "rejected": [{"role": "assistant", "content": "ho"}]}`,
			want: Record{Format: FormatPreference, PromptMessages: []Message{user}, ChosenMessages: []Message{hi}, RejectedMessages: []Message{ho}},
		}, {
			name: "implicit prompt", line: `{"chosen": "What is 2+2? Four.", "rejected": "What is 2+2? Five."}`,
			want: Record{Format: FormatPreference, Prompt: "What is 2+2?", Chosen: " Four.", Rejected: " Five."},
		}, {
			name: "implicit prompt that is one's beginning", line: `{"chosen": "Hi there", "rejected": "Hi there friend"}`,
			want: Record{Format: FormatPreference, Prompt: "Hi", Chosen: " there", Rejected: " there friend"},
		}, {
			name: "nothing shared", line: `{"chosen": "änders", "rejected": "öfter"}`,
			want: Record{Format: FormatPreference, Chosen: "änders", Rejected: "öfter"},
		}, {
			name: "implicit conversational prompt", line: `{"chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "hi"}],
				"rejected": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "ho"}]}`,
			want: Record{Format: FormatPreference, PromptMessages: []Message{user}, ChosenMessages: []Message{hi}, RejectedMessages: []Message{ho}},
		}, {
			name: "implicit conversational prompt, same responses", line: `{"chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "hi"}],
				"rejected": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "hi"}]}`,
			want: Record{Format: FormatPreference, PromptMessages: []Message{user}, ChosenMessages: []Message{hi}, RejectedMessages: []Message{hi}},
		}, {
			name: "hh", line: `{"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d", "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: e\n\nf"}`,
			want: Record{Format: FormatHH, Prompt: "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:", Chosen: " d", Rejected: " e\n\nf"},
		}, {
			name: "hh, two prompts", line: `{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: x\n\nAssistant: c"}`,
			want: Record{Format: FormatHH, Prompt: "\n\nHuman: a\n\nAssistant:", Chosen: " b"},
		}, {
			name: "hh, rejected goes on", line: `{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c\n\nHuman: d\n\nAssistant: e"}`,
			want: Record{Format: FormatHH, Prompt: "\n\nHuman: a\n\nAssistant:", Chosen: " b"},
		}, {
			name: "hh with a prompt is a preference", line: `{"prompt": "p", "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}`,
			want: Record{Format: FormatPreference, Prompt: "p", Chosen: "\n\nHuman: a\n\nAssistant: b", Rejected: "\n\nHuman: a\n\nAssistant: c"},
		}, {
			name: "columns", line: `{"question": "q", "answer": "a"}`,
			ds:   runconfig.Dataset{Columns: map[string]string{"prompt": "question", "completion": "answer"}},
			want: Record{Format: FormatPromptCompletion, Prompt: "q", Completion: "a"},
		}, {
			name: "explicit format", line: `{"text": "t", "chosen": "c", "rejected": "r"}`,
			ds:   runconfig.Dataset{Format: FormatText},
			want: Record{Format: FormatText, Text: "t"},
		}, {
			name: "null columns do not count", line: `{"chosen": null, "rejected": null, "text": "t"}`,
			want: Record{Format: FormatText, Text: "t"},
		}, {
			name: "UltraFeedback, binarized", line: `{"prompt": "u", "prompt_id": "x", "chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "hi"}],
				"rejected": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "ho"}], "messages": [{"role": "user", "content": "u"}], "score_chosen": 8.5}`,
			want: Record{Format: FormatPreference, PromptMessages: []Message{user}, ChosenMessages: []Message{hi}, RejectedMessages: []Message{ho}},
		}, {
			name: "UltraChat", line: `{"prompt": "u", "prompt_id": "x", "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "hi"}]}`,
			want: Record{Format: FormatMessages, Messages: []Message{user, hi}},
		}, {
			name: "ShareGPT", line: `{"id": 1, "conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "hi"}]}`,
			want: Record{Format: FormatMessages, Messages: []Message{user, hi}},
		}, {
			name: "ShareGPT's messages in a column of another name", line: `{"chat": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "hi"}]}`,
			ds:   runconfig.Dataset{Columns: map[string]string{"messages": "chat"}},
			want: Record{Format: FormatMessages, Messages: []Message{user, hi}},
		}, {
			name: "Alpaca", line: `{"instruction": "Add.", "input": "9, 10", "output": "19"}`,
			want: Record{Format: FormatPromptCompletion, PromptMessages: []Message{{"user", "Add.\n\n9, 10"}}, CompletionMessages: []Message{{"assistant", "19"}}},
		}, {
			name: "Alpaca without input", line: `{"instruction": "Add.", "input": "", "output": "19"}`,
			want: Record{Format: FormatPromptCompletion, PromptMessages: []Message{{"user", "Add."}}, CompletionMessages: []Message{{"assistant", "19"}}},
		}, {
			name: "TL;DR comparison", line: `{"info": {"id": "t", "post": "Long.", "title": "T", "subreddit": "tifu", "article": null}, "summaries": [{"text": " a", "policy": "ref"}, {"text": "b", "policy": "sup"}], "choice": 1}`,
			want: Record{Format: FormatPreference, Prompt: "SUBREDDIT: r/tifu\n\nTITLE: T\n\nPOST: Long.\n\nTL;DR:", Chosen: " b", Rejected: " a"},
		}, {
			name: "TL;DR", line: `{"prompt": "POST", "label": "short"}`,
			ds:   runconfig.Dataset{Format: FormatPromptCompletion, Columns: map[string]string{"completion": "label"}},
			want: Record{Format: FormatPromptCompletion, Prompt: "POST", Completion: "short"},
		}, {
			name: "prompt", line: `{"prompt": "p", "id": 3, "completion": null}`,
			want: Record{Format: FormatPrompt, Prompt: "p"},
		}, {
			name: "conversational prompt", line: `{"prompt": [{"role": "user", "content": "u"}]}`,
			want: Record{Format: FormatPrompt, PromptMessages: []Message{user}},
		}, {
			name: "a prompt and a text is a text", line: `{"prompt": "p", "text": "t"}`,
			want: Record{Format: FormatText, Text: "t"},
		}, {
			name: "prompts of another format", line: `{"prompt": "p", "chosen": "c", "rejected": 1}`,
			ds:   runconfig.Dataset{Format: FormatPrompt},
			want: Record{Format: FormatPrompt, Prompt: "p"},
		}, {
			name: "desirable", line: `{"prompt": "p", "completion": "c", "label": true}`,
			want: Record{Format: FormatUnpaired, Prompt: "p", Completion: "c", Label: true},
		}, {
			name: "undesirable conversation", line: `{"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "hi"}], "label": false}`,
			want: Record{Format: FormatUnpaired, PromptMessages: []Message{user}, CompletionMessages: []Message{hi}},
		}, {
			name: "a null label does not count", line: `{"prompt": "p", "completion": "c", "label": null}`,
			want: Record{Format: FormatPromptCompletion, Prompt: "p", Completion: "c"},
		}, {
			name: "a class is no label when the format is named", line: `{"prompt": "p", "completion": "c", "label": 7}`,
			ds:   runconfig.Dataset{Format: FormatPromptCompletion},
			want: Record{Format: FormatPromptCompletion, Prompt: "p", Completion: "c"},
		}, {
			name: "a preference with a label", line: `{"prompt": "p", "completion": "x", "chosen": "c", "rejected": "r", "label": true}`,
			want: Record{Format: FormatPreference, Prompt: "p", Chosen: "c", Rejected: "r"},
		}, {
			name: "ranked", line: `{"prompt": "p", "responses": ["a", "", "c"], "ranks": [2, 1.5, 2e0]}`,
			want: Record{Format: FormatRanked, Prompt: "p", Responses: []string{"a", "", "c"}, Ranks: []float64{2, 1.5, 2}},
		}, {
			name: "conversational ranked", line: `{"prompt": [{"role": "user", "content": "u"}], "ranks": [2, 1],
				"responses": [[{"role": "assistant", "content": "hi"}], [{"role": "assistant", "content": [{"type": "text", "text": "ho"}]}]]}`,
			want: Record{Format: FormatRanked, PromptMessages: []Message{user}, ResponseMessages: [][]Message{{hi}, {ho}}, Ranks: []float64{2, 1}},
		}, {
			name: "ranked comes before unpaired", line: `{"prompt": "p", "completion": "x", "label": true, "responses": ["a", "b"], "ranks": [1, 2]}`,
			want: Record{Format: FormatRanked, Prompt: "p", Responses: []string{"a", "b"}, Ranks: []float64{1, 2}},
		}, {
			name: "columns of ranked", line: `{"question": "q", "solutions": ["a", "b"], "order": [1, 2]}`,
			ds:   runconfig.Dataset{Columns: map[string]string{"prompt": "question", "responses": "solutions", "ranks": "order"}},
			want: Record{Format: FormatRanked, Prompt: "q", Responses: []string{"a", "b"}, Ranks: []float64{1, 2}},
		}, {
			name: "columns of unpaired", line: `{"prompt": "p", "completion": "c", "ok": true}`,
			ds:   runconfig.Dataset{Columns: map[string]string{"label": "ok"}},
			want: Record{Format: FormatUnpaired, Prompt: "p", Completion: "c", Label: true},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := collect(strings.ReplaceAll(c.line, "\n", " "), c.ds) // long literals are wrapped
			if err != nil {
				t.Fatal(err)
			}
			c.want.File, c.want.Line = "f", 1
			if diff := cmp.Diff([]Record{c.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The documentation's examples are of the formats that it says, named or not.
func TestDocumentedFormats(t *testing.T) {
	page, err := os.ReadFile("../../docs/data.md")
	if err != nil {
		t.Fatal(err)
	}
	var formats []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| `(\\{.*\\})` \\|$").FindAllStringSubmatch(string(page), -1) {
		format, line := m[1], m[2]
		formats = append(formats, format)
		for _, named := range []string{format, FormatAuto} {
			records, err := collect(line, runconfig.Dataset{Format: named})
			want := format
			if plain, ok := map[string]string{FormatAlpaca: FormatPromptCompletion, FormatShareGPT: FormatMessages, FormatTLDRComparison: FormatPreference}[format]; ok {
				want = plain
			}
			if err != nil || len(records) != 1 || records[0].Format != want {
				t.Errorf("%s, read as %s: got %+v, %v", line, named, records, err)
			}
		}
	}
	formats = append(formats, FormatAuto)
	if diff := cmp.Diff(sorted(runconfig.Formats), sorted(formats)); diff != "" {
		t.Errorf("formats (-known +documented):\n%s", diff)
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func TestReadLines(t *testing.T) {
	const content = "\ufeff{\"text\": \"a\"}\r\n\r\n   \n{\"text\": \"b\"}\n\t{\"text\": \"c\"}"
	want := map[int]string{1: "a", 4: "b", 5: "c"}
	var zipped bytes.Buffer
	for _, part := range []string{content[:20], content[20:]} { // two members, as appending makes
		w := gzip.NewWriter(&zipped)
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"plain": content, "gzip": zipped.String()} {
		records, err := collect(content, runconfig.Dataset{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := make(map[int]string)
		for _, r := range records {
			got[r.Line] = r.Text
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	for i := range 1000 {
		if _, err := fmt.Fprintf(w, "{\"text\": \"%d\"}\n", i*i*i); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(zipped.Bytes())
	flipped[len(flipped)-5] ^= 1 // of the checksum
	torn, noisy := linesOf(zipped.Bytes()[:zipped.Len()/2]), linesOf(zipped.Bytes()[:1000])
	const first = `{"prompt": "p", "completion": "c"}` + "\n\n"
	for _, c := range []struct {
		name    string
		content string
		ds      runconfig.Dataset
		line    int
		field   string
		message string
	}{
		{name: "empty", content: "", message: "no examples"},
		{name: "blank", content: "\n \n", message: "no examples"},
		{name: "not JSON", content: first + "{", line: 3, message: "byte"},
		{name: "more than JSON", content: first + `{"a": 1} x`, line: 3, message: "byte"},
		{name: "a list", content: first + "[1]", line: 3, message: "object"},
		{name: "null", content: first + "null", line: 3, message: "object"},
		{name: "not UTF-8", content: first + "{\"prompt\": \"\xff\", \"completion\": \"\"}", line: 3, message: "UTF-8"},
		{name: "unknown columns", content: `{"question": "q"}`, line: 1, message: `"question"`},
		{name: "half of a preference", content: `{"prompt": "q", "chosen": "c"}`, line: 1, message: "rejected"},
		{name: "later line lacks a column", content: first + `{"prompt": "p"}`, line: 3, field: "completion", message: "missing"},
		{name: "null column", content: first + `{"prompt": "p", "completion": null}`, line: 3, field: "completion", message: "null"},
		{name: "number", content: first + `{"prompt": 1, "completion": "c"}`, line: 3, field: "prompt", message: "a number"},
		{name: "list for text", content: `{"text": ["a"]}`, line: 1, field: "text", message: "a list"},
		{name: "text for list", content: `{"messages": "a"}`, line: 1, field: "messages", message: "a list of messages"},
		{name: "mixed kinds", content: `{"prompt": "p", "completion": [{"role": "assistant", "content": "c"}]}`, line: 1, field: "completion", message: "prompt is a text"},
		{name: "no messages", content: `{"messages": []}`, line: 1, field: "messages", message: "no messages"},
		{name: "messages of texts", content: `{"messages": ["a"]}`, line: 1, field: "messages", message: "objects"},
		{name: "ShareGPT's role", content: `{"conversations": [{"from": "function_call", "value": "x"}]}`, line: 1, field: "conversations[0].from", message: `"function_call"`},
		{name: "a role of both", content: `{"messages": [{"role": "human", "content": "x"}]}`, line: 1, field: "messages[0].role", message: `"human"`},
		{name: "no value", content: `{"conversations": [{"from": "gpt"}]}`, line: 1, field: "conversations[0].value", message: "missing"},
		{name: "Alpaca's output", content: `{"instruction": "i", "output": 3}`, line: 1, field: "output", message: "a number"},
		{name: "another prompt", content: `{"prompt": "p", "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, line: 1, field: "prompt", message: "no message of chosen"},
		{name: "two conversations", content: `{"prompt": "p", "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, line: 1, field: "rejected", message: "another conversation"},
		{name: "three summaries", content: `{"info": {"post": "p"}, "summaries": [{"text": "a"}, {"text": "b"}, {"text": "c"}], "choice": 0}`, line: 1, field: "summaries", message: "length 3"},
		{name: "a third choice", content: `{"info": {"post": "p"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 2}`, line: 1, field: "choice", message: "0 or 1"},
		{name: "a text for info", content: `{"info": "p", "summaries": [], "choice": 0}`, line: 1, field: "info", message: "a text"},
		{name: "no post", content: `{"info": {}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 1}`, line: 1, field: "info.post", message: "missing"},
		{name: "an item of an array", content: ` [{"text": "a"},` + "\n" + `{"text": 1}]`, line: 2, field: "text", message: "a number"},
		{name: "half an array", content: `[{"text": "a"}, {"te`, line: 1, message: "broken JSON array"},
		{name: "an empty array", content: `[]`, line: 0, message: "no examples"},
		{name: "unknown role", content: `{"messages": [{"role": "tool", "content": "x"}]}`, line: 1, field: "messages[0].role", message: `"tool"`},
		{name: "no content", content: `{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": null}]}`, line: 1, field: "messages[1].content", message: "null"},
		{name: "an image", content: `{"messages": [{"role": "user", "content": [{"type": "image"}]}]}`, line: 1, field: "messages[0].content[0].type", message: `"image"`},
		{name: "own column's name", content: `{"q": "x", "a": 2}`, ds: runconfig.Dataset{Columns: map[string]string{"prompt": "q", "completion": "a"}}, line: 1, field: "a", message: "a number"},
		{name: "hh without an assistant", content: `{"chosen": "x", "rejected": "y"}`, ds: runconfig.Dataset{Format: FormatHH}, line: 1, field: "chosen", message: "Assistant"},
		{name: "explicit format's column", content: `{"text": "x"}`, ds: runconfig.Dataset{Format: FormatMessages}, line: 1, field: "messages", message: "missing"},
		{name: "huge line", content: first + `{"prompt": "` + strings.Repeat("x", maxLine), line: 3, message: "16 MiB"},
		{name: "torn gzip", content: zipped.String()[:zipped.Len()/2], line: torn, message: "gzip"},
		{name: "gzip of a flipped checksum", content: string(flipped), line: 1000, message: "checksum"},
		{name: "gzip with noise", content: zipped.String()[:1000] + strings.Repeat("\xff", 1000), line: noisy, message: "gzip"},
		{name: "gzip's first bytes only", content: "\x1f\x8b", message: "gzip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.ds.URI = "file:///x"
			_, err := collect(c.content, c.ds)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if e.File != "f" || e.Line != c.line || e.Field != c.field || !strings.Contains(e.Message, c.message) {
				t.Errorf("got %+v, want line %d, field %q and a message with %q", *e, c.line, c.field, c.message)
			}
		})
	}
}

// linesOf counts the lines that a torn gzip stream has, the last one being incomplete.
func linesOf(zipped []byte) int {
	r, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		return 0
	}
	content, _ := io.ReadAll(r)
	return bytes.Count(content, []byte("\n")) + 1
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.jsonl")
	for _, err := range Read(path, runconfig.Dataset{}) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of a missing file: %v, want fs.ErrNotExist", err)
		}
	}
	if err := os.WriteFile(path, []byte("{\"text\": \"a\"}\n{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ uri, want string }{
		{"", path + `:2: text: is missing: the columns are []`},
		{"pvc://data/x.jsonl", `pvc://data/x.jsonl:2: text: is missing: the columns are []`},
	} {
		var last error
		for _, err := range Read(path, runconfig.Dataset{URI: c.uri}) {
			last = err
		}
		if last == nil || last.Error() != c.want {
			t.Errorf("got %v, want %s", last, c.want)
		}
	}
	for r, err := range Read(path, runconfig.Dataset{}) { // and stops when told to
		if err != nil || r.Text != "a" {
			t.Fatalf("got %+v, %v", r, err)
		}
		break
	}
}

func TestTexts(t *testing.T) {
	records, err := collect(`{"prompt": [{"role": "user", "content": "u"}], "chosen": [{"role": "assistant", "content": "c"}], "rejected": [{"role": "assistant", "content": "r"}]}`, runconfig.Dataset{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Collect(records[0].Texts()), []string{"u", "c", "r"}; !slices.Equal(got, want) {
		t.Errorf("Texts = %q, want %q", got, want)
	}
	if got, want := slices.Collect(Record{Prompt: "p", Completion: "c"}.Texts()), []string{"p", "c"}; !slices.Equal(got, want) {
		t.Errorf("Texts = %q, want %q", got, want)
	}
	if got, want := slices.Collect(Record{Prompt: "p", Responses: []string{"a", "", "b"}}.Texts()), []string{"p", "a", "b"}; !slices.Equal(got, want) {
		t.Errorf("Texts = %q, want %q", got, want)
	}
	if got, want := slices.Collect(Record{ResponseMessages: [][]Message{{{"assistant", "a"}}, {{"assistant", "b"}}}}.Texts()), []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("Texts = %q, want %q", got, want)
	}
}

// Whatever a file holds, reading it ends in records that can be encoded or in an error that says where.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"{\"text\": \"a\"}\n{\"text\": 1}",
		`{"prompt": "p", "completion": "c"}`,
		`{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}`,
		`{"chosen": [{"role": "user", "content": "u"}], "rejected": [{"role": "assistant", "content": "a"}]}`,
		`{"chosen": "a b", "rejected": "a c"}`,
		`{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant:"}`,
		`{"prompt": "p"}`,
		`{"prompt": [{"role": "user", "content": "u"}]}`,
		`{"prompt": "p", "completion": "c", "label": true}`,
		`{"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "c"}], "label": false}`,
		`{"prompt": "p", "responses": ["a", "", "b"], "ranks": [2, 1, 1.5]}`,
		`{"prompt": [{"role": "user", "content": "u"}], "responses": [[{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": "b"}]], "ranks": [1, 2]}`,
		"\x1f\x8b\x08\x00",
	} {
		f.Add([]byte(s))
	}
	e := Encoder{Tokenizer: byteTokenizer(f), MaxLength: 16, LossOn: "response"}
	f.Fuzz(func(t *testing.T, content []byte) {
		for r, err := range read(bytes.NewReader(content), "f", runconfig.Dataset{}) {
			if err != nil {
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("%v is no *Error", err)
				}
				return
			}
			s, kept, err := e.Sequence(r)
			if err == nil && kept && (len(s.Tokens) > 16 || !slices.Contains(s.ResponseMask, true)) {
				t.Fatalf("kept %+v", s)
			}
			if p, kept, err := e.Pair(r); err == nil && kept && (len(p.Chosen) == 0 || len(p.Rejected) == 0) {
				t.Fatalf("kept %+v", p)
			}
			g, kept, err := e.Ranked(r)
			if err == nil && kept && (len(g.Responses) != len(g.Ranks) || slices.Min(g.Ranks) == slices.Max(g.Ranks)) {
				t.Fatalf("kept %+v", g)
			}
			for _, response := range g.Responses {
				if len(response) == 0 || len(g.Prompt)+len(response) > 16 {
					t.Fatalf("kept %+v", g)
				}
			}
			alone, kept, err := e.Unpaired(r)
			if err == nil && kept != (len(alone) > 0) {
				t.Fatalf("kept %v of %+v", kept, alone)
			}
			for _, u := range alone {
				if len(u.Response) == 0 || u.Len() > 16 {
					t.Fatalf("kept %+v", u)
				}
			}
			if q, ok, err := e.Question(r); err == nil && ok && (len(q.Prompt) == 0 || len(q.Prompt) > 16) {
				t.Fatalf("asks %+v", q)
			}
		}
	})
}

// TestReadGoesOn after what is wrong with a line or an item, for a caller that does.
func TestReadGoesOn(t *testing.T) {
	for _, content := range []string{
		"{\"text\": \"a\"}\n{\"text\": 1}\n{\"tex\n{\"text\": \"b\"}",
		`[{"text": "a"}, {"text": 1}, 3, {"text": "b"}]`,
	} {
		var got []string
		for r, err := range read(strings.NewReader(content), "f", runconfig.Dataset{}) {
			var e *Error
			if errors.As(err, &e) {
				got = append(got, fmt.Sprint("error in ", e.Line))
			} else {
				got = append(got, fmt.Sprint(r.Text, r.Line))
			}
		}
		if want := []string{"a1", "error in 2", "error in 3", "b4"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", content, got, want)
		}
	}
}
