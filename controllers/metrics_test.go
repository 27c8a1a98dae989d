package controllers_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers"
)

var updateMetrics = flag.Bool("update", false, "rewrite testdata/metrics.txt")

// stages is a reader that has these.
type stages []v1alpha1.Stage

func (s stages) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return fmt.Errorf("not needed")
}

func (s stages) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	var items []runtime.Object
	for _, stage := range s {
		if fmt.Sprintf("%TList", stage) == fmt.Sprintf("%T", list) {
			items = append(items, stage)
		}
	}
	return meta.SetList(list, items)
}

// What is told of stages in each phase, and by whom.
func TestStageMetrics(t *testing.T) {
	at := metav1.NewTime(time.Unix(1000, 0))
	running := sft("a", "run")
	running.Status = v1alpha1.StageStatus{
		Phase: v1alpha1.PhaseRunning, Restarts: 1, Disruptions: 2,
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonTraining}},
		Progress:   &v1alpha1.Progress{Step: 3, TotalSteps: 12, ETASeconds: 60, TokensPerSecond: 500, UpdatedAt: at},
		Metrics:    map[string]string{"loss": "0.5", "eval_rewards/accuracies": "0.75", "odd": "none"},
	}
	trained := dpo("b", "done", "run")
	trained.Status = v1alpha1.StageStatus{
		Phase:    v1alpha1.PhaseSucceeded,
		Progress: running.Status.Progress, Metrics: running.Status.Metrics,
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSucceeded},
			{Type: v1alpha1.ConditionStale, Status: metav1.ConditionTrue},
		},
	}
	unseen := sft("a", "new")
	unseen.Status.ObservedGeneration = -1

	elected := make(chan struct{})
	registry := prometheus.NewRegistry()
	if err := controllers.NewMetrics(stages{running, trained, unseen}, elected).Register(registry); err != nil {
		t.Fatal(err)
	}
	if got := text(t, registry, "alignment_stage"); len(got) > 0 {
		t.Errorf("one that is not in charge tells %q", got)
	}
	close(elected)
	got := text(t, registry, "alignment_stage_")
	const id = `kind="SFTJob",name="run",namespace="a"`
	want := []string{
		`alignment_stage_disruptions{` + id + `} 2`,
		`alignment_stage_eta_seconds{` + id + `} 60`,
		`alignment_stage_max_restarts{` + id + `} 1`,
		`alignment_stage_metric{kind="SFTJob",metric="eval_rewards/accuracies",name="run",namespace="a"} 0.75`,
		`alignment_stage_metric{kind="SFTJob",metric="loss",name="run",namespace="a"} 0.5`,
		`alignment_stage_phase{kind="DPOJob",name="done",namespace="b",phase="Succeeded",reason="Succeeded"} 1`,
		`alignment_stage_phase{` + id + `,phase="Running",reason="Training"} 1`,
		`alignment_stage_progress_timestamp_seconds{` + id + `} 1000`,
		`alignment_stage_restarts{` + id + `} 1`,
		`alignment_stage_step{` + id + `} 3`,
		`alignment_stage_tokens_per_second{` + id + `} 500`,
		`alignment_stage_total_steps{` + id + `} 12`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	counts := text(t, registry, "alignment_stages", "alignment_stale_stages")
	for _, line := range []string{
		`alignment_stages{kind="SFTJob",phase="Running"} 1`, `alignment_stages{kind="SFTJob",phase="Pending"} 0`,
		`alignment_stages{kind="DPOJob",phase="Succeeded"} 1`, `alignment_stale_stages{kind="DPOJob"} 1`, `alignment_stale_stages{kind="SFTJob"} 0`,
	} {
		if !slices.Contains(counts, line) {
			t.Errorf("no %s in\n%s", line, strings.Join(counts, "\n"))
		}
	}
	if len(counts) != len(v1alpha1.StageKinds)*(len(v1alpha1.Phases)+1) {
		t.Errorf("%d counts", len(counts))
	}
}

// text is the exposition of the metrics with these prefixes, sorted.
func text(t *testing.T, g prometheus.Gatherer, prefixes ...string) (lines []string) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(b.String()) {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	slices.Sort(lines)
	return lines
}

// testdata/metrics.txt is what a running operator exposes: name, type and labels. Dashboard and alerts are checked
// against it (hack/gitops/monitoring), so it must be true; docs/observability.md lists those of ours.
func TestExposedMetrics(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "seen")
	create(t, s)
	const ip = "127.0.8.1"
	trainer.set(ip, `{"phase":"Training","step":3,"totalSteps":9,"metrics":{"loss":1.5}}`)
	startAt(t, pod(t, s), ip)
	file := filepath.Join("testdata", "metrics.txt")
	page, err := os.ReadFile(filepath.Join("..", "docs", "observability.md"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		families, err := prometheus.Gatherers{registry, metrics.Registry}.Gather()
		if err != nil {
			return err
		}
		got := map[string]bool{}
		var lines []string
		for _, f := range families {
			if line := exposition(f); line != "" {
				got[line] = true
				lines = append(lines, line)
			}
		}
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "alignment_stage_metric ") }) {
			return fmt.Errorf("no metrics of a running stage in %q", lines)
		}
		if *updateMetrics {
			if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
				return err
			}
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		listed := map[string]bool{}
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			listed[line] = true
			if !got[line] {
				return fmt.Errorf("testdata/metrics.txt has %q, which is not exposed", line)
			}
		}
		for line := range got {
			if strings.HasPrefix(line, "alignment_") && !listed[line] {
				return fmt.Errorf("testdata/metrics.txt lacks %q: go test -run TestExposedMetrics -update ./controllers", line)
			}
			name, rest, _ := strings.Cut(line, " ")
			kind, labels, _ := strings.Cut(rest, " ")
			if strings.HasPrefix(name, "alignment_") && !documented(string(page), name, kind, labels) {
				return fmt.Errorf("docs/observability.md does not have %s with its type and labels %s", name, labels)
			}
		}
		return nil
	})
}

// exposition is a family's name, type and labels; empty for what nobody asks for.
func exposition(f *dto.MetricFamily) string {
	wanted := []string{"alignment_", "controller_runtime_reconcile", "workqueue_", "rest_client_requests", "process_resident_memory"}
	if len(f.Metric) == 0 || !slices.ContainsFunc(wanted, func(p string) bool { return strings.HasPrefix(f.GetName(), p) }) {
		return ""
	}
	var labels []string
	for _, l := range f.Metric[0].Label {
		labels = append(labels, l.GetName())
	}
	return strings.TrimSpace(f.GetName() + " " + strings.ToLower(f.GetType().String()) + " " + strings.Join(labels, ","))
}

// documented says whether a page's table has a metric with all of its labels, in whatever order.
func documented(page, name, kind, labels string) bool {
	for line := range strings.Lines(page) {
		cells := strings.Split(line, "|")
		if len(cells) < 6 || strings.TrimSpace(cells[1]) != "`"+name+"`" || strings.TrimSpace(cells[2]) != kind {
			continue
		}
		a, b := strings.Split(strings.TrimSpace(cells[3]), ", "), strings.Split(labels, ",")
		slices.Sort(a)
		slices.Sort(b)
		return slices.Equal(a, b)
	}
	return false
}
