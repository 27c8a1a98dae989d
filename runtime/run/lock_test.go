package run_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/go-logr/logr/testr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

// A second attempt beside the first, which is not to be, waits for it and takes over what it has published.
func TestTwoTrainers(t *testing.T) {
	dir := t.TempDir()
	c := sftConfig(words(t, dir).sft, filepath.Join(dir, "out"))
	waiting, second := make(chan struct{}), make(chan runconfig.Result, 1)
	begin := func() {
		log := funcr.New(func(_, line string) {
			if strings.Contains(line, "Waiting for another trainer") {
				close(waiting)
			}
		}, funcr.Options{})
		second <- run.Run(t.Context(), c, run.Environment{Now: time.Now, Log: log, Version: "test"})
	}
	begun := false
	first := run.Run(t.Context(), c, run.Environment{Now: time.Now, Log: testr.New(t), Version: "test", Progress: func(p runconfig.Progress) {
		if p.Step != 2 || begun {
			return
		}
		begun = true
		go begin()
		select {
		case <-waiting:
		case r := <-second:
			t.Errorf("the second attempt did not wait: %+v", r)
		}
	}})
	if first.ExitCode != runconfig.ExitDone || first.Adopted || !begun {
		t.Fatalf("the first attempt ended with %+v", first)
	}
	if r := <-second; r.ExitCode != runconfig.ExitDone || !r.Adopted || r.Output.Digest != first.Output.Digest {
		t.Errorf("the second attempt ended with %+v, want it to adopt %s", r, first.Output.Digest)
	}
}
