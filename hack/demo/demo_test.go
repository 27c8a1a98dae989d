package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

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

func TestStages(t *testing.T) {
	d, _ := newDemo(t)
	d.base, d.maxSteps = "some/folder", 7
	stages, err := d.readStages()
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{}
	for _, f := range datasetFiles {
		made["pvc://demo/data/"+f.name] = true
	}
	before := map[v1alpha1.StageReference]bool{}
	for _, s := range stages {
		data := s.StageSpec().Data
		sets := append(slices.Clone(data.Train), data.Eval...)
		switch s := s.(type) {
		case *v1alpha1.RewardModelJob:
			sets = append(sets, s.Spec.Demonstrations...)
		case *v1alpha1.PPOJob:
			sets = append(sets, s.Spec.Pretraining...)
		}
		for _, set := range sets {
			if !made[string(set.URI)] {
				t.Errorf("%s reads %s, which the demo does not make", s.StageKind(), set.URI)
			}
		}
		for _, up := range s.Upstreams() {
			if !before[up.Ref] {
				t.Errorf("%s waits for %v, which is no earlier stage", s.StageKind(), up.Ref)
			}
		}
		before[v1alpha1.StageReference{Kind: s.StageKind(), Name: s.GetName()}] = true
		if s.GetName() != stageName || s.StageSpec().Training.MaxSteps != 7 {
			t.Errorf("%s: name %s, %d steps", s.StageKind(), s.GetName(), s.StageSpec().Training.MaxSteps)
		}
	}
	if sft := stages[0].(*v1alpha1.SFTJob); len(stages) != len(v1alpha1.StageKinds) || sft.Spec.Model.URI != "pvc://demo/base" || sft.Spec.Model.Init != nil {
		t.Errorf("%d stages, the first starts from %+v", len(stages), sft.Spec.Model)
	}
	d.quick = true
	if stages, err = d.readStages(); err != nil || len(stages) != 2 || stages[1].StageKind() != v1alpha1.DPOJobKind {
		t.Errorf("quick: %v, %v", stages, err)
	}
}

