//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// TestDelete deletes a running and a finished stage: what belonged to them goes, and nothing else.
func TestDelete(t *testing.T) {
	t.Parallel()
	s := newSpace(t).workspace()
	before := s.objects()
	s.create(sftJob("running", func(j *v1alpha1.SFTJob) { j.Spec.Training.MaxSteps = 1 << 20 }))
	s.create(sftJob("finished", func(j *v1alpha1.SFTJob) { j.Spec.Training.MaxSteps = 2 }))
	s.attempt(v1alpha1.SFTJobKind, "running", 1, step(1))
	s.succeeds(v1alpha1.SFTJobKind, "finished")
	made := s.objects()
	for _, stage := range []string{"running-sft", "finished-sft"} {
		for _, kind := range []string{"Job", "ConfigMap", "NetworkPolicy"} {
			if !made[kind+"/"+stage] {
				t.Errorf("there is no %s %s", kind, stage)
			}
		}
	}
	s.kubectl(nil, "delete", "sftjob", "running", "finished", "--timeout=60s")
	s.eventually(time.Minute, func() error {
		var left []string
		for o := range s.objects() {
			if !before[o] {
				left = append(left, o)
			}
		}
		if len(left) > 0 {
			slices.Sort(left)
			return fmt.Errorf("left behind: %s", strings.Join(left, ", "))
		}
		return nil
	})
	if after := s.objects(); !maps.Equal(before, after) {
		t.Errorf("before the stages there were %v, after them %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
}

// objects of the namespace, by kind and name, of the kinds that stages make or might make.
func (s *space) objects() map[string]bool {
	s.Helper()
	all := map[string]bool{}
	for kind, list := range map[string]client.ObjectList{
		"Job": &batchv1.JobList{}, "Pod": &corev1.PodList{}, "ConfigMap": &corev1.ConfigMapList{}, "Service": &corev1.ServiceList{},
		"Secret": &corev1.SecretList{}, "NetworkPolicy": &networkingv1.NetworkPolicyList{}, "PersistentVolumeClaim": &corev1.PersistentVolumeClaimList{},
	} {
		if err := kube.List(ctx, list, client.InNamespace(s.name)); err != nil {
			s.Fatal(err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			s.Fatal(err)
		}
		for _, o := range items {
			all[kind+"/"+o.(client.Object).GetName()] = true
		}
	}
	return all
}
