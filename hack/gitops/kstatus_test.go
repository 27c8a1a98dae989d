package gitops

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// What kstatus, and with it Flux, kpt and others, makes of a stage.
func TestKstatus(t *testing.T) {
	everyStage(t, func(t *testing.T, s situation, u *unstructured.Unstructured) {
		got, err := status.Compute(u)
		if err != nil {
			t.Fatal(err)
		}
		if string(got.Status) != s.kstatus {
			t.Errorf("kstatus says %s (%s), want %s", got.Status, got.Message, s.kstatus)
		}
	})
}

// A stage that is being deleted is neither ready nor failed, whatever it was.
func TestKstatusOfDeleted(t *testing.T) {
	everyStage(t, func(t *testing.T, _ situation, u *unstructured.Unstructured) {
		now := metav1.NewTime(t0)
		u.SetDeletionTimestamp(&now)
		if got, err := status.Compute(u); err != nil || got.Status != status.TerminatingStatus {
			t.Errorf("kstatus says %+v, %v", got, err)
		}
	})
}

// Every phase is among the situations, so that a new one cannot be forgotten here.
func TestSituationsHaveEveryPhase(t *testing.T) {
	has := map[v1alpha1.Phase]bool{}
	for _, s := range situations {
		has[s.phase] = true
	}
	for _, p := range v1alpha1.Phases {
		if !has[p] {
			t.Errorf("no situation has the phase %s", p)
		}
	}
}