func TestOneFileIsForAllStages(t *testing.T) {
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
	for _, f := range datasetFiles {
		b, err := os.ReadFile(d.path("data", f.name))
		if err != nil {
			t.Fatal(err)
		}
		lines[f.name] = strings.Split(strings.TrimSpace(string(b)), "\n")
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
	for _, other := range [][2]string{{corpus.DPOTrain, corpus.DPOEval}, {corpus.RMTrain, corpus.RMEval}, {corpus.PPOTrain, corpus.PPOEval}} {
		if !slices.Equal(lines[other[0]], train) || !slices.Equal(lines[other[1]], eval) {
			t.Errorf("%v are other data than SFT's", other)
		}
	}
}

func TestFolderIsUnpacked(t *testing.T) {
	d, _ := newDemo(t)
	d.data = t.TempDir()
	for i, name := range []string{corpus.SFTTrain, corpus.SFTEval, corpus.DPOTrain, corpus.DPOEval, corpus.PPOTrain} {
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
	for name, want := range map[string]string{
		corpus.SFTTrain: corpus.SFTTrain, corpus.DPOEval: corpus.DPOEval, corpus.PPOTrain: corpus.PPOTrain,
		corpus.RMTrain: corpus.DPOTrain, corpus.RMEval: corpus.DPOEval, corpus.PPOEval: corpus.DPOEval,
	} {
		if b, err := os.ReadFile(d.path("data", name)); err != nil || string(b) != want {
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

// good are results that pass: of four answers to func F, SFT begins one with the name, PPO four.
func good() *results {
	stage := func(kind v1alpha1.StageKind, metrics map[string]float64, named int, score float64) *stageResult {
		s := &stageResult{
			kind: kind, policy: named > 0, dir: "out/" + short(kind), seconds: 100,
			Result: runconfig.Result{Step: 10, Tokens: 9000, Seconds: 90, PeakMemoryBytes: 300 << 20, Metrics: metrics},
		}
		for i := range 4 {
			r := response{Prompt: "func F()\n//", Response: " It does.", Reward: score + 0.1*float64(i%2), KL: 1.5, Length: 6, Ended: i > 0}
			if i < named {
				r.Response = " F does."
			}
			s.sampled = append(s.sampled, r)
		}
		s.likeliest = s.sampled[:1]
		return s
	}
	return &results{
		stages: []*stageResult{
			stage(v1alpha1.SFTJobKind, map[string]float64{"loss": 3.9, "eval_loss": 4}, 1, -1),
			stage(v1alpha1.RewardModelJobKind, map[string]float64{"eval_rewards/accuracies": 0.85}, 0, 0),
			stage(v1alpha1.PPOJobKind, nil, 4, 2),
			stage(v1alpha1.DPOJobKind, map[string]float64{"eval_loss": 0.4, "eval_rewards/accuracies": 0.9}, 2, 0),
			stage(v1alpha1.SimPOJobKind, map[string]float64{"eval_rewards/accuracies": 0.9}, 1, 0),
		},
		bigram: ngram.Score{CrossEntropy: 4.1, Tokens: 22000},
		asked:  []question{{"func F()\n//", " F does it.", " xx\nyy"}, {prompt: "func G()\n//"}},
	}
}

func TestCheck(t *testing.T) {
	if err := good().check(true); err != nil {
		t.Errorf("good results: %v", err)
	}
	for want, spoil := range map[string]func(*results){
		"not below the bigram model's 4.100":   func(r *results) { r.stages[0].Metrics["eval_loss"] = 4.1 },
		"held-out loss 0.000":                  func(r *results) { delete(r.stages[0].Metrics, "eval_loss") },
		"RewardModel's held-out reward acc":    func(r *results) { r.stages[1].Metrics = nil },
		"DPO's held-out reward accuracy 0.790": func(r *results) { r.stages[3].Metrics["eval_rewards/accuracies"] = 0.79 },
		"SimPO's held-out reward accuracy":     func(r *results) { r.stages[4].Metrics["eval_rewards/accuracies"] = 0.5 },
		"more often than SFT's: the gain is 0": func(r *results) { r.stages[3].sampled = r.stages[0].sampled },
		"above SFT's by 1.000 only, with a standard error of 1.000": func(r *results) {
			r.stages[2].sampled = slices.Clone(r.stages[0].sampled)
			r.stages[2].sampled[1].Reward += 4 // one prompt, one draw: nothing, as far as one can tell
		},
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
	quick := good()
	quick.stages = []*stageResult{quick.stages[0], quick.stages[3]}
	if err := quick.check(true); err != nil {
		t.Errorf("quick: %v", err)
	}
}

// Draws of a prompt are not independent: two of each say no more than one when they are the same.
func TestGainCountsPrompts(t *testing.T) {
	of := func(rewards ...float64) (out []response) {
		for _, v := range rewards {
			out = append(out, response{Reward: v})
		}
		return out
	}
	difference, once := gain(reward, of(0, 0, 0), of(1, 2, 3), 3)
	same, twice := gain(reward, of(0, 0, 0, 0, 0, 0), of(1, 2, 3, 1, 2, 3), 3)
	if want := 1 / math.Sqrt(3); math.Abs(difference-2) > 1e-12 || math.Abs(once-want) > 1e-12 || math.Abs(same-2) > 1e-12 || math.Abs(twice-want) > 1e-12 {
		t.Errorf("got %g ± %g and %g ± %g, want 2 ± %g", difference, once, same, twice, want)
	}
}

func TestPrint(t *testing.T) {
	d, printed := newDemo(t)
	r := good()
	r.asked = r.asked[:1]
	d.print(r)
	for _, want := range []string{
		"          SFT  100 s      90 s     10       100      300 MiB  3.900          4.000                -              -\n",
		"  RewardModel  100 s      90 s     10       100      300 MiB      -              -            0.850              -\n",
		"bigram model has 4.100",
		"     SFT  -0.950       1.50                25.0 %     6.0  75.0 %\n     PPO   2.050       1.50               100.0 %     6.0  75.0 %\n",
		"func F()\n  base  // xx⏎yy\n  SFT   // F does.\n  PPO   // F does.\n  DPO   // F does.\n  SimPO // F does.\n  Go    // F does it.\n",
		"/*/report.html\n",
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
	if got := summary(s); got != "SFT waiting" {
		t.Errorf("got %q", got)
	}
	s.Status.Phase = v1alpha1.PhaseRunning
	s.Status.Progress = &v1alpha1.Progress{Phase: "Training", Step: 120, TotalSteps: 600, TokensPerSecond: 9800, ETA: "2m10s"}
	s.Status.Metrics = map[string]string{"loss": "4.91"}
	if got := summary(s); got != "SFT 120/600 loss 4.91 2m10s" {
		t.Errorf("got %q", got)
	}
}
