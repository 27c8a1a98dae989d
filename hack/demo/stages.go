package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// pipeline are the stages, each after those that it waits for. kubectl applies them by their files'
// names, in which the SFTJob that all wait for comes last but one.
var pipeline = []struct {
	kind   v1alpha1.StageKind
	policy bool // answers prompts: is compared with the others
	quick  bool // is there with DEMO=quick
}{
	{v1alpha1.SFTJobKind, true, true},
	{v1alpha1.RewardModelJobKind, false, false},
	{v1alpha1.PPOJobKind, true, false},
	{v1alpha1.DPOJobKind, true, true},
	{v1alpha1.SimPOJobKind, true, false},
}

// stageName is the name of all resources in their manifests.
const stageName = "go-comments"

const (
	pollInterval = time.Second
	maxOutage    = 30 * time.Second // of the API server
)

// train applies all stages at once, in an order in which most have to wait, and follows them to their end.
func (d *demo) train(ctx context.Context) error {
	stages, err := d.readStages()
	if err != nil {
		return err
	}
	dir := d.path("stages")
	err = d.console.step(fmt.Sprintf("%d stages, applied at once: most have to wait for others", len(stages)), func() error {
		for _, s := range stages {
			if err := writeManifest(filepath.Join(dir, fileOf(s.StageKind())), s); err != nil {
				return err
			}
		}
		said, err := d.runKubectl(ctx, nil, "--namespace="+d.namespace, "apply", "--filename="+dir)
		if err != nil {
			return err
		}
		d.console.printf("    kubectl apply --filename=%s\n    %s\n", dir, strings.ReplaceAll(strings.TrimSpace(string(said)), "\n", "\n    "))
		return nil
	})
	if err != nil {
		return err
	}
	return d.console.step("Training", func() error { return d.follow(ctx, stages) })
}

// readStages reads this run's manifests and makes the changes that its flags ask for.
func (d *demo) readStages() (stages []v1alpha1.Stage, err error) {
	for _, p := range pipeline {
		if d.quick && !p.quick {
			continue
		}
		s := v1alpha1.NewStage(p.kind)
		if err := readManifest(s); err != nil {
			return nil, err
		}
		if sft, ok := s.(*v1alpha1.SFTJob); ok && d.base != "" {
			sft.Spec.Model = v1alpha1.InitialModel{URI: "pvc://demo/base"}
		}
		if d.quick { // no other beside it
			s.StageSpec().Pod.Threads = 0
		}
		if t := &s.StageSpec().Training; d.maxSteps > 0 {
			t.MaxSteps = min(t.MaxSteps, int32(d.maxSteps))
		}
		stages = append(stages, s)
	}
	return stages, nil
}

// fileOf is the name of a kind's manifest.
func fileOf(kind v1alpha1.StageKind) string { return strings.ToLower(string(kind)) + ".yaml" }

// short is a kind without "Job".
func short(kind v1alpha1.StageKind) string { return strings.TrimSuffix(string(kind), "Job") }

func readManifest(into v1alpha1.Stage) error {
	name := fileOf(into.StageKind())
	b, err := manifests.ReadFile("manifests/stages/" + name)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(b, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func writeManifest(path string, stage v1alpha1.Stage) error {
	b, err := yaml.Marshal(stage)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// follow shows the stages' progress until all have succeeded or one cannot.
func (d *demo) follow(ctx context.Context, stages []v1alpha1.Stage) error {
	phases := make([]v1alpha1.Phase, len(stages))
	reached := time.Now() // the API server
	for {
		lines, succeeded := make([]string, len(stages)), 0
		for i, s := range stages {
			err := d.client.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: stageName}, s)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil && (apierrors.IsNotFound(err) || time.Since(reached) > maxOutage):
				return err
			case err == nil:
				reached = time.Now()
			}
			status := s.StageStatus()
			if status.Phase != phases[i] {
				d.console.printf("    %s %s: %s\n", s.StageKind(), status.Phase, readiness(status))
				phases[i] = status.Phase
			}
			switch status.Phase {
			case v1alpha1.PhaseSucceeded:
				succeeded++
			case v1alpha1.PhaseFailed:
				return errors.Join(fmt.Errorf("%s %s: %s", s.StageKind(), stageName, readiness(status)), d.lastLog(ctx, s))
			}
			lines[i] = summary(s)
		}
		if succeeded == len(stages) {
			return nil
		}
		d.console.progress("%s", strings.Join(lines, " | "))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}

func readiness(status *v1alpha1.StageStatus) string {
	if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Message
	}
	return "no word of the operator yet"
}

// summary is a stage in a few words: "SFT 120/600 loss 4.91 2m10s".
func summary(s v1alpha1.Stage) string {
	status, p := s.StageStatus(), s.StageStatus().Progress
	text := short(s.StageKind())
	if status.Phase != v1alpha1.PhaseRunning || p == nil {
		return text + " " + strings.ToLower(string(status.Phase))
	}
	text += fmt.Sprintf(" %d/%d", p.Step, p.TotalSteps)
	for _, m := range []struct{ name, label string }{{"objective/scores", "reward"}, {"rewards/accuracies", "accuracy"}, {"loss", "loss"}} {
		if v := status.Metrics[m.name]; v != "" {
			text += " " + m.label + " " + v
			break
		}
	}
	if p.ETA != "" {
		text += " " + p.ETA
	}
	return text
}

// lastLog is the end of a failed trainer's log, as an error.
func (d *demo) lastLog(ctx context.Context, s v1alpha1.Stage) error {
	log, err := d.runKubectl(ctx, nil, "--namespace="+d.namespace, "logs", "--tail=20", "--selector="+v1alpha1.GroupVersion.Group+"/kind="+string(s.StageKind()))
	if err != nil {
		return fmt.Errorf("reading its log: %w", err)
	}
	return fmt.Errorf("its log ends with:\n%s", log)
}
