package report

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/metrics"
)

// example is a DPO run of n steps, whose strings all end in suffix.
func example(n int, suffix string) Report {
	r := Report{
		Title:  "godoc-dpo" + suffix,
		Method: "DPO" + suffix,
		Result: runconfig.Result{
			Reason: runconfig.ReasonSucceeded + suffix, Step: n, TotalSteps: n, Tokens: 1_234_567, Seconds: 123.4,
			RunHash: "8d2f0c4be1a0977c" + suffix,
			Output:  &runconfig.Artifact{Role: "checkpoint" + suffix, URI: "pvc://models/dpo" + suffix, Digest: "sha256:8d2f" + suffix},
			Inputs:  []runconfig.Artifact{{Role: "train" + suffix, URI: "pvc://data/pairs.jsonl" + suffix, Digest: "sha256:11aa" + suffix}},
			Metrics: map[string]float64{"eval_loss" + suffix: 0.4},
		},
		Config:   "version: 1\nmethod: DPO\n" + suffix,
		Samples:  []Sample{{"func Abs(x float64) float64" + suffix, "Returns the." + suffix, "Abs returns the absolute value of x." + suffix, "Abs returns |x|." + suffix}},
		Versions: map[string]string{"libtorch" + suffix: "1.13" + suffix},
	}
	for i := range n + 1 {
		x := float64(i) / float64(n)
		noise := 0.05 * math.Sin(float64(i*i))
		row := metrics.Row{Step: i, Time: time.Unix(int64(i), 0), Values: map[string]float64{
			"loss" + suffix: 0.69*math.Exp(-x) + noise, "rewards/accuracies": min(0.5+x/2, 0.9) + noise,
			"rewards/chosen": x/5 + noise, "rewards/rejected": -x + noise, "rewards/margins": x * 1.2,
			"kl": x * x, "grad_norm": 1 + noise, "learning_rate": 5e-7 * (1 - x),
		}}
		if i%max(n/10, 1) == 0 {
			row.Values["eval_loss"+suffix], row.Values["eval_rewards/accuracies"], row.Values["eval_rewards/margins"] = 0.7*math.Exp(-x*0.8), 0.5+x*0.3, x
		}
		r.History = append(r.History, row)
	}
	return r
}

// write renders r and parses the page.
func write(t *testing.T, r Report) (string, *html.Node) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := Write(path, r); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return string(b), doc
}

// elements counts a page's elements by name, and gathers its text.
func elements(doc *html.Node) (count map[string]int, text string) {
	count = map[string]int{}
	var b strings.Builder
	for n := range doc.Descendants() {
		switch n.Type {
		case html.ElementNode:
			count[n.Data]++
		case html.TextNode:
			b.WriteString(n.Data)
		}
	}
	return count, b.String()
}

func TestReport(t *testing.T) {
	r := example(100, "")
	page, doc := write(t, r)
	count, text := elements(doc)
	// loss, accuracies, margins, chosen and rejected, kl, grad_norm, learning_rate.
	if count["svg"] != 7 {
		t.Errorf("%d charts, want 7", count["svg"])
	}
	for _, want := range []string{
		"godoc-dpo", "DPO", "Succeeded", "8d2f0c4be1a0", "1,234,567", "2m3s", "10,004", "Held-out loss", "from 0.7",
		"Abs returns the absolute value of x.", "Abs returns |x|.", "pvc://data/pairs.jsonl", "sha256:8d2f", "method: DPO", "libtorch", "1.13",
		"Tokens/s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if again, _ := write(t, r); again != page {
		t.Error("the same report gives other bytes")
	}
	if len(page) > 200<<10 {
		t.Errorf("the page of 100 steps has %d bytes", len(page))
	}
}

// Every string of a report can be hostile: none may become markup, style or an address.
func TestHostileStrings(t *testing.T) {
	_, plain := write(t, example(10, "x"))
	want, _ := elements(plain)
	for _, s := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</pre></style><svg onload=alert(1)>`, `{{.Title}}`,
		`--><iframe src="javascript:alert(1)">`, `' onmouseover='x`, "\x00\xff\u202e\u2028", `]]></title><a href=//evil>`, `&lt;script&gt;`,
	} {
		_, doc := write(t, example(10, s))
		got, text := elements(doc)
		for name, n := range got {
			if n != want[name] {
				t.Errorf("%q: %d <%s>, want %d", s, n, name, want[name])
			}
		}
		if visible := strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd"); !strings.Contains(strings.ToValidUTF8(text, "\ufffd"), "Abs returns |x|."+visible) {
			t.Errorf("%q is not shown as it is", s)
		}
		for n := range doc.Descendants() {
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "href" || a.Key == "src" || a.Key == "style" {
					t.Errorf("%q: <%s %s=%q>", s, n.Data, a.Key, a.Val)
				}
			}
		}
	}
}

