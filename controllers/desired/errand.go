package desired

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	batchac "k8s.io/client-go/applyconfigurations/batch/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// Errands are small Jobs on a stage's claims, which the operator itself cannot reach. Their pods are the
// trainer's, without its devices.

// LookupName is the name of the Job that looks for a checkpoint that was already published.
func LookupName(stage v1alpha1.Stage) string { return Name(stage) + "-lookup" }

// RemovalName is the name of the Job that removes a deleted stage's files.
func RemovalName(stage v1alpha1.Stage) string { return Name(stage) + "-remove" }

// errandTTL keeps a finished errand, and its log, for a while.
const errandTTL = 600

func errand(stage v1alpha1.Stage, name string, files files, settings Settings, args ...string) (*batchac.JobApplyConfiguration, error) {
	template, err := podTemplate(stage, files, settings)
	if err != nil {
		return nil, err
	}
	template.Spec.InitContainers = nil // sidecars are the training's
	for i := range template.Spec.Containers {
		c := &template.Spec.Containers[i]
		c.Args, c.Ports, c.ReadinessProbe = args, nil, nil
		c.Resources = coreac.ResourceRequirements().
			WithRequests(corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("128Mi")}).
			WithLimits(corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")})
	}
	spec := batchac.JobSpec().
		WithBackoffLimit(2).
		WithPodReplacementPolicy(batchv1.Failed).
		WithPodFailurePolicy(podFailurePolicy()).
		WithTTLSecondsAfterFinished(errandTTL).
		WithTemplate(template)
	return newJob(stage, name, spec), nil
}

// lookup is the errand before a run: a checkpoint of the same run hash, published by a stage that was
// deleted or on another cluster, makes the run unnecessary, and a wait for its devices too.
func lookup(stage v1alpha1.Stage, run *Run, files files, settings Settings) (*batchac.JobApplyConfiguration, error) {
	readOnly := files
	readOnly.claims = slices.Clone(files.claims)
	for i := range readOnly.claims {
		readOnly.claims[i].readOnly = true
	}
	job, err := errand(stage, LookupName(stage), readOnly, settings, "lookup", "--config", runconfig.ConfigPath)
	if err != nil {
		return nil, err
	}
	return job.WithAnnotations(map[string]string{
		AnnotationRunHash:    run.Hash,
		AnnotationGeneration: strconv.FormatInt(stage.GetGeneration(), 10),
	}), nil
}

// NewRemoval is the errand after a stage's deletion: everything that its runs have written goes.
func NewRemoval(stage v1alpha1.Stage, settings Settings) (*batchac.JobApplyConfiguration, error) {
	u, err := url.Parse(stage.StageSpec().Output.URI)
	remote := err == nil && slices.Contains(remoteSchemes, u.Scheme)
	if err != nil || u.Scheme != "pvc" && !remote || u.Host == "" || stage.GetNamespace() == "" || stage.GetName() == "" {
		return nil, fmt.Errorf("%w: spec.output.uri: %q: want pvc://claim/path", runconfig.ErrInvalid, stage.StageSpec().Output.URI)
	}
	folder := path.Join(runconfig.MountRoot, u.Host, u.Path, stage.GetNamespace(), Name(stage))
	on := files{claims: []claim{{name: u.Host}}}
	if remote {
		folder = strings.Join([]string{stage.StageSpec().Output.URI, stage.GetNamespace(), Name(stage)}, "/")
		on = files{remote: true}
	}
	job, err := errand(stage, RemovalName(stage), on, settings, "remove", "--folder", folder)
	if err != nil {
		return nil, err
	}
	for _, v := range job.Spec.Template.Spec.Volumes {
		if v.ConfigMap != nil && v.ConfigMap.Name != nil && *v.ConfigMap.Name == Name(stage) {
			v.ConfigMap.WithOptional(true) // a stage that never ran has none
		}
	}
	return job, nil
}
