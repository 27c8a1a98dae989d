package desired

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the goldens")

var settings = Settings{TrainerImage: "example.com/trainer:v1", OperatorNamespace: "alignment-system"}

// TestGoldens renders resource.yaml with the resolved inputs.yaml of each archive and compares
// with the rest: run.yaml, configmap.yaml (without its data), networkpolicy.yaml, service.yaml, job.yaml,
// lookup.yaml or error. Resources are as the API server stores them, defaults filled in.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var resolved []v1alpha1.Input
			stage, kept := parse(t, ar, &resolved)
			got := &txtar.Archive{Comment: ar.Comment, Files: append(kept, outputs(t, stage, resolved)...)}
			if *update {
				if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(ar)), string(txtar.Format(got))); diff != "" {
				t.Errorf("differs (-want +got); read it, then run with -update:\n%s", diff)
			}
		})
	}
}

func parse(t *testing.T, ar *txtar.Archive, resolved *[]v1alpha1.Input) (v1alpha1.Stage, []txtar.File) {
	t.Helper()
	var stage v1alpha1.Stage
	var kept []txtar.File
	for _, f := range ar.Files {
		switch f.Name {
		case "resource.yaml":
			var head struct{ Kind v1alpha1.StageKind }
			if err := yaml.Unmarshal(f.Data, &head); err != nil {
				t.Fatal(err)
			}
			stage = v1alpha1.NewStage(head.Kind)
			if err := yaml.UnmarshalStrict(f.Data, stage); err != nil {
				t.Fatal(err)
			}
		case "inputs.yaml":
			if err := yaml.UnmarshalStrict(f.Data, resolved); err != nil {
				t.Fatal(err)
			}
		default:
			continue
		}
		kept = append(kept, f)
	}
	if stage == nil {
		t.Fatal("no resource.yaml")
	}
	return stage, kept
}

func outputs(t *testing.T, stage v1alpha1.Stage, resolved []v1alpha1.Input) []txtar.File {
	t.Helper()
	run, err := NewRun(stage, resolved, nil, settings)
	if err != nil {
		if !errors.Is(err, runconfig.ErrInvalid) {
			t.Errorf("error is not ErrInvalid: %v", err)
		}
		return []txtar.File{{Name: "error", Data: []byte(err.Error() + "\n")}}
	}
	text := run.ConfigMap.Data["run.yaml"]
	run.ConfigMap.Data = nil
	files := []txtar.File{{Name: "run.yaml", Data: []byte(text)}}
	for _, o := range []struct {
		name string
		obj  any
	}{{"configmap.yaml", run.ConfigMap}, {"networkpolicy.yaml", run.NetworkPolicy}, {"service.yaml", run.Service}, {"job.yaml", run.Job}, {"lookup.yaml", run.Lookup}} {
		if reflect.ValueOf(o.obj).IsNil() {
			continue
		}
		b, err := yaml.Marshal(o.obj)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, txtar.File{Name: o.name, Data: b})
	}
	return files
}

// What the trainer computes from the file it reads is what the operator named the folder by.
func TestHashIsTheTrainers(t *testing.T) {
	for _, file := range []string{
		"testdata/sft-init.txtar", "testdata/rewardmodel-chain.txtar", "testdata/ppo-chain.txtar", "testdata/dpo-chain.txtar", "testdata/simpo-ablation.txtar",
	} {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var resolved []v1alpha1.Input
		stage, _ := parse(t, ar, &resolved)
		run, err := NewRun(stage, resolved, nil, settings)
		if err != nil {
			t.Fatal(err)
		}
		c, err := runconfig.Parse("run.yaml", []byte(run.ConfigMap.Data["run.yaml"]))
		if err != nil {
			t.Fatal(err)
		}
		hash, err := c.Hash()
		if err != nil {
			t.Fatal(err)
		}
		if hash != run.Hash || c.Output.RunHash != run.Hash || !strings.HasSuffix(c.Output.URI, "/"+run.Hash[:12]) {
			t.Errorf("%s: trainer's hash %s, operator's %s, output %+v", file, hash, run.Hash, c.Output)
		}
	}
}

