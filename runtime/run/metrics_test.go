package run_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// metricRow is a row of the table in docs/runconfig.md: a metric, and the methods that have it.
var metricRow = regexp.MustCompile("(?m)^\\| `alignment_training_([a-z_0-9.*]+)` \\| ([^|]+) \\|")

// TestMetricsAreDocumented: /metrics has what docs/runconfig.md lists for a method and nothing else, without
// labels, so that a run is a fixed number of series.
func TestMetricsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "runconfig.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{} // by name, the methods
	for _, row := range metricRow.FindAllStringSubmatch(string(doc), -1) {
		documented[row[1]] = row[2]
	}
	if len(documented) < 20 {
		t.Fatalf("docs/runconfig.md lists %d metrics", len(documented))
	}
	never := map[string]bool{}
	for name := range documented {
		never[name] = true
	}
	for _, method := range methods(t, t.TempDir()) {
		t.Run(method.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := l.Addr().String()
			l.Close()
			c := method.config(filepath.Join(t.TempDir(), "out"))
			c.Training.MaxSteps, c.Evaluation.EverySteps, c.Evaluation.Samples, c.Placement.Address = 2, 1, 0, address
			var exposed string
			r := start(t, t.Context(), c, func(p runconfig.Progress) {
				if p.Phase == runconfig.PhasePublishing {
					resp, err := http.Get("http://" + address + "/metrics")
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					b, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Error(err)
					}
					exposed = string(b)
				}
			})
			if r.Output == nil {
				t.Fatalf("got %+v", r)
			}
			var names []string
			for line := range strings.Lines(exposed) {
				if strings.HasPrefix(line, "#") {
					continue
				}
				name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
				name, ours := strings.CutPrefix(name, "alignment_training_")
				if !ok || !ours || strings.ContainsAny(name, "{}") || value == "" {
					t.Errorf("/metrics has %q", line)
				}
				names = append(names, name)
			}
			names = slices.DeleteFunc(names, func(name string) bool { // one for each bin that held-out pairs fall into
				return strings.HasPrefix(name, "eval_calibration_0_") && strings.Contains(documented["eval_calibration_*"], "RewardModel") && c.Method == runconfig.RewardModel
			})
			for name, methods := range documented {
				has := slices.Contains(names, name)
				if has {
					delete(never, name)
				}
				if !has && strings.TrimSpace(methods) == "all" {
					t.Errorf("/metrics lacks %s", name)
				}
			}
			for _, name := range names {
				of, ok := documented[name]
				if !ok {
					t.Errorf("docs/runconfig.md does not list %s", name)
				} else if of = strings.TrimSpace(of); of != "all" && !strings.Contains(of, string(c.Method)) {
					t.Errorf("docs/runconfig.md says that %s is of %s, %s has it", name, of, c.Method)
				}
			}
			for _, must := range mustHave[c.Method] {
				if !slices.Contains(names, must) {
					t.Errorf("/metrics lacks %s", must)
				}
			}
		})
	}
	delete(never, "eval_calibration_*")
	for name := range never {
		t.Errorf("docs/runconfig.md lists %s, which no method has", name)
	}
}

// mustHave is what alerts and dashboards ask for first.
var mustHave = map[runconfig.Method][]string{
	runconfig.SFT:         {"step", "total_steps", "loss", "eval_loss", "learning_rate", "tokens_per_second", "grad_norm"},
	runconfig.RewardModel: {"step", "loss", "eval_rewards_accuracies", "rewards_margins", "tokens_per_second"},
	runconfig.DPO:         {"step", "loss", "rewards_margins", "rewards_chosen", "tokens_per_second"},
	runconfig.SimPO:       {"step", "loss", "rewards_margins", "eval_rewards_accuracies", "learning_rate"},
	runconfig.PPO:         {"step", "loss", "objective_kl", "objective_scores", "kl", "eval_objective_scores", "learning_rate", "tokens_per_second"},
}
