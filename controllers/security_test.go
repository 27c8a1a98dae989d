package controllers_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	batchac "k8s.io/client-go/applyconfigurations/batch/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

var testSettings = desired.Settings{TrainerImage: "example.com/trainer:test", OperatorNamespace: "alignment-system"}

// stored is a stage as the API server stores it, defaults filled in.
func stored(t *testing.T, namespace, text string) v1alpha1.Stage {
	t.Helper()
	var head struct{ Kind v1alpha1.StageKind }
	if err := yaml.Unmarshal([]byte(text), &head); err != nil {
		t.Fatal(err)
	}
	stage := v1alpha1.NewStage(head.Kind)
	if err := yaml.UnmarshalStrict([]byte(text), stage); err != nil {
		t.Fatal(err)
	}
	stage.SetNamespace(namespace)
	if err := admin.Create(t.Context(), stage, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
		t.Fatal(err)
	}
	return stage
}

// rendered is the run of a stage whose references all lead to a checkpoint.
func rendered(stage v1alpha1.Stage) (*desired.Run, error) {
	var resolved []v1alpha1.Input
	for _, u := range stage.Upstreams() {
		resolved = append(resolved, v1alpha1.Input{Role: u.Role, Artifact: v1alpha1.Artifact{URI: "pvc://models/" + u.Role, Digest: digest("a")}})
	}
	return desired.NewRun(stage, resolved, nil, testSettings)
}

// jobs are all that the operator ever makes for a stage.
func jobs(t *testing.T, stage v1alpha1.Stage) []*batchac.JobApplyConfiguration {
	t.Helper()
	run, err := rendered(stage)
	if err != nil {
		t.Fatal(err)
	}
	removal, err := desired.NewRemoval(stage, testSettings)
	if err != nil {
		t.Fatal(err)
	}
	return []*batchac.JobApplyConfiguration{run.Job, run.Lookup, removal}
}

// podOf is the pod that a Job makes.
func podOf(t *testing.T, namespace string, job *batchac.JobApplyConfiguration) *corev1.Pod {
	t.Helper()
	b, err := json.Marshal(job.Spec.Template)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(b, pod); err != nil {
		t.Fatal(err)
	}
	pod.Namespace, pod.Name = namespace, *job.Name
	return pod
}

var validStages = []string{validSFT, validRM, validPPO, validDPO, validSimPO}

// Every pod of every kind is admitted under the restricted Pod Security Standard, by the API server
// itself, and is closed further than that.
func TestTrainerPodsAreRestricted(t *testing.T) {
	ns := namespace(t)
	for _, text := range validStages {
		stage := stored(t, ns, text)
		for _, job := range jobs(t, stage) {
			pod := podOf(t, ns, job)
			if err := admin.Create(t.Context(), pod.DeepCopy(), client.DryRunAll); err != nil {
				t.Errorf("%s, Job %s: %v", stage.StageKind(), pod.Name, err)
			}
			hardened(t, pod.Name, pod.Spec)
			if token := pod.Spec.AutomountServiceAccountToken; token == nil || *token {
				t.Errorf("%s: the pod gets a service account's token", pod.Name)
			}
			if pod.Spec.ServiceAccountName != "" || ptr.Deref(pod.Spec.EnableServiceLinks, true) || len(pod.Spec.Containers) != 1 || len(pod.Spec.InitContainers) != 0 {
				t.Errorf("%s: %+v", pod.Name, pod.Spec)
			}
			for _, v := range pod.Spec.Volumes {
				if v.ConfigMap == nil && v.EmptyDir == nil && v.PersistentVolumeClaim == nil {
					t.Errorf("%s: volume %+v", pod.Name, v)
				}
				if c := v.ConfigMap; c != nil && c.Name != desired.Name(stage) {
					t.Errorf("%s: ConfigMap %s", pod.Name, c.Name)
				}
			}
			if c := pod.Spec.Containers[0]; len(c.Env)+len(c.EnvFrom)+len(c.Command) > 0 {
				t.Errorf("%s: env %v %v, command %v", pod.Name, c.Env, c.EnvFrom, c.Command)
			}
		}
	}
}

// hardened is what the project's own pods all have. Some of it the restricted standard asks for, some not.
func hardened(t *testing.T, name string, spec corev1.PodSpec) {
	t.Helper()
	sc := spec.SecurityContext
	switch {
	case sc == nil || !ptr.Deref(sc.RunAsNonRoot, false) || ptr.Deref(sc.RunAsUser, 0) == 0:
		t.Errorf("%s: runs as root, or may", name)
	case sc.SeccompProfile == nil || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
		t.Errorf("%s: no seccomp profile", name)
	case spec.HostNetwork || spec.HostPID || spec.HostIPC || ptr.Deref(spec.ShareProcessNamespace, false):
		t.Errorf("%s: shares a namespace of the host", name)
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		sc := c.SecurityContext
		if sc == nil || ptr.Deref(sc.AllowPrivilegeEscalation, true) || !ptr.Deref(sc.ReadOnlyRootFilesystem, false) || ptr.Deref(sc.Privileged, false) ||
			sc.Capabilities == nil || len(sc.Capabilities.Add) > 0 || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s: container %s is %+v", name, c.Name, sc)
		}
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				t.Errorf("%s: container %s has a port of the host", name, c.Name)
			}
		}
	}
}

