package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// Pod is where and with what the trainer runs. A rank is a process that computes: nodes times processesPerNode
// of them share the batch.
// +kubebuilder:validation:XValidation:rule="!has(self.processesPerNode) || !has(self.resources) || !has(self.resources.limits) || !('nvidia.com/gpu' in self.resources.limits) || int(self.resources.limits['nvidia.com/gpu']) >= self.processesPerNode",fieldPath=".processesPerNode",message="must be at most the limit of nvidia.com/gpu: a process has a GPU of its own"
// +kubebuilder:validation:XValidation:rule="!has(self.sharding) || self.sharding != 'Full' || has(self.nodes) && self.nodes > 1 || (has(self.processesPerNode) ? self.processesPerNode > 1 : has(self.resources) && has(self.resources.limits) && 'nvidia.com/gpu' in self.resources.limits && int(self.resources.limits['nvidia.com/gpu']) > 1)",fieldPath=".sharding",message="Full goes with several ranks: nodes or processesPerNode above 1"
type Pod struct {
	// Image of the trainer. Default: the operator's --trainer-image.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Image string `json:"image,omitempty"`
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	// +optional
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// Resources of the trainer's container, of each node; nvidia.com/gpu for GPUs.
	// +optional
	Resources Resources `json:"resources,omitzero"`
	// Nodes is the number of pods that train together. Their claims must be such that all of them can mount them.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Nodes int32 `json:"nodes,omitempty"`
	// ProcessesPerNode is the number of processes in each pod. Default: the limit of nvidia.com/gpu, or 1.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	// +optional
	ProcessesPerNode int32 `json:"processesPerNode,omitempty"`
	// Sharding of weights, gradients and optimiser state: with None every rank has all of them, with Full each has its part.
	// +kubebuilder:validation:Enum=None;Full
	// +kubebuilder:default=None
	// +optional
	Sharding string `json:"sharding,omitempty"`
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// Device to compute on; auto takes a GPU when there is one.
	// +kubebuilder:validation:Enum=auto;cpu;cuda
	// +kubebuilder:default=auto
	// +optional
	Device string `json:"device,omitempty"`
	// Threads of CPU operators. Default: one per core of the container's limit.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Threads int32 `json:"threads,omitempty"`
}

// Resources of a container.
type Resources struct {
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`
	// +optional
	Limits corev1.ResourceList `json:"limits,omitempty"`
}
