package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// PodTemplate is merged over the trainer's pod, as by a strategic merge patch: maps are merged, lists of
// named things by name, other lists replaced. What would change what the trainer does is refused.
type PodTemplate struct {
	// +optional
	Metadata PodTemplateMetadata `json:"metadata,omitzero"`
	// +optional
	Spec PodTemplateSpec `json:"spec,omitzero"`
}

// PodTemplateMetadata are labels and annotations of the pods.
type PodTemplateMetadata struct {
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !(k in ['app.kubernetes.io/name', 'app.kubernetes.io/managed-by', 'job-name', 'controller-uid']) && !k.startsWith('alignment.dev/') && !k.startsWith('batch.kubernetes.io/'))",message="app.kubernetes.io/name, app.kubernetes.io/managed-by, job-name, controller-uid, alignment.dev/ and batch.kubernetes.io/ are the operator's and Kubernetes' own"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('kueue.x-k8s.io/'))",message="labels of kueue.x-k8s.io/ go on the resource itself; they are copied to its Job"
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('alignment.dev/') && !k.startsWith('batch.kubernetes.io/'))",message="alignment.dev/ and batch.kubernetes.io/ are the operator's and Kubernetes' own"
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// PodTemplateSpec is the part of a pod's spec that is the cluster's affair and not the trainer's.
type PodTemplateSpec struct {
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	SchedulerName string `json:"schedulerName,omitempty"`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	SchedulingGates []corev1.PodSchedulingGate `json:"schedulingGates,omitempty"`
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	// TerminationGracePeriodSeconds is what the trainer has to save its state. Default: 120.
	// +kubebuilder:validation:Minimum=1
	// +optional
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
	// Volumes besides those of the claims in the spec's URIs.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(v, !(v.name in ['config', 'tmp']) && !v.name.startsWith('claim-'))",message="config, tmp and claim-... are the trainer's own volumes"
	// +listType=atomic
	// +optional
	Volumes []corev1.Volume `json:"volumes,omitempty"`
	// InitContainers run before the trainer, or with restartPolicy Always beside it, as sidecars.
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(c, c.name != 'trainer')",message="trainer is the name of the trainer's own container"
	// +listType=atomic
	// +optional
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
	// Containers has only the trainer's own, by its name: env, envFrom, volumeMounts and volumeDevices
	// of it may be set.
	// +kubebuilder:validation:MaxItems=1
	// +kubebuilder:validation:XValidation:rule="self.all(c, c.name == 'trainer')",message="may only have the container trainer: a sidecar is an initContainer with restartPolicy Always, which ends with the run"
	// +kubebuilder:validation:XValidation:rule="self.all(c, !has(c.image) && !has(c.imagePullPolicy) && (!has(c.resources) || (!has(c.resources.limits) && !has(c.resources.requests))))",message="image, imagePullPolicy and resources of the trainer are set in spec.pod"
	// +kubebuilder:validation:XValidation:rule="self.all(c, !has(c.command) && !has(c.args) && !has(c.workingDir) && !has(c.ports) && !has(c.securityContext) && !has(c.lifecycle) && !has(c.livenessProbe) && !has(c.readinessProbe) && !has(c.startupProbe) && !has(c.restartPolicy) && !has(c.terminationMessagePath) && !has(c.terminationMessagePolicy) && !has(c.stdin) && !has(c.tty))",message="only env, envFrom, volumeMounts, volumeDevices and resources.claims of the trainer may be set"
	// +listType=atomic
	// +optional
	Containers []corev1.Container `json:"containers,omitempty"`
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	ResourceClaims []corev1.PodResourceClaim `json:"resourceClaims,omitempty"`
}