// The operator's own pod, under the standard that its own namespace enforces.
func TestOperatorPodIsRestricted(t *testing.T) {
	ns := namespace(t)
	read := func(file string, into any) {
		b, err := os.ReadFile(filepath.Join("..", "config", "manager", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(b, into); err != nil {
			t.Fatal(err)
		}
	}
	var own corev1.Namespace
	read("namespace.yaml", &own)
	if got := own.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("%s enforces %q", own.Name, got)
	}
	var d appsv1.Deployment
	read("deployment.yaml", &d)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "operator"}, Spec: d.Spec.Template.Spec}
	hardened(t, "operator", pod.Spec)
	if err := admin.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Error(err)
	}
}

// A podTemplate is a way to make pods. What its author may make is the namespace's affair: the same
// standard, the same quota, no more than by a Job of their own. Its fields leave no way to the rest.
func TestPodTemplateIsBoundByTheNamespace(t *testing.T) {
	ns := namespace(t)
	for name, template := range map[string]string{
		"a privileged sidecar": `{spec: {initContainers: [{name: x, image: x, securityContext: {privileged: true}}]}}`,
		"a sidecar as root":    `{spec: {initContainers: [{name: x, image: x, securityContext: {runAsUser: 0}}]}}`,
		"the host's files":     `{spec: {volumes: [{name: host, hostPath: {path: /}}]}}`,
		"a port of the host":   `{spec: {initContainers: [{name: x, image: x, ports: [{containerPort: 1, hostPort: 1}]}]}}`,
	} {
		stage := stored(t, ns, validSFT+"  podTemplate: "+template+"\n")
		run, err := rendered(stage)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		err = admin.Create(t.Context(), podOf(t, ns, run.Job), client.DryRunAll)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
			t.Errorf("%s: %v, want a refusal by the restricted standard", name, err)
		}
	}
	for _, spec := range []string{
		"hostNetwork: true", "hostPID: true", "automountServiceAccountToken: true", "nodeName: x", "securityContext: {runAsUser: 0}", "restartPolicy: Always",
		"hostUsers: true", "shareProcessNamespace: true", "ephemeralContainers: []", "$patch: delete", "$setElementOrder/volumes: []",
	} {
		var stage v1alpha1.SFTJob
		object := parsed(t, validSFT+"  podTemplate: {spec: {"+spec+"}}\n")
		object = with(object, []any{"metadata", "namespace"}, ns).(map[string]any)
		w := &walker{t: t, kind: stage.StageKind()}
		if _, err := w.apply(object); err == nil || !strings.Contains(err.Error(), "unknown field") {
			t.Errorf("podTemplate.spec with %s: %v, want a refusal", spec, err)
		}
	}
}

// A strategic merge patch has directives, in keys that begin with $. In a map of strings, such as labels,
// the schema lets them through; they must not delete what the operator put there, least of all the labels by
// which the network policy finds the pod.
func TestPodTemplateHasNoDirectives(t *testing.T) {
	ns := namespace(t)
	for field, template := range map[string]string{
		"metadata.labels":                      `{metadata: {labels: {$patch: replace}}}`,
		"metadata.annotations":                 `{metadata: {annotations: {$patch: delete}}}`,
		"spec.nodeSelector":                    `{spec: {nodeSelector: {$retainKeys: x}}}`,
		"spec.volumes[0].csi.volumeAttributes": `{spec: {volumes: [{name: v, csi: {driver: d, volumeAttributes: {$patch: delete}}}]}}`,
	} {
		run, err := rendered(stored(t, ns, validSFT+"  podTemplate: "+template+"\n"))
		if err == nil {
			t.Errorf("%s: a directive is taken: %+v", field, run.Job.Spec.Template)
			continue
		}
		if !errors.Is(err, runconfig.ErrInvalid) || !strings.Contains(err.Error(), "spec.podTemplate."+field) {
			t.Errorf("%s: %v, want an error that names the field", field, err)
		}
	}
}