// The hash follows what decides the result, and nothing else.
func TestHash(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/dpo-chain.txtar")
	if err != nil {
		t.Fatal(err)
	}
	hash := func(change func(*v1alpha1.DPOJob, []v1alpha1.Input)) string {
		var resolved []v1alpha1.Input
		stage, _ := parse(t, ar, &resolved)
		change(stage.(*v1alpha1.DPOJob), resolved)
		run, err := NewRun(stage, resolved, nil, settings)
		if err != nil {
			t.Fatal(err)
		}
		return run.Hash
	}
	base := hash(func(*v1alpha1.DPOJob, []v1alpha1.Input) {})
	for name, c := range map[string]struct {
		change func(*v1alpha1.DPOJob, []v1alpha1.Input)
		same   bool
	}{
		"beta":            {func(j *v1alpha1.DPOJob, _ []v1alpha1.Input) { j.Spec.Objective.Beta = "0.2" }, false},
		"beta, spelled":   {func(j *v1alpha1.DPOJob, _ []v1alpha1.Input) { j.Spec.Objective.Beta = "1e-1" }, true},
		"seed":            {func(j *v1alpha1.DPOJob, _ []v1alpha1.Input) { j.Spec.Seed++ }, false},
		"upstream digest": {func(_ *v1alpha1.DPOJob, in []v1alpha1.Input) { in[0].Digest = "sha256:" + strings.Repeat("f", 64) }, false},
		"upstream folder": {func(_ *v1alpha1.DPOJob, in []v1alpha1.Input) { in[0].URI = "pvc://elsewhere/x" }, true},
		"micro-batch":     {func(j *v1alpha1.DPOJob, _ []v1alpha1.Input) { j.Spec.Training.MicroBatchSize = 1 }, true},
		"recomputing":     {func(j *v1alpha1.DPOJob, _ []v1alpha1.Input) { j.Spec.Training.ActivationCheckpointing = true }, true},
		"output":          {func(j *v1alpha1.DPOJob, _ []v1alpha1.Input) { j.Spec.Output.URI = "pvc://elsewhere" }, true},
		"name":            {func(j *v1alpha1.DPOJob, _ []v1alpha1.Input) { j.Name = "other" }, true},
		"nodes":           {func(j *v1alpha1.DPOJob, _ []v1alpha1.Input) { j.Spec.Pod.Nodes, j.Spec.Pod.ProcessesPerNode = 4, 8 }, true},
		"sharding":        {func(j *v1alpha1.DPOJob, _ []v1alpha1.Input) { j.Spec.Pod.Nodes, j.Spec.Pod.Sharding = 2, "Full" }, true},
		"node selector":   {func(j *v1alpha1.DPOJob, _ []v1alpha1.Input) { j.Spec.Pod.NodeSelector = map[string]string{"a": "b"} }, true},
	} {
		if got := hash(c.change); (got == base) != c.same {
			t.Errorf("%s: hash same = %v, want %v", name, got == base, c.same)
		}
	}
}

// A PPOJob's hash follows each of its upstreams.
func TestHashOfUpstreams(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/ppo-chain.txtar")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for changed := range 4 { // the last changes none
		var resolved []v1alpha1.Input
		stage, _ := parse(t, ar, &resolved)
		if changed < len(resolved) {
			resolved[changed].Digest = "sha256:" + strings.Repeat("f", 64)
		}
		run, err := NewRun(stage, resolved, nil, settings)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := seen[run.Hash]; ok {
			t.Errorf("another digest of input %d and of input %d give one hash", before, changed)
		}
		seen[run.Hash] = changed
	}
}

func TestPure(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/dpo-chain.txtar")
	if err != nil {
		t.Fatal(err)
	}
	render := func() []byte {
		var resolved []v1alpha1.Input
		stage, _ := parse(t, ar, &resolved)
		return txtar.Format(&txtar.Archive{Files: outputs(t, stage, resolved)})
	}
	first := render()
	for range 20 {
		if !bytes.Equal(first, render()) {
			t.Fatal("equal arguments gave other objects")
		}
	}
}

// A Job that follows another tells of it, and has what is left of the deadline.
func TestFollow(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/sft-nodes.txtar")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for spent, want := range map[time.Duration]int64{0: 86400, time.Hour: 82800, 25 * time.Hour: 1} {
		stage, _ := parse(t, ar, new([]v1alpha1.Input))
		run, err := NewRun(stage, nil, nil, settings)
		if err != nil {
			t.Fatal(err)
		}
		hash := run.Job.Annotations[AnnotationRunHash]
		job := run.Follow(Earlier{Started: at, FailedPod: "p", Spent: spent})
		if got := *job.Spec.ActiveDeadlineSeconds; got != want {
			t.Errorf("after %s the deadline is %d, want %d", spent, got, want)
		}
		if a := job.Annotations; a[AnnotationAfter] != "p" || a[AnnotationStarted] != "2026-01-02T03:04:05Z" || a[AnnotationRunHash] != hash || hash == "" {
			t.Errorf("annotations %v", a)
		}
	}
}
