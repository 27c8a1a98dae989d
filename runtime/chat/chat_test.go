package chat

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// What transformers renders: see hack/goldens/chat.
type vector struct {
	Template  string // a file of testdata/templates, or the template itself (Snippet)
	Snippet   bool
	Messages  json.RawMessage
	Kwargs    json.RawMessage
	Generate  bool
	Text      *string // nil: an error
	Generated [][2]int
}

func (v vector) input(t testing.TB) Input {
	t.Helper()
	in := Input{AddGenerationPrompt: v.Generate, Variables: map[string]any{"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}, Now: time.Date(2024, 7, 6, 9, 5, 3, 0, time.UTC)}
	messages, err := FromJSON(v.Messages)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages.([]any) {
		in.Messages = append(in.Messages, m.(*Dict))
	}
	kwargs, err := FromJSON(v.Kwargs)
	if err != nil {
		t.Fatal(err)
	}
	d := kwargs.(*Dict)
	for _, k := range d.keys {
		if k == "tools" {
			in.Tools = d.values[k].([]any)
		} else {
			in.Variables[k.(string)] = d.values[k]
		}
	}
	return in
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if err := lines.Err(); err != nil || len(all) < 1900 {
		t.Fatalf("%d vectors, %v", len(all), err)
	}
	return all
}

func source(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/templates/" + name + ".jinja")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRendersAsTransformers(t *testing.T) {
	families := make(map[string]int)
	for _, v := range vectors(t) {
		jinja := v.Template
		if !v.Snippet {
			jinja = source(t, v.Template)
			families[v.Template]++
		}
		var out Output
		template, err := Parse(jinja)
		if err == nil {
			out, err = template.Render(v.input(t))
		}
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 {
				t.Errorf("%s: %v is not an *Error with its line", v.Template, err)
			}
		}
		switch {
		case v.Text == nil && err == nil:
			t.Errorf("%s of %s %s: %q, want an error", v.Template, v.Messages, v.Kwargs, out.Text)
		case v.Text != nil && err != nil:
			t.Errorf("%s of %s %s: %v, want %q", v.Template, v.Messages, v.Kwargs, err, *v.Text)
		case v.Text != nil && out.Text != *v.Text:
			t.Errorf("%s of %s %s:\ngot  %q\nwant %q", v.Template, v.Messages, v.Kwargs, out.Text, *v.Text)
		case v.Text != nil:
			if len(out.Generated) != len(v.Generated) {
				t.Errorf("%s: %d places of generation, want %d", v.Template, len(out.Generated), len(v.Generated))
				continue
			}
			runes := []rune(out.Text)
			for i, g := range v.Generated {
				want := string(runes[min(g[0], len(runes)):min(g[1], len(runes))])
				if got := out.Text[out.Generated[i][0]:out.Generated[i][1]]; got != want {
					t.Errorf("%s: generation %d is %q, want %q", v.Template, i, got, want)
				}
			}
		}
	}
	if len(families) < 10 {
		t.Errorf("%d templates, want 10 at least", len(families))
	}
}

// What a hostile template asks for ends in an error, soon.
func TestHostileTemplates(t *testing.T) {
	deep := func(open, end string) string {
		return strings.Repeat(open, 100_000) + "1" + strings.Repeat(end, 100_000)
	}
	for name, jinja := range map[string]string{
		"loops":             "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
		"recursion":         "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
		"doubling":          "{% set n = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(99999) %}{% set n.s = n.s + n.s %}{% endfor %}",
		"doubling of lists": "{% set n = namespace(s=[1, 2, 3]) %}{% for i in range(99999) %}{% set n.s = n.s + n.s %}{% endfor %}",
		"nesting of lists":  "{% set n = namespace(s=[1]) %}{% for i in range(9999) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
		"nesting to JSON":   "{% set n = namespace(s=[1]) %}{% for i in range(9999) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s | tojson }}",
		"comparing nests":   "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.s == n.t }}",
		"looking in nests":  "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.s in [n.t] }}",
		"sorting nests":     "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ [n.s, n.t] | sort | length }}",
		"a set of a cycle":  "{% set n = namespace() %}{% set n.n = n %}{% set n.l = [n] %}{{ n.l | tojson }}",
		"repetition":        "{{ 'a' * 10000000000 }}",
		"repeated lists":    "{{ [1] * 10000000000 }}",
		"replacement":       "{% set n = namespace(s='a' * 100000) %}{% for i in range(100) %}{% set n.s = n.s.replace('a', 'aa') %}{% endfor %}",
		"empty replacement": "{{ ('a' * 100000000).replace('', 'b' * 100000) }}",
		"joins":             "{% set s = 'a' * 100000 %}{{ range(99999) | join(s) }}",
		"output":            "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s }}{% endfor %}",
		"large numbers":     "{% set n = namespace(x=9) %}{% for i in range(99999) %}{% set n.x = n.x * n.x %}{% endfor %}",
		"powers":            "{{ 9 ** 9 ** 9 }}",
		"width":             "{{ 'a'.ljust(10000000000) }}",
		"format":            "{{ '%1000000000d' % 1 }}",
		"range":             "{{ range(0, 10000000000) }}",
		"indent":            "{{ 'a\n' | indent(1000000000) }}",
		"parentheses":       "{{ " + deep("(", ")") + " }}",
		"lists":             "{{ " + deep("[", "]") + " }}",
		"not":               "{{ " + strings.Repeat("not ", 100_000) + "1 }}",
		"minus":             "{{ " + strings.Repeat("-", 100_000) + "1 }}",
		"sums":              "{{ 1" + strings.Repeat("+1", 100_000) + " }}",
		"filters":           "{{ 1" + strings.Repeat("|abs", 100_000) + " }}",
		"attributes":        "{{ a" + strings.Repeat(".a", 100_000) + " }}",
		"ifs":               deep("{% if 1 %}", "{% endif %}"),
		"elifs":             "{% if 0 %}" + strings.Repeat("{% elif 0 %}", 100_000) + "{% endif %}",
		"strings":           "{% for i in range(99999) %}{{ ('a' * 1000000) | upper | length }}{% endfor %}",
		"slices":            "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s[::2] | length }}{% endfor %}",
		"indices":           "{% set s = 'a' * 10000000 %}{% for i in range(99999) %}{{ s[5] }}{% endfor %}",
		"searches":          "{% set s = 'a' * 10000000 %}{% for i in range(99999) %}{{ 'b' in s }}{% endfor %}",
		"equalities":        "{% set s = 'a' * 10000000 %}{% set t = s ~ 'b' %}{% for i in range(99999) %}{{ s < t }}{% endfor %}",
		"lengths":           "{% set s = 'a' * 10000000 %}{% for i in range(99999) %}{{ s | length }}{% endfor %}",
		"trims":             "{% set s = ' ' * 10000000 %}{% for i in range(99999) %}{{ s | trim }}{{ s.strip() }}{% endfor %}",
		"counts":            "{% set s = ' ' * 10000000 %}{% for i in range(99999) %}{{ s.count('b') }}{{ s | wordcount }}{% endfor %}",
		"generation":        "{% for i in range(99999) %}{{ 'a' * 600 }}{% generation %}a{% endgeneration %}{% endfor %}",
		"the environment":   "{{ ''.__class__.__mro__ }}",
		"files":             "{% include '/etc/passwd' %}",
		"imports":           "{% import 'os' as os %}",
	} {
		t.Run(name, func(t *testing.T) {
			template, err := Parse(jinja)
			if err == nil {
				_, err = template.Render(Input{})
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("got %v, want an *Error", err)
			}
		})
	}
}

func TestErrorsTellTheLine(t *testing.T) {
	for jinja, want := range map[string]string{
		"a\nb\n{{ x.y.z }}": "line 3: x is undefined",
		"a\n{% for i in [1] %}\n{% if i %}\n{{ raise_exception('sorry') }}{% endif %}{% endfor %}": "line 4: sorry",
		"\n{% include 'x' %}":   `line 2: a block "include" is not supported`,
		"\n\n{{ 1 | nope }}":    `line 3: a filter "nope" is not supported`,
		"{% if 1 %}\n\n":        "line 1: {% endif %} is missing",
		"{{ 1 is\nnope }}":      `line 2: a test "nope" is not supported`,
		"\n{{ [1].append(2) }}": "line 2: append is not allowed",
		"\n\n{{ now() }}":       "line 3: now is undefined",
		"\n{{ f(*x) }}":         "line 2: * before an argument",
		"a\n{# \n":              "line 2: a comment",
	} {
		template, err := Parse(jinja)
		if err == nil {
			_, err = template.Render(Input{})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", jinja, err, want)
		}
	}
}

// FuzzTemplate: no template makes Parse or Render panic, or hang.
func FuzzTemplate(f *testing.F) {
	seen := make(map[string]bool)
	for _, v := range vectors(f) {
		jinja := v.Template
		if !v.Snippet {
			jinja = source(f, v.Template)
		}
		if !seen[jinja] {
			seen[jinja] = true
			f.Add(jinja, "a <b>\n")
		}
	}
	f.Fuzz(func(t *testing.T, jinja, content string) {
		template, err := Parse(jinja)
		if err != nil {
			return
		}
		in := Input{Messages: []*Dict{NewDict("role", "user", "content", content), NewDict("role", "assistant", "content", content)}, Variables: map[string]any{"bos_token": "<s>"}, Now: time.Unix(0, 0)}
		out, err := template.Render(in)
		if err != nil {
			return
		}
		for _, g := range out.Generated {
			_ = out.Text[g[0]:g[1]]
		}
	})
}
