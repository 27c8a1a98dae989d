package monitoring

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// root of the repository.
var root = filepath.Join("..", "..", "..")

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// names is a set of labels.
type names map[string]bool

func (n names) with(more ...string) names {
	all := maps.Clone(n)
	for _, m := range more {
		all[m] = true
	}
	return all
}

// exposed are the labels of every series that Prometheus has of us, by metric.
type exposed map[string]names

// target are the labels that a scrape by a PodMonitor adds.
var target = names{}.with("namespace", "pod", "container", "job", "instance", "endpoint")

var (
	operatorLine = regexp.MustCompile(`(?m)^(\w+) (gauge|counter|histogram|summary) ?([\w,]*)$`)
	trainerRow   = regexp.MustCompile("(?m)^\\| `(alignment_training_[a-z_0-9.*]+)` \\|")
)

// gather reads what is exposed: by the operator, as controllers/testdata/metrics.txt has it from a running one, and by
// trainers, as the table of docs/runconfig.md has it. Tests of controllers and runtime/run compare both with the
// real thing.
func gather(t *testing.T) exposed {
	t.Helper()
	all := exposed{"up": target}
	for _, m := range operatorLine.FindAllStringSubmatch(read(t, "controllers/testdata/metrics.txt"), -1) {
		own := target.with(strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' })...)
		all[m[1]] = own
		if m[2] == "histogram" {
			delete(all, m[1])
			all[m[1]+"_bucket"], all[m[1]+"_sum"], all[m[1]+"_count"] = own.with("le"), own, own
		}
	}
	for _, m := range trainerRow.FindAllStringSubmatch(read(t, "docs/runconfig.md"), -1) {
		all[m[1]] = target.with("kind", "name") // trainers.yaml adds these two
	}
	if all["alignment_stages"] == nil || all["alignment_training_loss"] == nil {
		t.Fatalf("only %d metrics are listed", len(all))
	}
	return all
}

// labelsOf are the labels of an expression's result. An error names what is asked for and is not there.
func (e exposed) labelsOf(expr parser.Expr) (names, error) {
	switch n := expr.(type) {
	case *parser.VectorSelector:
		return e.selector(n)
	case *parser.MatrixSelector:
		return e.labelsOf(n.VectorSelector)
	case *parser.ParenExpr:
		return e.labelsOf(n.Expr)
	case *parser.UnaryExpr:
		return e.labelsOf(n.Expr)
	case *parser.NumberLiteral, *parser.StringLiteral:
		return nil, nil
	case *parser.AggregateExpr:
		inner, err := e.labelsOf(n.Expr)
		if err != nil || n.Without {
			return inner, err
		}
		return names{}.with(n.Grouping...), has(inner, n.Grouping)
	case *parser.Call:
		return e.call(n)
	case *parser.BinaryExpr:
		left, err := e.labelsOf(n.LHS)
		if err != nil {
			return nil, err
		}
		right, err := e.labelsOf(n.RHS)
		if err != nil {
			return nil, err
		}
		switch { // a scalar has no labels
		case left == nil:
			return right, nil
		case right == nil:
			return left, nil
		}
		if !maps.Equal(left, right) && (n.VectorMatching == nil || len(n.VectorMatching.MatchingLabels) == 0) {
			return nil, fmt.Errorf("the sides of %s have the labels %v and %v: nothing matches", n.Op, left, right)
		}
		return left, nil
	}
	return nil, fmt.Errorf("%T: teach this test", expr)
}

func (e exposed) call(n *parser.Call) (names, error) {
	var all names
	for _, a := range n.Args {
		l, err := e.labelsOf(a)
		if err != nil {
			return nil, err
		}
		if l != nil {
			all = maps.Clone(l)
		}
	}
	switch n.Func.Name {
	case "histogram_quantile":
		if !all["le"] {
			return nil, fmt.Errorf("histogram_quantile of what has no le")
		}
		delete(all, "le")
	case "absent":
		all = names{}
	}
	return all, nil
}

func (e exposed) selector(n *parser.VectorSelector) (names, error) {
	has, ok := e[n.Name]
	if !ok {
		return nil, fmt.Errorf("no metric %s is exposed", n.Name)
	}
	for _, m := range n.LabelMatchers {
		if m.Name == labels.MetricName {
			continue
		}
		if !has[m.Name] {
			return nil, fmt.Errorf("%s has no label %s", n.Name, m.Name)
		}
		if err := e.values(m); err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return has, nil
}

// values says whether a label can have the values that are asked for.
func (e exposed) values(m *labels.Matcher) error {
	known := func(value string) bool { return true }
	switch m.Name {
	case "kind":
		known = func(v string) bool { return slices.Contains(v1alpha1.StageKinds, v1alpha1.StageKind(v)) }
	case "phase":
		known = func(v string) bool { return slices.Contains(v1alpha1.Phases, v1alpha1.Phase(v)) }
	case "reason":
		known = func(v string) bool { return v == v1alpha1.ReasonQueued }
	case "controller":
		known = func(v string) bool {
			return slices.ContainsFunc(v1alpha1.StageKinds, func(k v1alpha1.StageKind) bool { return strings.ToLower(string(k)) == v })
		}
	case "metric":
		known = func(v string) bool { return e["alignment_training_"+strings.ReplaceAll(v, "/", "_")] != nil }
	}
	for _, v := range strings.Split(m.Value, "|") {
		if v != ".*" && !known(v) {
			return fmt.Errorf("%s is never %q", m.Name, v)
		}
	}
	return nil
}

func has(all names, want []string) error {
	for _, w := range want {
		if !all[w] {
			return fmt.Errorf("grouped by %s, which is not among %v", w, slices.Sorted(maps.Keys(all)))
		}
	}
	return nil
}

// The check itself finds what it is for.
func TestCheckFinds(t *testing.T) {
	e := gather(t)
	for expr, want := range map[string]string{
		`alignment_stage`: "no metric alignment_stage is exposed",
		`sum by (kind) (rate(alignment_runs_total{results="failed"}[5m]))`:                         "has no label results",
		`alignment_stages{phase="Done"}`:                                                           `phase is never "Done"`,
		`alignment_stage_metric{metric="reward/accuracy"}`:                                         `metric is never "reward/accuracy"`,
		`sum by (stage) (alignment_stages)`:                                                        "grouped by stage",
		`histogram_quantile(0.9, sum by (kind) (rate(alignment_job_creation_seconds_bucket[5m])))`: "has no le",
		`max by (kind) (alignment_stages) > max by (phase) (alignment_stages)`:                     "nothing matches",
	} {
		parsed, err := promql.ParseExpr(expr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.labelsOf(parsed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", expr, err, want)
		}
	}
}

var promql = parser.NewParser(parser.Options{})
