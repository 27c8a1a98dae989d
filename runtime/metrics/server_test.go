package metrics

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + s.Address() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestServer(t *testing.T) {
	s, err := Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, t.TempDir())
	r.opts.Server = s
	if _, body := get(t, s, "/progress"); !strings.Contains(body, `"phase":"Loading"`) {
		t.Errorf("before the first update: %s", body)
	}
	log(t, r, 7, map[string]float64{"rewards/accuracies": 0.75, "kl": math.Inf(1)})
	sent := map[string]float64{"loss": 0.5, "kl": math.NaN()}
	s.Update(runconfig.Progress{Phase: runconfig.PhaseTraining, Step: 7, TotalSteps: 10, ETASeconds: math.Inf(1), TokensPerSecond: 1000, Metrics: sent})
	if len(sent) != 2 {
		t.Error("Update changed its argument")
	}
	code, body := get(t, s, "/progress")
	var p runconfig.Progress
	if err := json.Unmarshal([]byte(body), &p); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	if p.Step != 7 || p.ETASeconds != 0 || len(p.Metrics) != 1 || p.Metrics["loss"] != 0.5 {
		t.Errorf("progress %+v", p)
	}
	_, body = get(t, s, "/metrics")
	for _, want := range []string{
		"alignment_training_step 7\n", "alignment_training_total_steps 10\n", "alignment_training_tokens_per_second 1000\n",
		"alignment_training_rewards_accuracies 0.75\n", "alignment_training_kl NaN\n",
		"alignment_training_loss 0.5\n", "alignment_training_resumed_from 0\n",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %q:\n%s", want, body)
		}
	}
	if code, body := get(t, s, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, _ := get(t, s, "/"); code != http.StatusNotFound {
		t.Errorf("/: %d", code)
	}
	if resp, err := http.Post("http://"+s.Address()+"/progress", "", nil); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /progress: %v, %v", resp, err)
	}
	if _, err := Serve(s.Address()); err == nil {
		t.Error("two servers on one port")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + s.Address() + "/healthz"); err == nil {
		t.Error("it answers after Close")
	}
}

// Whatever a metric is called, registering its gauge must not panic.
func TestGaugeNames(t *testing.T) {
	s := &Server{gauges: newGauges()}
	r := open(t, t.TempDir())
	r.opts.Server = s
	for _, name := range []string{"", "a/b", "a_b", "ä", "1", "a b\n", "\xff", "x{y=\"z\"}"} {
		log(t, r, 1, map[string]float64{name: 1})
	}
	if _, err := s.gauges.registry.Gather(); err != nil {
		t.Error(err)
	}
}
