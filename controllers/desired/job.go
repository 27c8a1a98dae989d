package desired

import (
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	batchac "k8s.io/client-go/applyconfigurations/batch/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

const (
	// Container is the trainer's name in its pod.
	Container = "trainer"
	// user is nobody in particular: files on claims belong to this group.
	user = 65532
	// graceSeconds is what a pod has after SIGTERM to save its state.
	graceSeconds = 120
)

// QueueLabel names a Kueue queue. On a stage, it goes to its Jobs, which then begin suspended and are
// Kueue's to start.
const QueueLabel = "kueue.x-k8s.io/queue-name"

// queueLabels go from a stage to its Jobs.
var queueLabels = []string{QueueLabel, "kueue.x-k8s.io/priority-class"}

// job is the Indexed Job of a run. It is created once; after that only its suspension changes. It
// keeps, as annotations, what the run was started with.
func job(stage v1alpha1.Stage, run *Run, files files, settings Settings) (*batchac.JobApplyConfiguration, error) {
	inputs, err := json.Marshal(run.Inputs)
	if err != nil {
		return nil, fmt.Errorf("write inputs: %w", err)
	}
	lineage, err := json.Marshal(run.Lineage)
	if err != nil {
		return nil, fmt.Errorf("write lineage: %w", err)
	}
	common := stage.StageSpec()
	template, err := podTemplate(stage, files, settings)
	if err != nil {
		return nil, err
	}
	nodes := max(common.Pod.Nodes, 1)
	spec := batchac.JobSpec().
		WithCompletionMode(batchv1.IndexedCompletion).
		WithCompletions(nodes).WithParallelism(nodes).
		WithBackoffLimit(common.MaxRestarts).
		// Two pods must never write one folder: the next starts when the last one has ended.
		WithPodReplacementPolicy(batchv1.Failed).
		WithPodFailurePolicy(podFailurePolicy()).
		WithTemplate(template)
	if Several(stage) {
		spec.WithBackoffLimit(0).WithPodFailurePolicy(gangFailurePolicy())
		template.Spec.WithSubdomain(Name(stage))
		for i := range template.Spec.Containers { // only rank 0's trainer answers
			template.Spec.Containers[i].ReadinessProbe = nil
		}
	}
	if common.ActiveDeadlineSeconds != nil {
		spec.WithActiveDeadlineSeconds(*common.ActiveDeadlineSeconds)
	}
	ac := newJob(stage, Name(stage), spec)
	if len(run.Lineage) > 0 {
		ac.WithAnnotations(map[string]string{AnnotationLineage: string(lineage)})
	}
	return ac.WithAnnotations(map[string]string{
		AnnotationRunHash:    run.Hash,
		AnnotationGeneration: strconv.FormatInt(stage.GetGeneration(), 10),
		AnnotationInputs:     string(inputs),
		AnnotationOutput:     run.Config.Output.URI,
	}), nil
}

// newJob has what all of a stage's Jobs have.
func newJob(stage v1alpha1.Stage, name string, spec *batchac.JobSpecApplyConfiguration) *batchac.JobApplyConfiguration {
	ac := batchac.Job(name, stage.GetNamespace()).
		WithLabels(Labels(stage)).
		WithOwnerReferences(owner(stage)).
		WithSpec(spec)
	for _, l := range queueLabels {
		if v := stage.GetLabels()[l]; v != "" {
			ac.WithLabels(map[string]string{l: v})
		}
	}
	if Queued(stage) {
		spec.WithSuspend(true)
	}
	return ac
}

// Queued says whether an object, a stage or its Job, leaves its start to Kueue.
func Queued(obj metav1.Object) bool { return obj.GetLabels()[QueueLabel] != "" }

// podFailurePolicy tells what a retry cannot mend from a lost node.
func podFailurePolicy() *batchac.PodFailurePolicyApplyConfiguration {
	return batchac.PodFailurePolicy().WithRules(
		batchac.PodFailurePolicyRule().WithAction(batchv1.PodFailurePolicyActionFailJob).
			WithOnExitCodes(batchac.PodFailurePolicyOnExitCodesRequirement().
				WithContainerName(Container).
				WithOperator(batchv1.PodFailurePolicyOnExitCodesOpIn).
				WithValues(runconfig.ExitInvalid, runconfig.ExitStopped)),
		// A trainer that was told to end, and has saved its state, did not fail.
		batchac.PodFailurePolicyRule().WithAction(batchv1.PodFailurePolicyActionIgnore).
			WithOnExitCodes(batchac.PodFailurePolicyOnExitCodesRequirement().
				WithContainerName(Container).
				WithOperator(batchv1.PodFailurePolicyOnExitCodesOpIn).
				WithValues(runconfig.ExitTerminated)),
		batchac.PodFailurePolicyRule().WithAction(batchv1.PodFailurePolicyActionIgnore).
			WithOnPodConditions(batchac.PodFailurePolicyOnPodConditionsPattern().
				WithType(corev1.DisruptionTarget).WithStatus(corev1.ConditionTrue)),
	)
}

// gangFailurePolicy ends all pods of a Job with the first that ends: ranks that wait for one another cannot go on without
// it, and one alone cannot be replaced. The operator makes the next Job.
func gangFailurePolicy() *batchac.PodFailurePolicyApplyConfiguration {
	return batchac.PodFailurePolicy().WithRules(
		batchac.PodFailurePolicyRule().WithAction(batchv1.PodFailurePolicyActionFailJob).
			WithOnExitCodes(batchac.PodFailurePolicyOnExitCodesRequirement().
				WithContainerName(Container).
				WithOperator(batchv1.PodFailurePolicyOnExitCodesOpNotIn).
				WithValues(runconfig.ExitDone)),
		batchac.PodFailurePolicyRule().WithAction(batchv1.PodFailurePolicyActionFailJob).
			WithOnPodConditions(batchac.PodFailurePolicyOnPodConditionsPattern().
				WithType(corev1.DisruptionTarget).WithStatus(corev1.ConditionTrue)),
	)
}

// podTemplate is the trainer's pod with the stage's podTemplate merged over it.
func podTemplate(stage v1alpha1.Stage, files files, settings Settings) (*coreac.PodTemplateSpecApplyConfiguration, error) {
	if err := checkPodTemplate(stage.StageSpec().PodTemplate); err != nil {
		return nil, fmt.Errorf("%w: %w", runconfig.ErrInvalid, err)
	}
	base := coreac.PodTemplateSpec().WithLabels(Labels(stage)).WithSpec(podSpec(stage, files, settings))
	merged, err := merge(base, stage.StageSpec().PodTemplate)
	if err != nil {
		return nil, fmt.Errorf("%w: spec.podTemplate: %w", runconfig.ErrInvalid, err)
	}
	return merged, nil
}

func merge(base *coreac.PodTemplateSpecApplyConfiguration, over v1alpha1.PodTemplate) (*coreac.PodTemplateSpecApplyConfiguration, error) {
	if reflect.ValueOf(over).IsZero() {
		return base, nil
	}
	a, err := json.Marshal(base)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(over)
	if err != nil {
		return nil, err
	}
	m, err := strategicpatch.StrategicMergePatch(a, b, corev1.PodTemplateSpec{})
	if err != nil {
		return nil, err
	}
	merged := coreac.PodTemplateSpec()
	return merged, json.Unmarshal(m, merged)
}

// podSpec meets the restricted Pod Security Standard.
func podSpec(stage v1alpha1.Stage, files files, settings Settings) *coreac.PodSpecApplyConfiguration {
	pod := stage.StageSpec().Pod
	container := trainer(pod, settings)
	spec := coreac.PodSpec().
		WithRestartPolicy(corev1.RestartPolicyNever).
		WithTerminationGracePeriodSeconds(graceSeconds).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithSecurityContext(coreac.PodSecurityContext().
			WithRunAsNonRoot(true).WithRunAsUser(user).WithRunAsGroup(user).
			WithFSGroup(user).WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch).
			WithSeccompProfile(coreac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithVolumes(
			coreac.Volume().WithName("config").WithConfigMap(coreac.ConfigMapVolumeSource().WithName(Name(stage))),
			coreac.Volume().WithName("tmp").WithEmptyDir(coreac.EmptyDirVolumeSource()),
		)
	container.WithVolumeMounts(
		coreac.VolumeMount().WithName("config").WithMountPath(path.Dir(runconfig.ConfigPath)).WithReadOnly(true),
		coreac.VolumeMount().WithName("tmp").WithMountPath("/tmp"),
	)
	for i, c := range files.claims {
		volume := fmt.Sprintf("claim-%d", i) // a claim's own name may be too long for a volume's
		spec.WithVolumes(coreac.Volume().WithName(volume).
			WithPersistentVolumeClaim(coreac.PersistentVolumeClaimVolumeSource().WithClaimName(c.name)))
		container.WithVolumeMounts(coreac.VolumeMount().WithName(volume).
			WithMountPath(path.Join(runconfig.MountRoot, c.name)).WithReadOnly(c.readOnly))
	}
	if files.remote {
		access(stage.StageSpec().Storage, spec, container)
	}
	if ProcessesPerNode(pod) > 1 { // NCCL passes data between them there; a container's own 64 MiB are too few
		spec.WithVolumes(coreac.Volume().WithName("trainer-shm").
			WithEmptyDir(coreac.EmptyDirVolumeSource().WithMedium(corev1.StorageMediumMemory)))
		container.WithVolumeMounts(coreac.VolumeMount().WithName("trainer-shm").WithMountPath("/dev/shm"))
	}
	if len(pod.NodeSelector) > 0 {
		spec.WithNodeSelector(pod.NodeSelector)
	}
	for _, t := range pod.Tolerations {
		spec.WithTolerations(toleration(t))
	}
	return spec.WithContainers(container)
}

// access gives a pod the credentials of stores and hubs, and a place for what it fetches. The kubelet reads the Secret; the operator may not.
func access(storage v1alpha1.Storage, spec *coreac.PodSpecApplyConfiguration, container *coreac.ContainerApplyConfiguration) {
	if storage.SecretName != "" {
		container.WithEnvFrom(coreac.EnvFromSource().WithSecretRef(coreac.SecretEnvSource().WithName(storage.SecretName)))
	}
	volume := coreac.Volume().WithName("cache")
	if storage.CacheClaim != "" {
		volume.WithPersistentVolumeClaim(coreac.PersistentVolumeClaimVolumeSource().WithClaimName(storage.CacheClaim))
	} else {
		volume.WithEmptyDir(coreac.EmptyDirVolumeSource())
	}
	spec.WithVolumes(volume)
	container.WithVolumeMounts(coreac.VolumeMount().WithName("cache").WithMountPath(runconfig.CachePath))
}

func trainer(pod v1alpha1.Pod, settings Settings) *coreac.ContainerApplyConfiguration {
	image := pod.Image
	if image == "" {
		image = settings.TrainerImage
	}
	resources := coreac.ResourceRequirements()
	if len(pod.Resources.Requests) > 0 {
		resources.WithRequests(pod.Resources.Requests)
	}
	if len(pod.Resources.Limits) > 0 {
		resources.WithLimits(pod.Resources.Limits)
	}
	c := coreac.Container().WithName(Container).
		WithImage(image).
		WithArgs("train", "--config", runconfig.ConfigPath).
		WithPorts(coreac.ContainerPort().WithName("http").WithContainerPort(runconfig.Port)).
		WithResources(resources).
		// Loading a large model takes minutes in which nothing can answer; a probe that kills would only
		// do harm, since a trainer that hangs is not told from one that computes. Readiness kills nothing.
		WithReadinessProbe(coreac.Probe().WithInitialDelaySeconds(3).WithPeriodSeconds(5).WithTimeoutSeconds(2).
			WithHTTPGet(coreac.HTTPGetAction().WithPath("/healthz").WithPort(intstr.FromString("http")))).
		WithTerminationMessagePath(runconfig.TerminationPath).
		// A trainer that cannot even start (a missing library) leaves its last lines instead.
		WithTerminationMessagePolicy(corev1.TerminationMessageFallbackToLogsOnError).
		WithSecurityContext(coreac.SecurityContext().
			WithAllowPrivilegeEscalation(false).
			WithReadOnlyRootFilesystem(true).
			WithCapabilities(coreac.Capabilities().WithDrop("ALL")))
	if pod.ImagePullPolicy != "" {
		c.WithImagePullPolicy(pod.ImagePullPolicy)
	}
	return c
}

func toleration(t corev1.Toleration) *coreac.TolerationApplyConfiguration {
	ac := coreac.Toleration()
	if t.Key != "" {
		ac.WithKey(t.Key)
	}
	if t.Operator != "" {
		ac.WithOperator(t.Operator)
	}
	if t.Value != "" {
		ac.WithValue(t.Value)
	}
	if t.Effect != "" {
		ac.WithEffect(t.Effect)
	}
	if t.TolerationSeconds != nil {
		ac.WithTolerationSeconds(*t.TolerationSeconds)
	}
	return ac
}
