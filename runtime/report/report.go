package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/metrics"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// Report is what a page shows. Empty parts are left out of it.
type Report struct {
	Title  string
	Method string
	Result runconfig.Result
	// Config is the RunConfig as YAML.
	Config  string
	History []metrics.Row
	Samples []Sample
	// Versions of what the run was built with: libtorch, trainer ...
	Versions map[string]string
}

// Sample is one held-out prompt and its answers.
type Sample struct {
	Prompt string `json:"prompt"`
	// Before and After training.
	Before string `json:"before"`
	After  string `json:"after"`
	// Reference is the data's own answer, if it has one.
	Reference string `json:"reference,omitempty"`
}

//go:embed report.html.tmpl
var page string

var tmpl = template.Must(template.New("report").Funcs(template.FuncMap{"short": short}).Parse(page))

// Write writes the page, whole or not at all. Strings of r may be anything: they are
// escaped. Equal reports give equal bytes.
func Write(path string, r Report) error {
	var b bytes.Buffer
	err := tmpl.Execute(&b, struct {
		Report
		Succeeded bool
		Facts     []fact
		Table     []line
		Charts    []chart
	}{r, r.Result.ExitCode == runconfig.ExitDone, facts(r), table(r), charts(r.History)})
	if err != nil {
		return fmt.Errorf("write report %s: %w", path, err)
	}
	return storage.WriteFile(path, b.Bytes(), 0o644)
}

// fact is a figure at the page's top.
type fact struct{ Label, Value, Note string }

// facts are the few figures to see first, as far as the run has them.
func facts(r Report) []fact {
	var fs []fact
	lines := table(r)
	for _, f := range []struct{ metric, label string }{
		{"eval_loss", "Held-out loss"}, {"eval_rewards/accuracies", "Reward accuracy"}, {"eval_rewards/margins", "Reward margin"},
		{"eval_objective/scores", "Reward"}, {"kl", "KL"}, {"eval_completions/mean_length", "Response length"},
	} {
		i := slices.IndexFunc(lines, func(l line) bool { return l.Name == f.metric })
		if i < 0 {
			continue
		}
		note := ""
		if lines[i].First != "" {
			note = "from " + lines[i].First
		}
		fs = append(fs, fact{f.label, lines[i].Last, note})
	}
	if r.Result.TotalSteps > 0 {
		fs = append(fs, fact{"Steps", strconv.Itoa(r.Result.Step), fmt.Sprintf("of %d", r.Result.TotalSteps)})
	}
	if s := r.Result.Seconds; s > 0 {
		fs = append(fs, fact{"Training time", seconds(s), ""})
		if r.Result.Tokens > 0 {
			fs = append(fs, fact{"Tokens/s", count(int64(float64(r.Result.Tokens) / s)), count(r.Result.Tokens) + " in all"})
		}
	}
	if n := r.Result.PeakMemoryBytes; n > 0 {
		fs = append(fs, fact{"Peak memory", fmt.Sprintf("%d MiB", n>>20), "of tensors"})
	}
	return fs
}

// line is a metric's row in the table.
type line struct{ Name, First, Last, Min, Max string }

// table has a line a metric, of the history and the result, in the charts' order.
func table(r Report) []line {
	type span struct{ first, last, min, max float64 }
	spans := map[string]*span{}
	for _, row := range r.History {
		for name, v := range row.Values {
			s := spans[name]
			if s == nil {
				s = &span{first: v, min: math.Inf(1), max: math.Inf(-1)}
				spans[name] = s
			}
			s.last = v
			if !math.IsNaN(v) {
				s.min, s.max = min(s.min, v), max(s.max, v)
			}
		}
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(spans)), maps.Keys(r.Result.Metrics))
	slices.SortFunc(names, compareMetrics)
	var lines []line
	for _, name := range slices.Compact(names) {
		l := line{Name: name}
		if s := spans[name]; s != nil {
			l.First, l.Last, l.Min, l.Max = number(s.first), number(s.last), number(s.min), number(s.max)
			if s.min > s.max { // no number at all
				l.Min, l.Max = "", ""
			}
		}
		if v, ok := r.Result.Metrics[name]; ok {
			l.Last = number(v)
		}
		lines = append(lines, l)
	}
	return lines
}

// number has four digits that count.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

// seconds is a duration as people say it.
func seconds(s float64) string {
	unit := time.Second
	if s < 10 {
		unit = 100 * time.Millisecond
	}
	// Beyond some 30 years it is no run's time, and beyond 292 a Duration is none either.
	return time.Duration(min(s, 1e9) * float64(time.Second)).Round(unit).String()
}

// count groups digits by thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short is the beginning of a digest or hash.
func short(s string) string {
	s = strings.TrimPrefix(s, "sha256:")
	return s[:min(len(s), 12)]
}
