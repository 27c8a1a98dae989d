package monitoring

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// dashboard is the part of Grafana's model that has queries.
type dashboard struct {
	Templating struct {
		List []struct {
			Name, Type string
			Query      json.RawMessage
		}
	}
	Panels []struct {
		Title, Type string
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct{ Expr, LegendFormat string }
	}
}

var (
	legendLabel = regexp.MustCompile(`{{(\w+)}}`)
	labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
)

// Each query of the dashboard parses, and asks for metrics and labels that are exposed; each legend too.
func TestDashboard(t *testing.T) {
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "config/prometheus/dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	variables := []string{"$__rate_interval", "5m"}
	for _, v := range d.Templating.List {
		variables = append(variables, "$"+v.Name, ".*")
	}
	filled := strings.NewReplacer(variables...)
	e := gather(t)
	labelsOf := func(where, query string) names {
		query = filled.Replace(query)
		if strings.Contains(query, "$") {
			t.Errorf("%s: %s: an unknown variable", where, query)
		}
		expr, err := promql.ParseExpr(query)
		if err != nil {
			t.Errorf("%s: %s: %v", where, query, err)
			return nil
		}
		got, err := e.labelsOf(expr)
		if err != nil {
			t.Errorf("%s: %s: %v", where, query, err)
		}
		return got
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		var q struct{ Query string }
		if err := json.Unmarshal(v.Query, &q); err != nil {
			t.Fatal(err)
		}
		m := labelValues.FindStringSubmatch(q.Query)
		if m == nil {
			t.Errorf("variable %s: %q is no label_values(metric, label)", v.Name, q.Query)
			continue
		}
		if got := labelsOf("variable "+v.Name, m[1]); !got[m[2]] {
			t.Errorf("variable %s: %s has no label %s", v.Name, m[1], m[2])
		}
	}
	queries, taken := 0, map[[2]int]string{}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			queries++
			got := labelsOf(p.Title, target.Expr)
			for _, l := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !got[l[1]] {
					t.Errorf("%s: the legend names %s, the result has %v", p.Title, l[1], got)
				}
			}
		}
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("%s has no query", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if queries < 20 {
		t.Errorf("only %d queries were checked", queries)
	}
}