func TestEmptyAndFailedReports(t *testing.T) {
	_, doc := write(t, Report{})
	if count, _ := elements(doc); count["svg"]+count["table"]+count["article"] != 0 {
		t.Errorf("an empty report has %v", count)
	}
	_, doc = write(t, Report{Title: "x", Result: runconfig.Result{ExitCode: runconfig.ExitStopped, Reason: runconfig.ReasonDiverged, Message: "the loss is not finite"}})
	if _, text := elements(doc); !strings.Contains(text, "the loss is not finite") || !strings.Contains(text, "Diverged") {
		t.Errorf("a failed run's page says %q", text)
	}
}

func row(step int, name string, v float64) metrics.Row {
	return metrics.Row{Step: step, Values: map[string]float64{name: v}}
}

func TestChartsOfOddValues(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, c := range map[string]struct {
		values []float64
		want   string // the path; "" is no chart
	}{
		"one point":      {[]float64{1}, ""},
		"none":           {[]float64{nan, inf, -inf, 1e300}, ""},
		"one number":     {[]float64{1, nan}, ""},
		"line":           {[]float64{0, 1}, "M56.0 172.4L368.0 19.6"}, // 168 high with 1/22 of it, 7.6, free above and below: 180-7.6, 12+7.6
		"constant":       {[]float64{3, 3}, "M56.0 96.0L368.0 96.0"},
		"constant zero":  {[]float64{0, 0}, "M56.0 96.0L368.0 96.0"},
		"gap":            {[]float64{3, nan, 3}, "M56.0 96.0M368.0 96.0"},
		"beyond drawing": {[]float64{3, 1e300, 3}, "M56.0 96.0M368.0 96.0"},
	} {
		var rows []metrics.Row
		for i, v := range c.values {
			rows = append(rows, row(i, "loss", v))
		}
		got := charts(rows)
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%s: drew %q", name, got[0].Series[0].Raw)
		case c.want != "" && (len(got) != 1 || got[0].Series[0].Raw != c.want):
			t.Errorf("%s: drew %+v, want %q", name, got, c.want)
		}
	}
	if got := charts([]metrics.Row{row(5, "loss", 1), row(5, "loss", 2)}); len(got) != 0 {
		t.Errorf("two values of one step make a chart: %+v", got)
	}
}

func TestOnlyNoiseIsSmoothed(t *testing.T) {
	for _, c := range charts(example(100, "").History) {
		if got := c.Series[0].Smooth != ""; got != slices.Contains([]string{"loss", "rewards/accuracies", "rewards", "grad_norm"}, c.Title) {
			t.Errorf("%s: smoothed %v", c.Title, got)
		}
	}
	// 0, 1, 1 with half of the weight kept: 0; 1*0.5/(1-0.25); (0.5*0.5+0.5)/(1-0.125).
	points := make([]point, 20)
	points[0].y = 0
	for i := 1; i < len(points); i++ {
		points[i].y = 1
	}
	got := smooth(points) // keep = 1 - 20/40 = 0.5
	for i, want := range []float64{0, 0.5 / 0.75, 0.75 / 0.875} {
		if math.Abs(got[i].y-want) > 1e-12 {
			t.Errorf("smooth[%d] = %g, want %g", i, got[i].y, want)
		}
	}
}

func TestThinKeepsSpikes(t *testing.T) {
	points := make([]point, 100_000)
	for i := range points {
		points[i] = point{float64(i), 1}
	}
	points[54_321].y, points[77_777].y = 100, math.NaN()
	got := thin(points)
	if len(got) > maxPoints || !slices.Contains(got, point{54_321, 100}) {
		t.Errorf("%d points, or the spike is lost", len(got))
	}
	if !slices.IsSortedFunc(got, func(a, b point) int { return int(a.x - b.x) }) {
		t.Error("the points are out of order")
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		n      int
		least  float64
		want   []float64
	}{
		{0, 100, 5, 0, []float64{0, 20, 40, 60, 80, 100}},
		{-0.3, 1.1, 5, 0, []float64{0, 0.5, 1}},
		{0, 3, 6, 1, []float64{0, 1, 2, 3}}, // steps are whole
	} {
		got := ticks(c.lo, c.hi, c.n, c.least)
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("ticks(%g, %g) = %v, want %v", c.lo, c.hi, got, c.want)
		}
	}
	if got := number(ticks(-0.05, 1, 5, 0)[0]); got != "0" {
		t.Errorf("zero is labelled %q", got)
	}
	for _, e := range []extent{{1e30, 1e30}, {-1e30, 1e30}, {1, math.Nextafter(1, 2)}, {5e-324, 1e-323}} {
		e.pad()
		if got := ticks(e.lo, e.hi, 5, 0); len(got) > 11 {
			t.Errorf("ticks of %v: %v", e, got)
		}
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		count(0): "0", count(999): "999", count(1000): "1,000", count(-1234567): "-1,234,567", count(-123): "-123",
		seconds(1.234): "1.2s", seconds(3723.4): "1h2m3s", number(5e-7): "5e-07", number(0.123456): "0.1235",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
