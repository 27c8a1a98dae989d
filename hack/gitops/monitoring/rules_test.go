package monitoring

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

// ruleFile is the PrometheusRule's groups as a file of Prometheus.
func ruleFile(t *testing.T) []byte {
	t.Helper()
	var rule struct {
		Spec any
	}
	if err := yaml.Unmarshal([]byte(read(t, "config/prometheus/rules.yaml")), &rule); err != nil {
		t.Fatal(err)
	}
	b, err := yaml.Marshal(rule.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The rules are what Prometheus loads; what they ask for is exposed; each is documented where its runbook_url says.
func TestRules(t *testing.T) {
	groups, errs := rulefmt.Parse(ruleFile(t), false, model.UTF8Validation, promql, promslog.NewNopLogger())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	e, page := gather(t), read(t, "docs/observability.md")
	tested := map[string]int{}
	for _, c := range alertCases {
		for _, fires := range c.fires {
			name, _, _ := strings.Cut(fires, " ")
			tested[name] |= 1
		}
		tested[c.alert] |= 2
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			expr, err := promql.ParseExpr(r.Expr)
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.labelsOf(expr)
			if err != nil {
				t.Errorf("%s: %v", r.Alert, err)
			}
			for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(fmt.Sprint(r.Annotations), -1) {
				if !got[m[1]] {
					t.Errorf("%s: an annotation names %s, the result has %v", r.Alert, m[1], got)
				}
			}
			if !strings.Contains(page, "### "+r.Alert+"\n") {
				t.Errorf("docs/observability.md has no section %s", r.Alert)
			}
			if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/observability.md#"+strings.ToLower(r.Alert)) {
				t.Errorf("%s: runbook_url is %s", r.Alert, r.Annotations["runbook_url"])
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s lacks a severity, summary or description", r.Alert)
			}
			if tested[r.Alert] != 3 {
				t.Errorf("%s is not tested both to fire and not to", r.Alert)
			}
		}
	}
}

const (
	stage  = `kind="DPOJob",namespace="a",name="x"`
	labelX = `kind=DPOJob name=x namespace=a`
)

// alertCases are series, a sample a minute, and the alerts that fire at a time. Where none does, alert says which is
// meant to be silent.
var alertCases = []struct {
	name   string
	series string
	at     time.Duration
	fires  []string
	alert  string
}{
	{"failed", `alignment_stage_phase{` + stage + `,phase="Failed",reason="Diverged"} 1x10`, time.Minute,
		[]string{"AlignmentStageFailed " + labelX + " reason=Diverged severity=warning"}, ""},
	{"failed, on both of two replicas for a moment", `alignment_stage_phase{` + stage + `,phase="Failed",reason="Diverged",pod="1"} 1x10
		alignment_stage_phase{` + stage + `,phase="Failed",reason="Diverged",pod="2"} 1x10`, time.Minute,
		[]string{"AlignmentStageFailed " + labelX + " reason=Diverged severity=warning"}, ""},
	{"not failed", `alignment_stage_phase{` + stage + `,phase="Succeeded",reason="Succeeded"} 1x10`, time.Minute, nil, "AlignmentStageFailed"},
	{"mended", `alignment_stage_phase{` + stage + `,phase="Failed",reason="Diverged"} 1x10 stale
		alignment_stage_phase{` + stage + `,phase="Running",reason="Training"} _x11 1x10`, 12 * time.Minute, nil, "AlignmentStageFailed"},

	{"pending, whatever the reason", `alignment_stage_phase{` + stage + `,phase="Pending",reason="PodPending"} 1x20 stale
		alignment_stage_phase{` + stage + `,phase="Pending",reason="Restarting"} _x21 1x20`, 35 * time.Minute,
		[]string{"AlignmentStagePending " + labelX + " severity=warning"}, ""},
	{"pending for a while", `alignment_stage_phase{` + stage + `,phase="Pending",reason="PodPending"} 1x60`, 29 * time.Minute, nil, "AlignmentStagePending"},
	{"queued by Kueue", `alignment_stage_phase{` + stage + `,phase="Pending",reason="Queued"} 1x600`, 10 * time.Hour, nil, "AlignmentStagePending"},
	{"waiting for another stage", `alignment_stage_phase{` + stage + `,phase="Waiting",reason="WaitingForInputs"} 1x600`, 10 * time.Hour, nil, "AlignmentStagePending"},

	{"one restart left", `alignment_stage_restarts{` + stage + `} 0 1 2x5
		alignment_stage_max_restarts{` + stage + `} 3x8`, 3 * time.Minute,
		[]string{"AlignmentRestartsNearlySpent " + labelX + " severity=warning"}, ""},
	{"the only restart is spent", `alignment_stage_restarts{` + stage + `} 1x5
		alignment_stage_max_restarts{` + stage + `} 1x5`, time.Minute,
		[]string{"AlignmentRestartsNearlySpent " + labelX + " severity=warning"}, ""},
	{"two restarts left", `alignment_stage_restarts{` + stage + `} 1x5
		alignment_stage_max_restarts{` + stage + `} 3x5`, time.Minute, nil, "AlignmentRestartsNearlySpent"},
	{"no restart, and none allowed", `alignment_stage_restarts{` + stage + `} 0x5
		alignment_stage_max_restarts{` + stage + `} 0x5`, time.Minute, nil, "AlignmentRestartsNearlySpent"},

	{"stands still", `alignment_stage_progress_timestamp_seconds{` + stage + `} 60x60`, 37 * time.Minute,
		[]string{"AlignmentProgressStopped " + labelX + " severity=warning"}, ""},
	{"gets on", `alignment_stage_progress_timestamp_seconds{` + stage + `} 0+60x60`, 37 * time.Minute, nil, "AlignmentProgressStopped"},
	{"a long step", `alignment_stage_progress_timestamp_seconds{` + stage + `} 0x32 1980+60x30`, 37 * time.Minute, nil, "AlignmentProgressStopped"},

	{"passes fail", `controller_runtime_reconcile_errors_total{controller="dpojob"} 0+1x60`, 20 * time.Minute,
		[]string{"AlignmentReconcileErrors controller=dpojob severity=warning"}, ""},
	{"a pass failed", `controller_runtime_reconcile_errors_total{controller="dpojob"} 0x5 1x60`, 20 * time.Minute, nil, "AlignmentReconcileErrors"},
	{"another operator's passes fail", `controller_runtime_reconcile_errors_total{controller="workload"} 0+1x60`, 20 * time.Minute, nil, "AlignmentReconcileErrors"},

	{"no operator", ``, 6 * time.Minute, []string{"AlignmentOperatorAbsent severity=critical"}, ""},
	{"the operator goes", `alignment_stages{kind="SFTJob",phase="Running"} 1x10 stale`, 17 * time.Minute, []string{"AlignmentOperatorAbsent severity=critical"}, ""},
	{"the operator restarts", `alignment_stages{kind="SFTJob",phase="Running"} 1x10 stale _x2 1x10`, 17 * time.Minute, nil, "AlignmentOperatorAbsent"},
	{"an operator without stages", `alignment_stages{kind="SFTJob",phase="Running"} 0x20`, 17 * time.Minute, nil, "AlignmentOperatorAbsent"},
}

