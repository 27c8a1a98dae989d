package runconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// minimal is the shortest valid file; tests add lines to it or replace some.
const minimal = `version: 1
method: DPO
seed: 1
model:
  uri: file:///m
data:
  train:
    - uri: file:///d
output:
  uri: file:///o
`

func parse(t *testing.T, text string) *RunConfig {
	t.Helper()
	c, err := Parse("run.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	got := parse(t, minimal)
	want := &RunConfig{
		Version: 1, Method: DPO, Seed: 1,
		Model:     Model{Source: Source{URI: "file:///m"}},
		Data:      Data{Train: []Dataset{{URI: "file:///d", Format: "auto"}}, MaxLength: 512, LossOn: "response"},
		Objective: &Objective{Type: "DPO", Beta: 0.1},
		Training: Training{Epochs: 1, BatchSize: 32, MicroBatchSize: 32, LearningRate: 5e-7, Schedule: "cosine",
			Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Precision: "float32", LogSteps: got.Training.LogSteps},
		Evaluation: Evaluation{MaxNewTokens: 64},
		Checkpoint: Checkpoint{KeepLast: 2},
		Output:     Output{URI: "file:///o"},
		Placement:  Placement{Device: "auto"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// Bad input names the file, line and field.
func TestParseErrors(t *testing.T) {
	replace := func(old, new string) string {
		if !strings.Contains(minimal, old) {
			t.Fatalf("minimal has no %q", old)
		}
		return strings.Replace(minimal, old, new, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":               {"", `run.yaml:1: version: got 0, this trainer reads 1`},
		"only a comment":      {"# nothing\n", `run.yaml:1: version: got 0, this trainer reads 1`},
		"list":                {"[]", `run.yaml:1: got a list, want a mapping`},
		"no YAML":             {"version: 1\n  method: SFT\n", `run.yaml:2: mapping values are not allowed in this context`},
		"other version":       {replace("version: 1", "version: 2"), `run.yaml:1: version: got 2, this trainer reads 1`},
		"version as text":     {replace("version: 1", `version: "1"`), `run.yaml:1: version: got "1", want a whole number`},
		"fractional version":  {replace("version: 1", `version: 1.5`), `run.yaml:1: version: got "1.5", want a whole number`},
		"unknown field":       {minimal + "sed: 1\n", `run.yaml:11: sed: unknown field`},
		"unknown deep field":  {replace("uri: file:///d", "uri: file:///d\n      diggest: x"), `run.yaml:9: data.train[0].diggest: unknown field`},
		"field of other case": {minimal + "Placement: {}\n", `run.yaml:11: Placement: unknown field`},
		"field twice":         {minimal + "seed: 2\n", `run.yaml:11: mapping key "seed" already defined at line 3`},
		"two documents":       {minimal + "---\n" + minimal, `run.yaml: more than one YAML document`},
		"text for number":     {minimal + "training:\n  batchSize: many\n", `run.yaml:12: training.batchSize: got "many", want a whole number`},
		"number for mapping":  {minimal + "training: 5\n", `run.yaml:11: training: got "5", want a mapping`},
		"list for mapping":    {minimal + "training:\n  - 5\n", `run.yaml:12: training: got a list, want a mapping`},
		"mapping for list":    {replace("    - uri: file:///d", "    uri: file:///d"), `run.yaml:8: data.train: got a mapping, want a list`},
		"text for truth":      {minimal + "objective: {precomputeReference: 1}\n", `run.yaml:11: objective.precomputeReference: got "1", want true or false`},
		"fraction for int":    {minimal + "training: {batchSize: 1.5}\n", `run.yaml:11: training.batchSize: got "1.5", want a whole number`},
		"seed beyond 64 bits": {replace("seed: 1", "seed: 18446744073709551616"), `run.yaml:3: seed: got "18446744073709551616", want a whole number`},
		"negative seed":       {replace("seed: 1", "seed: -1"), `run.yaml:3: seed: got "-1", want a whole number`},
		"bad value":           {minimal + "training:\n  epochs: 1\n  schedule: step\n", `run.yaml:13: training.schedule: got "step", want one of cosine, linear, constant`},
		"not a number":        {minimal + "training:\n  learningRate: .nan\n", `run.yaml:12: training.learningRate: got NaN, want a positive number`},
		"missing field":       {replace("output:\n  uri: file:///o\n", ""), `run.yaml:1: output.uri: got "", want file:///path or pvc://claim/path`},
		"rule of another kind": {strings.Replace(minimal, "method: DPO", "method: SFT", 1) + "stop:\n  maxLoss: 3\n  minRewardAccuracy: 0.5\n",
			`run.yaml:13: stop.minRewardAccuracy: SFT has no pairs whose order could be right or wrong`},
		"number for rules":     {minimal + "stop: 5\n", `run.yaml:11: stop: got "5", want a mapping`},
		"text for a rule":      {minimal + "stop: {maxKL: far}\n", `run.yaml:11: stop.maxKL: got "far", want a number`},
		"fractional steps":     {minimal + "stop: {maxLoss: 1, afterSteps: 1.5}\n", `run.yaml:11: stop.afterSteps: got "1.5", want a whole number`},
		"several":              {minimal + "training: {schedule: a, precision: b}\n", `training.schedule: got "a", want one of cosine, linear, constant; run.yaml:11: training.precision: got "b"`},
		"larger than a config": {minimal + "#" + strings.Repeat("x", 1<<20), `run.yaml: larger than 1 MiB`},
	} {
		_, err := Parse("run.yaml", []byte(c.text))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\ngot  %v\nwant %s", name, err, c.want)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\t") {
			t.Errorf("%s: the error is not one line: %q", name, err)
		}
	}
}

// A file of 1 MiB may stand for terabytes, or for a day's work.
func TestBombs(t *testing.T) {
	level := func(of, item string, n int) string { return of + ": [" + strings.Repeat(item+", ", n-1) + item + "]" }
	laughs := []string{"    a0: &a0 lol"}
	for i := range 12 {
		laughs = append(laughs, fmt.Sprintf("    a%d: &a%d %s", i+1, i+1, strings.TrimPrefix(level("", fmt.Sprintf("*a%d", i), 10), ": ")))
	}
	keys := make([]string, 30_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%d: 1", i)
	}
	anchored := "&d {uri: \"file:///d\", " + strings.Join(keys, ", ") + "}"
	for name, c := range map[string]struct{ text, want string }{
		"billion laughs":       {strings.Replace(minimal, "  uri: file:///m", "  init:\n"+strings.Join(laughs, "\n"), 1), "more than 100000 values"},
		"itself":               {strings.Replace(minimal, "  uri: file:///m", "  init: &x {a: *x}", 1), "run.yaml:5: more than 100000 values"},
		"deep":                 {strings.Replace(minimal, "  uri: file:///m", "  init: "+strings.Repeat("{a: ", 200_000), 1), "exceeded max depth"},
		"deep list":            {minimal + "training: " + strings.Repeat("[", 200_000), "exceeded max depth"},
		"aliases of much":      {strings.Replace(minimal, "    - uri: file:///d", "    - "+anchored+strings.Repeat("\n    - *d", 30_000), 1), "run.yaml:8: a mapping of more than 1000 keys"},
		"endless number":       {minimal + "training: {batchSize: 1" + strings.Repeat("0", 500_000) + "}\n", "want a whole number"},
		"endless key":          {minimal + "x" + strings.Repeat("x", 500_000) + ": 1\n", "run.yaml"},
		"many unknown fields":  {minimal + strings.ReplaceAll(strings.Join(keys, "\n"), "k", "j") + "\n", "a mapping of more than 1000 keys"},
		"aliases of a little":  {strings.Replace(minimal, "    - uri: file:///d", "    - &d {uri: \"file:///d\", "+strings.Join(keys[:900], ", ")+"}"+strings.Repeat("\n    - *d", 30_000), 1), "more than 100000 values"},
		"some unknown fields":  {minimal + strings.ReplaceAll(strings.Join(keys[:900], "\n"), "k", "j") + "\n", "j19: unknown field"},
		"many invalid entries": {strings.Replace(minimal, "    - uri: file:///d", strings.Repeat("    - {uri: x}\n", 30_000), 1), "data.train[19].uri"},
		"merged bombs":         {minimal + "training: {<<: [" + strings.Repeat("*m, ", 1000) + "*m]}\nplacement: &m {threads: 1}\n", "unknown anchor"},
	} {
		_, err := Parse("run.yaml", []byte(c.text))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %.300v, want %s", name, err, c.want)
		}
		if err != nil && len(err.Error()) > 1<<20 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
}

func TestWholeNumbersInOtherSpellings(t *testing.T) {
	c := parse(t, minimal+"training: {maxSteps: 1e3, batchSize: 0x10, microBatchSize: 4.0}\n")
	if got := c.Training; got.MaxSteps != 1000 || got.BatchSize != 16 || got.MicroBatchSize != 4 {
		t.Errorf("got %+v", got)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.yaml")
	if _, err := Load(path); !errors.Is(err, ErrInvalid) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte(minimal), 0o644); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path); err != nil || c.Method != DPO {
		t.Errorf("%+v, %v", c, err)
	}
}

// FuzzParse: no input panics; what is accepted is valid and survives writing and reading,
// with the same hash.
func FuzzParse(f *testing.F) {
	golden, err := filepath.Glob("testdata/v1-*.yaml")
	if err != nil || len(golden) < 2 {
		f.Fatal(golden, err)
	}
	for _, path := range golden {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	for _, s := range []string{minimal, "", "a: &a [*a]", "version: 1\ndata: {train: &a [*a]}", "version: 1\n<<: {method: SFT}", "!!binary x", "version: 1\nmodel: {init: {1: {2: !!float 3}}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("x", []byte(text))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("Parse accepts what Validate refuses: %v", err)
		}
		b, err := Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("y", b)
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		h1, err1 := c.Hash()
		h2, err2 := again.Hash()
		if h1 != h2 || err1 != nil || err2 != nil {
			t.Fatalf("hash %s, %v became %s, %v\n%s", h1, err1, h2, err2, b)
		}
	})
}
