package inspect

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data"
	"github.com/alignment-dev/alignment-operator/runtime/tokenizer"
)

// byteTokenizer is a tokenizer of bytes, EOS and padding: a length in tokens is one in bytes.
func byteTokenizer(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Train(slices.Values([]string(nil)), 258, []string{tokenizer.EndOfText, tokenizer.Padding})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// source is a list of the lines of a file called role.
func source(t testing.TB, role string, use Use, e data.Encoder, lines ...string) Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), role)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return Source{Role: role, Use: use, Encoder: e, Datasets: []Dataset{{URI: role, Weight: 1, Records: data.Read(path, runconfig.Dataset{URI: role})}}}
}

func inspect(t testing.TB, o Options, sources ...Source) *Report {
	t.Helper()
	r, err := Inspect(sources, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found are the problems as "kind file:line".
func found(r *Report) (out []string) {
	for _, p := range r.Problems {
		for _, at := range p.At {
			out = append(out, strings.TrimSpace(p.Kind+" "+entry{file: at.File, line: at.Line}.String()))
		}
	}
	return out
}

func TestProblems(t *testing.T) {
	const (
		pair    = `{"prompt": "p", "chosen": "c", "rejected": "r"}`
		ranked  = `{"prompt": "p", "responses": ["a", "b", "c"], "ranks": [1, 2, 2]}`
		other   = `{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: x\n\nAssistant: c"}`
		both    = `{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}`
		long    = `{"prompt": "0123456789", "completion": "0123456789"}`
		turns   = `{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}`
		twice   = `{"messages": [{"role": "user", "content": "u"}, {"role": "user", "content": "v"}, {"role": "assistant", "content": "a"}]}`
		ended   = `{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]}`
		late    = `{"messages": [{"role": "user", "content": "u"}, {"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}]}`
		desired = `{"prompt": "p", "completion": "c", "label": true}`
	)
	limited := data.Encoder{MaxLength: 16}
	for _, c := range []struct {
		name     string
		use      Use
		e        data.Encoder
		lines    []string
		want     []string
		examples int
		refused  bool
	}{
		{"nothing", Pairs, data.Encoder{}, []string{pair}, nil, 1, false},
		{"goes on after a line that cannot be used", Pairs, data.Encoder{}, []string{pair, `{"prompt": "p", "chosen": 1, "rejected": "r"}`, "{", "{\"prompt\": \"\xff\"}", pair},
			[]string{"invalid train:2", "invalid train:3", "invalid train:4", "duplicate train:5"}, 2, true},
		{"a format that the use does not have", Ranked, data.Encoder{}, []string{`{"text": "t"}`}, []string{"invalid train:1"}, 0, true},
		{"an empty file", Pairs, data.Encoder{}, nil, []string{"invalid train:0"}, 0, true},
		{"an empty response", Pairs, data.Encoder{}, []string{`{"prompt": "p", "chosen": "", "rejected": "r"}`, pair}, []string{"emptyResponse train:1"}, 1, false},
		{"nothing but empty ones", Pairs, data.Encoder{}, []string{`{"prompt": "p", "chosen": "", "rejected": "r"}`}, []string{"emptyResponse train:1"}, 0, true},
		{"one of three is empty", Ranked, data.Encoder{}, []string{`{"prompt": "p", "responses": ["a", "", "c"], "ranks": [1, 2, 3]}`}, []string{"emptyResponse train:1"}, 1, false},
		{"an hh pair of two prompts", Pairs, data.Encoder{}, []string{both, other}, []string{"otherPrompt train:2"}, 1, false},
		{"of which KTO keeps one side", Unpaired, data.Encoder{}, []string{both, other}, []string{"otherPrompt train:2"}, 3, false},
		{"and SFT the chosen one", Sequences, data.Encoder{}, []string{both, other}, nil, 2, false},
		{"an undesirable completion", Sequences, data.Encoder{}, []string{desired, `{"prompt": "p", "completion": "d", "label": false}`}, []string{"undesirable train:2"}, 1, false},
		{"which KTO learns", Unpaired, data.Encoder{}, []string{desired, `{"prompt": "p", "completion": "d", "label": false}`}, nil, 2, false},
		{"no prompt", Prompts, data.Encoder{}, []string{`{"prompt": ""}`, `{"prompt": "p"}`}, []string{"emptyPrompt train:1"}, 1, false},
		{"fits", Sequences, data.Encoder{MaxLength: 21}, []string{long}, nil, 1, false},
		{"does not fit", Sequences, limited, []string{long}, []string{"promptCut train:1", "responseCut train:1"}, 1, false},
		{"the prompt alone", Sequences, data.Encoder{MaxLength: 12}, []string{`{"prompt": "0123456789", "completion": "01"}`}, []string{"promptCut train:1"}, 1, false},
		{"the prompt's own limit", Sequences, data.Encoder{MaxPromptLength: 9}, []string{long}, []string{"promptCut train:1"}, 1, false},
		{"a prompt that its answer leaves no room", Prompts, limited, []string{long}, []string{"promptCut train:1"}, 1, false},
		{"no room for a response", Sequences, data.Encoder{MaxLength: 8, MaxPromptLength: 8}, []string{long}, []string{"cutOff train:1"}, 0, true},
		{"the same responses", Pairs, data.Encoder{}, []string{`{"prompt": "p", "chosen": "c", "rejected": "c"}`}, []string{"sameResponses train:1"}, 1, false},
		{"the same ones of one rank", Ranked, data.Encoder{}, []string{`{"prompt": "p", "responses": ["a", "b", "b"], "ranks": [1, 2, 2]}`, ranked}, nil, 2, false},
		{"the same ones of two", Ranked, data.Encoder{}, []string{`{"prompt": "p", "responses": ["b", "a", "b"], "ranks": [1, 2, 2]}`}, []string{"sameResponses train:1"}, 1, false},
		{"the same once cut", Pairs, data.Encoder{MaxLength: 4}, []string{`{"prompt": "p", "chosen": "same a", "rejected": "same b"}`}, []string{"responseCut train:1", "sameResponses train:1"}, 1, false},
		{"duplicates", Natural, data.Encoder{}, []string{ranked, ranked, `{"prompt": "p", "responses": ["a", "b", "c"], "ranks": [1, 2, 3]}`, ranked}, []string{"duplicate train:2", "duplicate train:4"}, 4, false},
		{"roles", Sequences, data.Encoder{}, []string{turns, twice, ended, late}, []string{"turns train:2", "turns train:3", "turns train:4"}, 4, false},
		{"broken text", Sequences, data.Encoder{}, []string{`{"text": "a\ud800"}`, `{"text": "ü"}`}, []string{"brokenText train:1"}, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.e.Tokenizer = byteTokenizer(t)
			r := inspect(t, Options{}, source(t, "train", c.use, c.e, c.lines...))
			if diff := cmp.Diff(c.want, found(r)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if got := r.Lists[0].Examples; got != c.examples || r.Refused() != c.refused {
				t.Errorf("got %d examples, refused %v, want %d, %v", got, r.Refused(), c.examples, c.refused)
			}
		})
	}
}

func TestLeaks(t *testing.T) {
	line := func(prompt, completion string) string {
		return `{"prompt": "` + prompt + `", "completion": "` + completion + `"}`
	}
	e := data.Encoder{Tokenizer: byteTokenizer(t)}
	train := []string{line("a", "1"), line("b", "1"), line("c", "1"), line("", "1")}
	r := inspect(t, Options{}, source(t, "train", Sequences, e, append(train, train[0])...),
		source(t, "eval", Sequences, e, line("a", "1"), line("b", "2"), line("d", "1"), line("", "2")))
	if got, want := found(r), []string{"duplicate train:5", "trainedOn eval:1", "promptTrainedOn eval:2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, p := range r.Problems[:2] {
		if got := p.At[0].Message; got != "as train:1" {
			t.Errorf("%s: got %q, want the first line that is the same", p.Kind, got)
		}
	}

	// A part that is held out: each record is there twice, so a held-out one is trained on unless both are held out.
	s := source(t, "train", Sequences, e, slices.Concat(train, train)...)
	s.HoldOut = 0.25
	r = inspect(t, Options{Seed: 5}, s)
	trained, held := data.Split(8, 0.25, 5)
	var want []string
	for _, h := range held {
		if slices.Contains(trained, (h+4)%8) {
			want = append(want, entry{file: "train", line: h + 1}.String())
		}
	}
	got := []string{}
	for _, f := range found(r) {
		if at, ok := strings.CutPrefix(f, TrainedOn+" "); ok {
			got = append(got, at)
		}
	}
	if len(want) == 0 || !slices.Equal(got, want) || r.Lists[0].HeldOut != 2 {
		t.Errorf("got %q and %d held out, want %q and 2", got, r.Lists[0].HeldOut, want)
	}
}

// TestWeights: an epoch has as many examples of a dataset as data.Plan takes of it.
func TestWeights(t *testing.T) {
	e := data.Encoder{Tokenizer: byteTokenizer(t)}
	lines := slices.Repeat([]string{`{"prompt": "p", "chosen": "c", "rejected": "r"}`}, 40)
	s := source(t, "train", Unpaired, e, lines...)
	s.Datasets = append(s.Datasets, source(t, "more", Unpaired, e, append(lines, "{")...).Datasets...)
	s.Datasets[0].Weight, s.Datasets[1].Weight, s.HoldOut = 0.25, 3, 0.25
	l := inspect(t, Options{}, s).Lists[0]
	var weights []float64
	trained, _ := data.Split(80, s.HoldOut, 0)
	for _, i := range trained {
		w := s.Datasets[i/40].Weight
		weights = append(weights, w, w) // a record has two examples
	}
	var want [2]float64
	for _, batch := range data.Plan(make([]int, len(weights)), weights, 1, 0, 0) {
		if weights[batch[0]] == 0.25 {
			want[0]++
		} else {
			want[1]++
		}
	}
	for i, d := range l.Datasets {
		if d.Examples != 80 || math.Abs(d.Epoch-want[i]) > 0.5 {
			t.Errorf("%s: got %d examples, %g an epoch, want 80, %g", d.URI, d.Examples, d.Epoch, want[i])
		}
	}
	var b strings.Builder
	r := Report{Lists: []*List{l}}
	if err := r.Text(&b, false); err != nil || !strings.Contains(b.String(), "  more: 80 examples, "+strconv.FormatFloat(want[1], 'f', 0, 64)+" an epoch\n") {
		t.Errorf("got %s, %v", b.String(), err)
	}
}

// TestMasks: what is shown as trained on is what counts in the loss.
func TestMasks(t *testing.T) {
	lines := []string{
		`{"text": "abc"}`,
		`{"prompt": "Why? ", "completion": "So it is."}`,
		`{"prompt": "", "completion": "So it is."}`,
		`{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}, {"role": "assistant", "content": "b"}]}`,
	}
	llama3, err := tokenizer.Load("../../tokenizer/testdata/llama3")
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range []*tokenizer.Tokenizer{byteTokenizer(t), llama3} {
		for _, lossOn := range []string{"response", "all"} {
			for _, maxLength := range []int{0, 8, 40} {
				for _, line := range lines {
					e := data.Encoder{Tokenizer: tok, LossOn: lossOn, MaxLength: maxLength}
					s := source(t, "train", Natural, e, line)
					r := inspect(t, Options{Examples: 1}, s)
					var want data.Sequence
					for rec := range s.Datasets[0].Records {
						if want, _, err = e.Sequence(rec); err != nil {
							t.Fatal(err)
						}
					}
					var text strings.Builder
					trained := 0
					for _, p := range r.Examples[0].Parts {
						for _, span := range p.Spans {
							text.WriteString(span.Text)
							if span.Trained {
								trained += len(tok.EncodeSpecial(span.Text))
							}
						}
					}
					count := 0
					for _, counts := range want.ResponseMask {
						if counts {
							count++
						}
					}
					_, bos := tok.BOS()
					if noPrompt := line == lines[0] || line == lines[2]; !bos && noPrompt != (r.Lists[0].lengths("prompt").Max == 0) {
						t.Errorf("%s: got %+v of the prompt", line, *r.Lists[0].lengths("prompt"))
					}
					if text.String() != tok.Decode(want.Tokens, false) || trained != count || r.Lists[0].Trained != count || r.Lists[0].Tokens != len(want.Tokens) {
						t.Errorf("%s, loss on %s, at most %d tokens: got %q with %d and %d of %d trained, want %q with %d of %d", line, lossOn, maxLength,
							text.String(), trained, r.Lists[0].Trained, r.Lists[0].Tokens, tok.Decode(want.Tokens, false), count, len(want.Tokens))
					}
				}
			}
		}
	}
}

func TestLengths(t *testing.T) {
	d := &Lengths{Of: "x"}
	for i := range 1000 {
		d.add((i*7)%1000 + 1) // 1 to 1000 in another order
	}
	d.finish()
	want := Lengths{Of: "x", Count: 1000, Mean: 500.5, Min: 1, P50: 500, P90: 900, P99: 990, Max: 1000}
	if diff := cmp.Diff(want, *d, cmp.AllowUnexported(Lengths{})); diff != "" {
		t.Error(diff)
	}
	d = &Lengths{}
	d.add(3)
	d.finish()
	if d.Min != 3 || d.P50 != 3 || d.P99 != 3 || d.Max != 3 || d.Mean != 3 {
		t.Errorf("of a single length: got %+v", *d)
	}
}

func TestText(t *testing.T) {
	e := data.Encoder{Tokenizer: byteTokenizer(t), MaxLength: 12}
	r := inspect(t, Options{Examples: 1, Locations: 1}, source(t, "train", Pairs, e,
		`{"prompt": "Why? ", "chosen": "Because\n it is \u001b[31m.", "rejected": "\ta"}`,
		`{"prompt": 1, "chosen": "a", "rejected": "b"}`,
		`{"prompt": "", "chosen": "", "rejected": "b"}`,
		`[]`))
	var b strings.Builder
	if err := r.Text(&b, false); err != nil {
		t.Fatal(err)
	}
	const want = `train: preference
  records 4, of which 2 cannot be used and 1 are dropped
  examples 1
  tokens 15, of which 10 are trained on; 15 more are cut off
  length in tokens  count  mean  min  p50  p90  p99  max
            prompt      1   5.0    5    5    5    5    5
            chosen      1  22.0   22   22   22   22   22
          rejected      1   3.0    3    3    3    3    3
             total      1  27.0   27   27   27   27   27

train: 2 invalid: cannot be used: a run ends with exit code 2
  train:2: prompt: is a number, want a text or a list of messages
  and 1 more
train: 1 emptyResponse: dropped: a response is empty
  train:3
train: 1 responseCut: a response is too long and loses its end, and so its EOS
  train:1: keeps 7 of 22 tokens

Examples: ">" is trained on, "|" is only read; ↵ ends a line, · is a space at an end.

train: train:1
prompt: 5 tokens
  | Why?·
chosen: 7 tokens (15 more are cut off)
  > Because
rejected: 3 tokens
  > 	a<|endoftext|>
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}

	// Colour says what the marks say, and nothing else.
	var coloured strings.Builder
	if err := r.Text(&coloured, true); err != nil {
		t.Fatal(err)
	}
	if got := strings.NewReplacer(green, "", plain, "").Replace(coloured.String()); got != want || strings.Count(coloured.String(), "> "+green) != 2 {
		t.Errorf("got %q", coloured.String())
	}
}

// TestTerminal: a text cannot give orders to the terminal that shows it.
func TestTerminal(t *testing.T) {
	r := Report{Lists: []*List{{Role: "train"}}, Problems: []*Problem{{At: []Location{{File: "\x1b[2J", Message: "\r\x07"}}}},
		Examples: []Example{{File: "\x1b]0;x\x07", Parts: []Part{{Spans: []Span{{Text: " a\x1b[31m\r\n\n\u202eb\xff\u0085 "}}}}}}}
	var b strings.Builder
	if err := r.Text(&b, false); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\r\x07\u202e\u0085") || strings.Contains(b.String(), "\xff") {
		t.Errorf("got %q", b.String())
	}
	if want := "  | ·a\\x1b[31m\\r↵\n  | ↵\n  | \\u202eb\\xff\\u0085·\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("got %q, want it to end with %q", b.String(), want)
	}
}

// TestExamples are chosen by seed, from all of a list, each once.
func TestExamples(t *testing.T) {
	lines := make([]string, 100)
	for i := range lines {
		lines[i] = `{"text": "abc"}`
	}
	s := source(t, "train", Sequences, data.Encoder{Tokenizer: byteTokenizer(t)}, lines...)
	of := func(seed uint64) (at []int) {
		for _, x := range inspect(t, Options{Examples: 10, Seed: seed}, s).Examples {
			at = append(at, x.Line)
		}
		return at
	}
	one, again, two := of(1), of(1), of(2)
	if !slices.Equal(one, again) || slices.Equal(one, two) {
		t.Errorf("got %v, %v of one seed and %v of another", one, again, two)
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(one)))
	if len(distinct) != 10 || distinct[9] <= 20 {
		t.Errorf("got lines %v of 100", one)
	}
	b, err := json.Marshal(inspect(t, Options{}, s))
	if err != nil || strings.Contains(string(b), "null") {
		t.Errorf("got %s, %v", b, err)
	}
}

// FuzzInspect: whatever a file holds is counted once, and cannot give orders to a terminal.
func FuzzInspect(f *testing.F) {
	for _, line := range []string{
		`{"text": "abc"}`, `{"prompt": "p\u001b[2J", "chosen": "c", "rejected": ""}`, `[{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2]}]`,
		`{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a\ud800"}]}`,
		`{"prompt": "p", "completion": "c", "label": false}` + "\n{\"prompt\": 1}", `{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": ""}`,
	} {
		for use := range uint8(6) {
			f.Add([]byte(line), use, use*3)
		}
	}
	path := filepath.Join(f.TempDir(), "data")
	tok := byteTokenizer(f)
	f.Fuzz(func(t *testing.T, content []byte, use, maxLength uint8) {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		r := inspect(t, Options{Examples: 2}, Source{
			Role: "train", Use: []Use{Natural, Sequences, Pairs, Unpaired, Ranked, Prompts}[use%6], HoldOut: 0.5,
			Encoder:  data.Encoder{Tokenizer: tok, MaxLength: int(maxLength)},
			Datasets: []Dataset{{Weight: 1, Records: data.Read(path, runconfig.Dataset{URI: "train"})}},
		})
		l := r.Lists[0]
		if l.Trained > l.Tokens || l.Cut < 0 || l.HeldOut > l.Examples || l.Examples == 0 && !r.Refused() || l.Invalid+l.Dropped > l.Records+1 {
			t.Errorf("got %+v", *l)
		}
		var b strings.Builder
		if err := r.Text(&b, false); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.String() {
			if c == utf8.RuneError && !strings.Contains(string(content), "\ufffd") && !strings.Contains(string(content), `\u`) || c < ' ' && c != '\n' && c != '\t' {
				t.Errorf("shows %q", c)
			}
		}
	})
}