// What a podTemplate mounts must not lie over what the trainer reads and writes.
func TestPodTemplateHidesNothing(t *testing.T) {
	ns := namespace(t)
	for _, dir := range []string{"/etc/alignment", "/etc/alignment/run.yaml", "/etc", "/", "/etc/../etc/alignment/", "/mnt/claims", "/mnt/claims/models/x", "/tmp", "/dev/termination-log"} {
		template := `{spec: {volumes: [{name: v, emptyDir: {}}], containers: [{name: trainer, volumeMounts: [{name: v, mountPath: ` + dir + `}]}]}}`
		_, err := rendered(stored(t, ns, validSFT+"  podTemplate: "+template+"\n"))
		if !errors.Is(err, runconfig.ErrInvalid) || !strings.Contains(err.Error(), "spec.podTemplate.spec.containers[0].volumeMounts[0].mountPath") {
			t.Errorf("a volume over %s: %v, want an error that names the field", dir, err)
		}
	}
	template := `{spec: {volumes: [{name: v, emptyDir: {}}], containers: [{name: trainer, volumeMounts: [{name: v, mountPath: /dev/shm}]}]}}`
	if _, err := rendered(stored(t, ns, validSFT+"  podTemplate: "+template+"\n")); err != nil {
		t.Errorf("a volume at /dev/shm: %v", err)
	}
}

// Of all pods, only the operator's reach a trainer, and only its one port.
func TestNetworkPolicy(t *testing.T) {
	ns := namespace(t)
	for _, text := range validStages {
		stage := stored(t, ns, text)
		run, err := rendered(stage)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(run.NetworkPolicy)
		if err != nil {
			t.Fatal(err)
		}
		var policy networkingv1.NetworkPolicy
		if err := json.Unmarshal(b, &policy); err != nil {
			t.Fatal(err)
		}
		for _, job := range jobs(t, stage) {
			if !matches(t, &policy.Spec.PodSelector, job.Spec.Template.Labels) {
				t.Errorf("%s: the policy does not hold for the pods of Job %s", stage.StageKind(), *job.Name)
			}
		}
		if !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			t.Errorf("%s: %v", stage.StageKind(), policy.Spec.PolicyTypes)
		}
		operator := map[string]string{"app.kubernetes.io/name": desired.OperatorName}
		own := map[string]string{corev1.LabelMetadataName: testSettings.OperatorNamespace}
		other := map[string]string{corev1.LabelMetadataName: ns}
		for _, c := range []struct {
			who            string
			namespace, pod map[string]string
			port           int
			want           bool
		}{
			{"the operator", own, operator, runconfig.Port, true},
			{"the operator, at another port", own, operator, 22, false},
			{"one that calls itself the operator", other, operator, runconfig.Port, false},
			{"another pod beside the operator", own, map[string]string{"app": "x"}, runconfig.Port, false},
			{"a neighbour", other, map[string]string{"app": "x"}, runconfig.Port, false},
			{"another trainer", other, desired.Labels(stage), runconfig.Port, false},
		} {
			if got := letsIn(t, policy.Spec, c.namespace, c.pod, c.port); got != c.want {
				t.Errorf("%s: %s is let in: %v, want %v", stage.StageKind(), c.who, got, c.want)
			}
		}
	}
}

// Several pods of a stage reach each other at every port, and nobody else is let in for it.
func TestNetworkPolicyOfSeveralPods(t *testing.T) {
	ns := namespace(t)
	stage := stored(t, ns, validSFT)
	stage.StageSpec().Pod.Nodes = 2
	run, err := rendered(stage)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(run.NetworkPolicy)
	if err != nil {
		t.Fatal(err)
	}
	var policy networkingv1.NetworkPolicy
	if err := json.Unmarshal(b, &policy); err != nil {
		t.Fatal(err)
	}
	other := map[string]string{corev1.LabelMetadataName: ns}
	for _, port := range []int{runconfig.RendezvousPort, 45678} {
		if !letsIn(t, policy.Spec, other, desired.Labels(stage), port) {
			t.Errorf("a pod of the stage is not let in at %d", port)
		}
		if letsIn(t, policy.Spec, other, map[string]string{"app": "x"}, port) {
			t.Errorf("a neighbour is let in at %d", port)
		}
	}
	for _, rule := range policy.Spec.Ingress[1:] {
		for _, from := range rule.From { // without a namespace selector, the policy's own namespace is meant
			if from.NamespaceSelector != nil || from.IPBlock != nil {
				t.Errorf("the pods of other places are let in: %+v", from)
			}
		}
	}
}

// letsIn evaluates a policy's ingress as a network plugin does, for peers that are pods.
func letsIn(t *testing.T, policy networkingv1.NetworkPolicySpec, namespace, pod map[string]string, port int) bool {
	t.Helper()
	for _, rule := range policy.Ingress {
		at := len(rule.Ports) == 0 || slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool {
			return p.Port == nil || p.Port.IntValue() == port
		})
		from := len(rule.From) == 0 || slices.ContainsFunc(rule.From, func(p networkingv1.NetworkPolicyPeer) bool {
			// Without a namespace selector, the policy's own namespace is meant: a neighbour's.
			return p.IPBlock == nil && (p.NamespaceSelector == nil || matches(t, p.NamespaceSelector, namespace)) && (p.PodSelector == nil || matches(t, p.PodSelector, pod))
		})
		if at && from {
			return true
		}
	}
	return false
}

func matches(t *testing.T, s *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(set))
}
