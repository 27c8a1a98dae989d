package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// stageName is the name of both resources in their manifests.
const stageName = "go-comments"

const (
	pollInterval = time.Second
	maxOutage    = 30 * time.Second // of the API server
)

// train applies the DPOJob, which has to wait, and then the SFTJob, and follows both to their end.
func (d *demo) train(ctx context.Context) error {
	dpo := &v1alpha1.DPOJob{}
	if err := readManifest("dpojob.yaml", dpo); err != nil {
		return err
	}
	setSteps(&dpo.Spec.StageSpec, d.dpoSteps)
	sft := &v1alpha1.SFTJob{}
	if err := readManifest("sftjob.yaml", sft); err != nil {
		return err
	}
	setSteps(&sft.Spec.StageSpec, d.sftSteps)
	if d.base != "" {
		sft.Spec.Model = v1alpha1.InitialModel{URI: "pvc://demo/base"}
	}
	err := d.console.step("DPOJob first, then the SFTJob that it waits for", func() error {
		if err := d.apply(ctx, dpo, "dpojob.yaml"); err != nil {
			return err
		}
		return d.apply(ctx, sft, "sftjob.yaml")
	})
	if err != nil {
		return err
	}
	return d.console.step("Training", func() error { return d.follow(ctx, sft, dpo) })
}

func readManifest(name string, into v1alpha1.Stage) error {
	b, err := manifests.ReadFile("manifests/" + name)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(b, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func setSteps(s *v1alpha1.StageSpec, steps int) {
	if steps > 0 {
		s.Training.Epochs, s.Training.MaxSteps = "", int32(steps)
	}
}

// apply writes a stage's manifest to the run's folder and applies it as a user would.
func (d *demo) apply(ctx context.Context, stage v1alpha1.Stage, file string) error {
	b, err := yaml.Marshal(stage)
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.path(file), b, 0o644); err != nil {
		return err
	}
	said, err := d.runKubectl(ctx, nil, "--namespace="+d.namespace, "apply", "--filename="+d.path(file))
	if err != nil {
		return err
	}
	d.console.printf("    kubectl apply --filename=%s: %s", d.path(file), said)
	return nil
}

// follow shows the stages' progress until all have succeeded or one cannot.
func (d *demo) follow(ctx context.Context, stages ...v1alpha1.Stage) error {
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

// summary is a stage in a few words: "SFTJob 120/600, loss 4.91, 9800 tokens/s, 2m10s left".
func summary(s v1alpha1.Stage) string {
	status := s.StageStatus()
	text := string(s.StageKind()) + " "
	p := status.Progress
	if status.Phase != v1alpha1.PhaseRunning || p == nil {
		return text + strings.ToLower(string(status.Phase))
	}
	if p.Phase != "Training" {
		text += strings.ToLower(p.Phase) + " "
	}
	text += fmt.Sprintf("%d/%d", p.Step, p.TotalSteps)
	for _, m := range []struct{ name, label string }{{"loss", "loss"}, {"eval_loss", "held out"}, {"rewards/accuracies", "accuracy"}} {
		if v := status.Metrics[m.name]; v != "" {
			text += ", " + m.label + " " + v
		}
	}
	if p.TokensPerSecond > 0 {
		text += fmt.Sprintf(", %d tokens/s", p.TokensPerSecond)
	}
	if p.ETA != "" {
		text += ", " + p.ETA + " left"
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
