//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

const (
	chart = "../../charts/alignment-operator"
	// earlierChart is version 0.1.0, as `helm package` made it: its CRDs have no spec.suspend, for one.
	earlierChart = "testdata/alignment-operator-0.1.0.tgz"
)

// TestHelm takes the chart through its life, as docs/install.md tells it: uninstalled under running stages, installed again,
// installed in its earlier version, upgraded. It is not parallel: the operator is everyone's.
func TestHelm(t *testing.T) {
	if !ownCluster {
		t.Skip("the operator of KUBECONFIG's cluster stays as it is")
	}
	s := newSpace(t).workspace()
	t.Cleanup(func() {
		if err := installOperator(ctx); err != nil {
			t.Error(err)
		}
	})
	s.create(sftJob("finished", func(j *v1alpha1.SFTJob) { j.Spec.Training.MaxSteps = 2 }))
	s.succeeds(v1alpha1.SFTJobKind, "finished")
	s.create(sftJob("running", func(j *v1alpha1.SFTJob) { j.Spec.Training.MaxSteps = 1 << 20 }))
	trained, _ := s.attempt(v1alpha1.SFTJobKind, "running", 1, step(1))
	crds := s.crds()
	finished := s.stored("finished")

	s.helm("uninstall", "alignment-operator", "--wait")
	if err := kube.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: operatorDeployment}, &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("the operator's Deployment after helm uninstall: %v", err)
	}
	s.sameCRDs(crds)
	if now := s.stored("finished"); now != finished {
		t.Errorf("the finished stage is %+v after helm uninstall, was %+v", now, finished)
	}
	_, left := s.attempt(v1alpha1.SFTJobKind, "running", 1, step(1))
	s.attempt(v1alpha1.SFTJobKind, "running", 1, step(left.Step+1)) // it trains on, with no operator there

	// With the documented values alone. Both stages are taken up where they are.
	s.helm(append([]string{"install", "alignment-operator", chart, "--wait"}, documented()...)...)
	s.sameCRDs(crds)
	s.seenRunning("running")
	s.leaderElected()
	if now := s.pods(v1alpha1.SFTJobKind, "running"); len(now) != 1 || now[0].UID != trained.UID {
		t.Errorf("the running stage has %d pods, want the one of before", len(now))
	}
	if now := s.stored("finished"); now != finished {
		t.Errorf("the finished stage is %+v after another helm install, was %+v", now, finished)
	}
	s.kubectl(nil, "delete", "sftjob", "running", "finished", "--timeout=60s")

	// The earlier version, on a cluster that has never had a later one.
	s.helm("uninstall", "alignment-operator", "--wait")
	for name := range crds {
		s.kubectl(nil, "delete", "crd", name, "--timeout=60s")
	}
	s.helm(append([]string{"install", "alignment-operator", earlierChart, "--wait"}, documented()...)...)
	s.create(sftJob("earlier", func(j *v1alpha1.SFTJob) { j.Spec.Training.MaxSteps = 2 }))
	earlier := s.crds()
	suspended := sftJob("suspended")
	suspended.Spec.Suspend = true
	if err := s.apply(suspended); err == nil || !strings.Contains(err.Error(), `unknown field "spec.suspend"`) {
		t.Fatalf("the earlier CRD answers spec.suspend with %v: it is no earlier one", err)
	}

	s.helm(append([]string{"upgrade", "alignment-operator", chart, "--wait"}, documented()...)...)
	s.sameCRDs(earlier) // the same objects, or their stages were gone
	s.leaderElected()
	if err := s.apply(suspended); err != nil {
		t.Errorf("after the upgrade: %v", err)
	}
	s.succeeds(v1alpha1.SFTJobKind, "earlier")
	s.eventually(time.Minute, func() error {
		st, err := s.stage(v1alpha1.SFTJobKind, "suspended")
		if err == nil && st.StageStatus().Phase != v1alpha1.PhaseSuspended {
			err = fmt.Errorf("the suspended stage is %q", st.StageStatus().Phase)
		}
		return err
	})
}

// helm runs helm on the release's namespace.
func (s *space) helm(args ...string) {
	s.Helper()
	out, err := command(ctx, nil, "../../bin/helm", append(args, "--namespace", operatorNamespace, "--timeout", "2m")...)
	if err != nil {
		s.Fatal(err)
	}
	s.Logf("helm %s\n%s", args[0], out)
}

// documented are the values that docs/install.md asks for.
func documented() (flags []string) {
	for key, image := range map[string]string{"image": os.Getenv("OPERATOR_IMAGE"), "trainerImage": os.Getenv("TRAINER_IMAGE")} {
		colon := strings.LastIndex(image, ":")
		flags = append(flags, "--set", key+".repository="+image[:colon]+","+key+".tag="+image[colon+1:])
	}
	return flags
}

// crds are the stages' CRDs in the cluster.
func (s *space) crds() map[string]types.UID {
	s.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("apiextensions.k8s.io/v1")
	list.SetKind("CustomResourceDefinitionList")
	if err := kube.List(ctx, list); err != nil {
		s.Fatal(err)
	}
	all := map[string]types.UID{}
	for _, crd := range list.Items {
		if strings.HasSuffix(crd.GetName(), "."+v1alpha1.GroupVersion.Group) {
			all[crd.GetName()] = crd.GetUID()
		}
	}
	if len(all) != len(v1alpha1.StageKinds) {
		s.Fatalf("the cluster's CRDs are %v", all)
	}
	return all
}

func (s *space) sameCRDs(before map[string]types.UID) {
	s.Helper()
	for name, uid := range s.crds() {
		if before[name] != uid {
			s.Errorf("CRD %s is another than before, or new", name)
		}
	}
}

// version of a stage as it is stored: nobody has written to it when both are the same.
type version struct {
	uid      types.UID
	resource string
}

func (s *space) stored(name string) version {
	s.Helper()
	st, err := s.stage(v1alpha1.SFTJobKind, name)
	if err != nil {
		s.Fatal(err)
	}
	return version{st.GetUID(), st.GetResourceVersion()}
}

// apply is what people do with a file.
func (s *space) apply(stage *v1alpha1.SFTJob) error {
	s.Helper()
	stage.APIVersion, stage.Kind = v1alpha1.GroupVersion.String(), string(v1alpha1.SFTJobKind)
	b, err := yaml.Marshal(stage)
	if err != nil {
		s.Fatal(err)
	}
	file := filepath.Join(s.TempDir(), "stage.yaml")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		s.Fatal(err)
	}
	_, err = kubectl(ctx, nil, "--namespace", s.name, "apply", "-f", file)
	return err
}

// leaderElected waits until both replicas are there and one of them leads.
func (s *space) leaderElected() {
	s.Helper()
	s.eventually(time.Minute, func() error {
		var d appsv1.Deployment
		if err := kube.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: operatorDeployment}, &d); err != nil {
			return err
		}
		if d.Status.AvailableReplicas != 2 {
			return fmt.Errorf("%d operators are available, want 2", d.Status.AvailableReplicas)
		}
		_, err := leader()
		return err
	})
}
