package metrics

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

func TestBarWithoutATerminal(t *testing.T) {
	var b bytes.Buffer
	bar := NewBar(&b, 3*time.Second, tick())
	bar.Update(runconfig.Progress{Phase: runconfig.PhaseLoading, Message: "reading data"})
	for step := 1; step <= 8; step++ { // a second apart
		bar.Update(runconfig.Progress{Phase: runconfig.PhaseTraining, Step: step, TotalSteps: 8, Percent: 12.5 * float64(step),
			ETASeconds: float64(8-step) * 10, TokensPerSecond: 1234.5, Metrics: map[string]float64{"loss": 1 / float64(step), "learning_rate": 1}})
	}
	bar.Update(runconfig.Progress{Phase: runconfig.PhaseDone, Step: 8, TotalSteps: 8, Percent: 100})
	bar.Close()
	const want = `Loading  reading data
Training  step 1/8 (12%)  loss 1  1234 tok/s  ETA 1m10s
Training  step 4/8 (50%)  loss 0.25  1234 tok/s  ETA 40s
Training  step 7/8 (88%)  loss 0.1429  1234 tok/s  ETA 10s
Training  step 8/8 (100%)  loss 0.125  1234 tok/s
Done  step 8/8 (100%)
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestBarOnATerminal(t *testing.T) {
	var b bytes.Buffer
	bar := NewBar(&b, time.Hour, tick())
	bar.tty = true
	bar.Update(runconfig.Progress{Phase: runconfig.PhaseLoading})
	for step := range 5 {
		bar.Update(runconfig.Progress{Phase: runconfig.PhaseTraining, Step: step, TotalSteps: 4, Metrics: map[string]float64{"loss": 0.5}})
	}
	bar.Update(runconfig.Progress{Phase: runconfig.PhaseDone})
	for _, want := range []string{"Loading\n", "loss 0.5", "(4/4)", "\nDone\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q lacks %q", b.String(), want)
		}
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if NewBar(f, 0, tick()).tty {
		t.Error("a file passes for a terminal")
	}
}
