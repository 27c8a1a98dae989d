package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/hack/demo/corpus"
	"github.com/alignment-dev/alignment-operator/hack/demo/ngram"
)

// newDemo is a demo with a folder and a console of the test's own.
func newDemo(t *testing.T) (*demo, func() string) {
	t.Helper()
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "console"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	now := time.Unix(0, 0)
	d := &demo{namespace: "demo-test", dir: filepath.Join(dir, "run"), console: newConsole(out, func() time.Time { return now })}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return d, func() string {
		b, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestManifests(t *testing.T) {
	sft, dpo := &v1alpha1.SFTJob{}, &v1alpha1.DPOJob{}
	for name, stage := range map[string]v1alpha1.Stage{"sftjob.yaml": sft, "dpojob.yaml": dpo} {
		if err := readManifest(name, stage); err != nil {
			t.Fatal(err)
		}
		if stage.GetName() != stageName {
			t.Errorf("%s: name is %s", name, stage.GetName())
		}
		for _, set := range append(stage.StageSpec().Data.Train, stage.StageSpec().Data.Eval...) {
			if file, ok := strings.CutPrefix(string(set.URI), "pvc://demo/data/"); !ok || !strings.Contains(strings.Join(datasetFiles, " "), file) {
				t.Errorf("%s: reads %s, which the demo does not make", name, set.URI)
			}
		}
	}
	if up := dpo.Upstreams(); len(up) != 1 || up[0].Ref != (v1alpha1.StageReference{Kind: v1alpha1.SFTJobKind, Name: sft.Name}) {
		t.Errorf("DPOJob waits for %v", up)
	}
	setSteps(&sft.Spec.StageSpec, 7)
	if sft.Spec.Training.MaxSteps != 7 {
		t.Error("steps are not set")
	}
}

func TestOverlaySetsBothImages(t *testing.T) {
	for image, want := range map[string][2]string{
		"localhost/operator:dev": {"localhost/operator", "dev"},
		"host:5000/operator":     {"host:5000/operator", ""},
	} {
		d, _ := newDemo(t)
		d.operatorImage, d.trainerImage = image, "localhost/trainer:dev"
		t.Chdir(t.TempDir())
		d.dir = filepath.Join("out", "run") // the base is found from here, as from the repository's root
		dir, err := d.overlay()
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var k struct {
			Resources []string
			Images    []struct{ NewName, NewTag string }
			Patches   []struct{ Patch string }
		}
		if err := yaml.Unmarshal(b, &k); err != nil {
			t.Fatal(err)
		}
		if got := [2]string{k.Images[0].NewName, k.Images[0].NewTag}; got != want {
			t.Errorf("%s became %q", image, got)
		}
		if k.Resources[0] != "../../../config/default" || !strings.Contains(k.Patches[0].Patch, "localhost/trainer:dev") {
			t.Errorf("got %s", b)
		}
	}
}

func TestOneFileBecomesFour(t *testing.T) {
	d, _ := newDemo(t)
	d.data = filepath.Join(t.TempDir(), "pairs.jsonl.gz")
	f, err := os.Create(d.data)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	for i := range 1000 {
		fmt.Fprintf(z, "{\"n\":%d}\n", i/2) // every line twice
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := d.prepareData(); err != nil {
		t.Fatal(err)
	}
	lines := map[string][]string{}
	for _, name := range datasetFiles {
		b, err := os.ReadFile(d.path("data", name))
		if err != nil {
			t.Fatal(err)
		}
		lines[name] = strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	train, eval := lines[corpus.SFTTrain], lines[corpus.SFTEval]
	if len(train)+len(eval) != 1000 || len(eval) < 20 || len(eval) > 80 {
		t.Errorf("%d + %d lines", len(train), len(eval))
	}
	for _, line := range eval {
		if strings.Contains(strings.Join(train, "\n")+"\n", line+"\n") {
			t.Errorf("%s is on both sides", line)
		}
	}
	if len(lines[corpus.DPOTrain]) != len(train) || len(lines[corpus.DPOEval]) != len(eval) {
		t.Error("the stages have different data")
	}
}

func TestFolderIsUnpacked(t *testing.T) {
	d, _ := newDemo(t)
	d.data = t.TempDir()
	for i, name := range datasetFiles {
		f, err := os.Create(filepath.Join(d.data, name) + strings.Repeat(".gz", i%2))
		if err != nil {
			t.Fatal(err)
		}
		var w io.WriteCloser = f
		if i%2 == 1 {
			w = gzip.NewWriter(f)
		}
		fmt.Fprint(w, name)
		w.Close()
		f.Close()
	}
	if err := d.prepareData(); err != nil {
		t.Fatal(err)
	}
	for _, name := range datasetFiles {
		if b, err := os.ReadFile(d.path("data", name)); err != nil || string(b) != name {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	os.Remove(filepath.Join(d.data, corpus.DPOEval+".gz"))
	if err := d.prepareData(); err == nil || !strings.Contains(err.Error(), corpus.DPOEval) {
		t.Errorf("a missing file gives %v", err)
	}
}

func TestArchivesPassThrough(t *testing.T) {
	from, to := fstest.MapFS{"a/b.txt": {Data: []byte("text")}, "c": {Data: []byte("more")}}, t.TempDir()
	root, err := os.OpenRoot(to)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = through(func(w io.Writer) error {
		archive := tar.NewWriter(w)
		return errors.Join(archive.AddFS(from), archive.Close())
	}, func(r io.Reader) error { return unpack(root, r) })
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(to, "a/b.txt")); err != nil || string(b) != "text" {
		t.Errorf("%q, %v", b, err)
	}
	broken := errors.New("broken")
	if err := through(func(io.Writer) error { return broken }, func(r io.Reader) error { return unpack(root, r) }); !errors.Is(err, broken) {
		t.Errorf("writing failed: got %v", err)
	}
	if err := through(func(w io.Writer) error {
		for {
			if _, err := w.Write([]byte("x")); err != nil {
				return err
			}
		}
	}, func(io.Reader) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("reading failed: got %v", err)
	}
}

// good are results that pass.
func good() *results {
	stage := func(kind v1alpha1.StageKind, metrics map[string]float64) stageResult {
		return stageResult{kind: kind, seconds: 100, Result: runconfig.Result{Step: 10, Tokens: 9000, Seconds: 90, Metrics: metrics}}
	}
	return &results{
		sft:       stage(v1alpha1.SFTJobKind, map[string]float64{"loss": 3.9, "eval_loss": 4}),
		dpo:       stage(v1alpha1.DPOJobKind, map[string]float64{"eval_loss": 0.4, "eval_rewards/accuracies": 0.9, "kl": 1.5}),
		bigram:    ngram.Score{CrossEntropy: 4.1, Tokens: 22000},
		answers:   []answer{{Prompt: "func F()\n//", Reference: " F does.", Base: " xx\nyy", SFT: " The", DPO: " F is."}},
		followsBy: map[string]float64{"SFT": 0.5, "DPO": 0.75},
	}
}

func TestCheck(t *testing.T) {
	if err := good().check(true); err != nil {
		t.Errorf("good results: %v", err)
	}
	for want, spoil := range map[string]func(*results){
		"not below the bigram model's 4.100":         func(r *results) { r.sft.Metrics["eval_loss"] = 4.1 },
		"held-out loss 0.000":                        func(r *results) { delete(r.sft.Metrics, "eval_loss") },
		"reward accuracy 0.790 is below 0.8":         func(r *results) { r.dpo.Metrics["eval_rewards/accuracies"] = 0.79 },
		"in 50.0 % of the cases, SFT's in 50.0 %":    func(r *results) { r.followsBy["DPO"] = 0.5 },
		"held-out reward accuracy 0.000 is below 0.": func(r *results) { r.dpo.Metrics = nil },
	} {
		r := good()
		spoil(r)
		if err := r.check(true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if err := r.check(false); err != nil {
			t.Errorf("own data is held to the Go data's marks: %v", err)
		}
	}
}

func TestPrint(t *testing.T) {
	d, printed := newDemo(t)
	d.print(good())
	for _, want := range []string{
		"  SFT  100 s      90 s     10       100  3.900          4.000                -              -      -",
		"  DPO  100 s      90 s     10       100      -          0.400            0.900              -  1.500",
		"bigram model has 4.100", "of 4 sampled: SFT 50.0 %, DPO 75.0 %",
		"func F()\n  base // xx⏎yy\n  SFT  // The\n  DPO  // F is.\n  Go   // F does.\n",
		"dpo/report.html",
	} {
		if !strings.Contains(printed(), want) {
			t.Errorf("lacks %q:\n%s", want, printed())
		}
	}
}

func TestConsoleOffATerminal(t *testing.T) {
	d, printed := newDemo(t)
	now := time.Unix(0, 0)
	d.console.now = func() time.Time { return now }
	broken := errors.New("broken")
	err := d.console.step("Step", func() error {
		d.console.progress("%d of %d", 1, 2)
		now = now.Add(9 * time.Second)
		d.console.tick(time.Unix(0, 0)) // too early
		now = now.Add(56 * time.Second)
		d.console.tick(time.Unix(0, 0))
		return broken
	})
	if !errors.Is(err, broken) || printed() != "==> Step\n    1:05  1 of 2\n" {
		t.Errorf("%v, printed %q", err, printed())
	}
}

func TestSummary(t *testing.T) {
	s := &v1alpha1.SFTJob{Status: v1alpha1.StageStatus{Phase: v1alpha1.PhaseWaiting}}
	if got := summary(s); got != "SFTJob waiting" {
		t.Errorf("got %q", got)
	}
	s.Status.Phase = v1alpha1.PhaseRunning
	s.Status.Progress = &v1alpha1.Progress{Phase: "Training", Step: 120, TotalSteps: 600, TokensPerSecond: 9800, ETA: "2m10s"}
	s.Status.Metrics = map[string]string{"loss": "4.91"}
	if got := summary(s); got != "SFTJob 120/600, loss 4.91, 9800 tokens/s, 2m10s left" {
		t.Errorf("got %q", got)
	}
}
