package desired

import (
	"net"
	"path"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	netac "k8s.io/client-go/applyconfigurations/networking/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// Labels of everything that belongs to a stage.
const (
	LabelKind = "alignment.dev/kind"
	LabelName = "alignment.dev/name"
)

// Annotations of a Job: what its run was started with.
const (
	AnnotationRunHash    = "alignment.dev/run-hash"
	AnnotationGeneration = "alignment.dev/run-generation"
	AnnotationInputs     = "alignment.dev/inputs"
	AnnotationLineage    = "alignment.dev/lineage"
	AnnotationOutput     = "alignment.dev/output"
)

// Annotations of a Job that follows another of its run: when the first was created, and the pod that ended the last.
const (
	AnnotationStarted = "alignment.dev/started"
	AnnotationAfter   = "alignment.dev/after"
)

// OperatorName is the label app.kubernetes.io/name of the operator's own pods.
const OperatorName = "alignment-operator"

// Name of a stage's Job, ConfigMap, NetworkPolicy and Service: the kind's suffix, which is its short name in
// kubectl, keeps an SFTJob and a DPOJob of one name apart.
func Name(stage v1alpha1.Stage) string {
	if stage.StageKind() == v1alpha1.RewardModelJobKind {
		return stage.GetName() + "-rm"
	}
	return stage.GetName() + "-" + strings.ToLower(strings.TrimSuffix(string(stage.StageKind()), "Job"))
}

// Labels of a stage's objects and pods.
func Labels(stage v1alpha1.Stage) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":       "alignment-trainer",
		"app.kubernetes.io/managed-by": OperatorName,
		LabelKind:                      string(stage.StageKind()),
		LabelName:                      stage.GetName(),
	}
}

func selector(stage v1alpha1.Stage) map[string]string {
	return map[string]string{LabelKind: string(stage.StageKind()), LabelName: stage.GetName()}
}

// owner makes deletion the cluster's work: what belongs to a stage goes with it.
func owner(stage v1alpha1.Stage) *metaac.OwnerReferenceApplyConfiguration {
	return metaac.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind(string(stage.StageKind())).
		WithName(stage.GetName()).WithUID(stage.GetUID()).
		WithController(true).WithBlockOwnerDeletion(true)
}

func configMap(stage v1alpha1.Stage, runYAML []byte) *coreac.ConfigMapApplyConfiguration {
	return coreac.ConfigMap(Name(stage), stage.GetNamespace()).
		WithLabels(Labels(stage)).WithOwnerReferences(owner(stage)).
		WithData(map[string]string{path.Base(runconfig.ConfigPath): string(runYAML)})
}

// networkPolicy lets only the operator reach a trainer's port. Several pods of a stage reach each other at every port:
// rank 0 listens at one, and the collectives of Gloo and NCCL where the kernel has a free one.
func networkPolicy(stage v1alpha1.Stage, settings Settings) *netac.NetworkPolicyApplyConfiguration {
	own := metaac.LabelSelector().WithMatchLabels(selector(stage))
	spec := netac.NetworkPolicySpec().
		WithPodSelector(own).
		WithPolicyTypes(networkingv1.PolicyTypeIngress).
		WithIngress(netac.NetworkPolicyIngressRule().
			WithPorts(netac.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromInt32(runconfig.Port))).
			WithFrom(netac.NetworkPolicyPeer().
				WithNamespaceSelector(metaac.LabelSelector().WithMatchLabels(map[string]string{corev1.LabelMetadataName: settings.OperatorNamespace})).
				WithPodSelector(metaac.LabelSelector().WithMatchLabels(map[string]string{"app.kubernetes.io/name": OperatorName}))))
	if Several(stage) {
		spec.WithIngress(netac.NetworkPolicyIngressRule().WithFrom(netac.NetworkPolicyPeer().WithPodSelector(own)))
	}
	return netac.NetworkPolicy(Name(stage), stage.GetNamespace()).
		WithLabels(Labels(stage)).WithOwnerReferences(owner(stage)).
		WithSpec(spec)
}

// service gives the pods of a Job names, also before they are ready: they get ready only when they have found each other.
// It is nil for one pod, which nobody looks for.
func service(stage v1alpha1.Stage) *coreac.ServiceApplyConfiguration {
	if !Several(stage) {
		return nil
	}
	pods := selector(stage)
	pods[batchv1.JobNameLabel] = Name(stage) // without the lookup's
	return coreac.Service(Name(stage), stage.GetNamespace()).
		WithLabels(Labels(stage)).WithOwnerReferences(owner(stage)).
		WithSpec(coreac.ServiceSpec().
			WithClusterIP(corev1.ClusterIPNone).
			WithPublishNotReadyAddresses(true).
			WithSelector(pods).
			WithPorts(coreac.ServicePort().WithName("rendezvous").WithProtocol(corev1.ProtocolTCP).
				WithPort(runconfig.RendezvousPort).WithTargetPort(intstr.FromInt32(runconfig.RendezvousPort))))
}

// rendezvous is the first pod of an Indexed Job, by its name in the Service.
func rendezvous(stage v1alpha1.Stage) string {
	return net.JoinHostPort(Name(stage)+"-0."+Name(stage), strconv.Itoa(runconfig.RendezvousPort))
}
