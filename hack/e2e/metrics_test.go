//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// TestMetrics scrapes a trainer and the operator as Prometheus does.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSpace(t).workspace()
	s.create(sftJob("scraped", func(j *v1alpha1.SFTJob) { j.Spec.Training.MaxSteps = 1 << 20 }))
	pod, p := s.attempt(v1alpha1.SFTJobKind, "scraped", 1, step(10)) // the first logged step
	trainer := s.scrape(s.name, pod.Name)
	for _, name := range []string{"step", "total_steps", "epoch", "percent", "eta_seconds", "tokens_per_second", "loss", "eval_loss", "grad_norm", "learning_rate"} {
		if trainer["alignment_training_"+name] == nil {
			t.Errorf("the trainer has no metric alignment_training_%s", name)
		}
	}
	if at := value(trainer["alignment_training_step"]); at < float64(p.Step) {
		t.Errorf("alignment_training_step is %g, /progress said %d before", at, p.Step)
	}

	s.eventually(30*time.Second, func() error {
		pod, err := leader()
		if err != nil {
			return err
		}
		operator := s.scrape(operatorNamespace, pod)
		for _, name := range []string{"alignment_stages", "alignment_job_creation_seconds", "controller_runtime_reconcile_total", "workqueue_depth"} {
			if operator[name] == nil {
				return fmt.Errorf("the operator has no metric %s", name)
			}
		}
		if running := value(operator["alignment_stages"], "kind", "SFTJob", "phase", "Running"); running < 1 {
			return fmt.Errorf("alignment_stages counts %g running SFTJobs, there is one at least", running)
		}
		return nil
	})
}

// scrape reads the metrics of a pod's port 8080, by name.
func (s *space) scrape(namespace, pod string) map[string]*dto.MetricFamily {
	s.Helper()
	b, err := get(ctx, fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:8080/proxy/metrics", namespace, pod))
	if err != nil {
		s.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(b))
	if err != nil {
		s.Fatalf("metrics of %s: %v", pod, err)
	}
	return families
}

// value of the gauge with these labels (name, value, name, value ...), 0 when there is none.
func value(f *dto.MetricFamily, labels ...string) float64 {
next:
	for _, m := range f.GetMetric() {
		for i := 0; i < len(labels); i += 2 {
			found := false
			for _, l := range m.GetLabel() {
				found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
			}
			if !found {
				continue next
			}
		}
		return m.GetGauge().GetValue()
	}
	return 0
}