// Each alert fires when it should, under the right labels, and no other does.
func TestAlerts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, ruleFile(t), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range alertCases {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(c.series, "alignment_stages{") && c.series != "" {
				c.series += "\n" + `alignment_stages{kind="DPOJob",phase="Running"} 1x1000` // there is an operator
			}
			if got := firing(t, file, c.series, c.at); !slices.Equal(got, c.fires) {
				t.Errorf("after %s fire %q, want %q", c.at, got, c.fires)
			}
		})
	}
}

// firing are the alerts that fire at a time, with their labels, and with annotations that a template could fill in.
func firing(t *testing.T, file, series string, at time.Duration) (alerts []string) {
	t.Helper()
	load := "load 1m\n"
	for line := range strings.Lines(series) {
		load += "  " + strings.TrimSpace(line) + "\n"
	}
	suite, err := promqltest.NewLazyLoader(load, promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := suite.Close(); err != nil {
			t.Error(err)
		}
	}()
	suite.SubqueryInterval = time.Minute
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:    rules.EngineQueryFunc(suite.QueryEngine(), suite.Storage()),
		AppendableV2: suite.Storage(),
		Context:      t.Context(),
		NotifyFunc:   func(context.Context, string, ...*rules.Alert) {},
		Logger:       promslog.NewNopLogger(),
		Parser:       promql,
	})
	groups, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, file)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, g := range groups {
		for _, r := range g.Rules() {
			r.(*rules.AlertingRule).SetRestored(true)
		}
	}
	for now := time.Duration(0); now <= at; now += time.Minute {
		suite.WithSamplesTill(time.Unix(0, 0).UTC().Add(now), func(err error) {
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range groups {
				g.Eval(suite.Context(), time.Unix(0, 0).UTC().Add(now))
			}
		})
	}
	for _, g := range groups {
		for _, r := range g.Rules() {
			if err := r.LastError(); err != nil {
				t.Fatalf("%s: %v", r.Name(), err)
			}
			for _, a := range r.(*rules.AlertingRule).ActiveAlerts() {
				if a.State != rules.StateFiring {
					continue
				}
				line := r.Name()
				a.Labels.Range(func(l labels.Label) {
					if l.Name != labels.AlertName {
						line += " " + l.Name + "=" + l.Value
					}
				})
				a.Annotations.Range(func(l labels.Label) {
					if strings.Contains(l.Value, "<error") || strings.Contains(l.Value, "no value") {
						t.Errorf("%s: %s", r.Name(), l.Value)
					}
				})
				alerts = append(alerts, line)
			}
		}
	}
	slices.Sort(alerts)
	return alerts
}
