package controllers

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
	"github.com/alignment-dev/alignment-operator/controllers/status"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	yes, ttl := true, int32(60)
	job := func(hash string, change ...func(*batchv1.Job)) *batchv1.Job {
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
			CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			Annotations:       map[string]string{desired.AnnotationRunHash: hash, desired.AnnotationGeneration: "2"},
		}, Status: batchv1.JobStatus{Failed: 1}}
		for _, c := range change {
			c(j)
		}
		return j
	}
	ends := func(end batchv1.JobConditionType) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: end, Status: "True"}}
		}
	}
	suspended := func(j *batchv1.Job) { j.Spec.Suspend = &yes }
	queued := func(j *batchv1.Job) { j.Labels = map[string]string{desired.QueueLabel: "q"} }
	unbegun := func(j *batchv1.Job) { j.Status.Failed = 0 }
	older := func(j *batchv1.Job) { j.Annotations[desired.AnnotationGeneration] = "1" }
	run := &desired.Run{Hash: "a"}
	suspend := func(s *v1alpha1.SFTJob) { s.Spec.Suspend = true }
	onChange := func(s *v1alpha1.SFTJob) { s.Spec.Retrain = v1alpha1.RetrainOnChange }
	trained := func(s *v1alpha1.SFTJob) {
		s.Status.RunHash, s.Status.Phase = "a", v1alpha1.PhaseSucceeded
		s.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionTrained, Status: "True"}}
	}
	expired := func(s *v1alpha1.SFTJob) {
		end, start := metav1.NewTime(now.Add(-time.Minute)), metav1.NewTime(now.Add(-time.Hour))
		s.Spec.TTLSecondsAfterFinished, s.Status.CompletionTime, s.Status.StartTime = &ttl, &end, &start
		if s.Status.Phase == "" {
			s.Status.Phase, s.Status.RunGeneration = v1alpha1.PhaseFailed, 2
		}
	}
	deleted := func(s *v1alpha1.SFTJob) { at := metav1.NewTime(now); s.DeletionTimestamp = &at }
	type stage = []func(*v1alpha1.SFTJob)
	for name, c := range map[string]struct {
		stage stage
		o     status.Observed
		want  action
	}{
		"unresolved":                        {nil, status.Observed{}, nothing},
		"resolved":                          {nil, status.Observed{Run: run}, lookUp},
		"resolved, suspended":               {stage{suspend}, status.Observed{Run: run}, nothing},
		"an old pod still runs":             {nil, status.Observed{Run: run, Leftover: []string{"p"}}, nothing},
		"looking":                           {nil, status.Observed{Run: run, Lookup: job("a")}, nothing},
		"looked for another run":            {nil, status.Observed{Run: run, Lookup: job("b")}, deleteLookup},
		"looked for an older spec":          {nil, status.Observed{Run: run, Lookup: job("a", older)}, deleteLookup},
		"found nothing":                     {nil, status.Observed{Run: run, Lookup: job("a", ends(batchv1.JobComplete))}, startRun},
		"lookup failed":                     {nil, status.Observed{Run: run, Lookup: job("a", ends(batchv1.JobFailed))}, startRun},
		"running":                           {nil, status.Observed{Run: run, Job: job("a")}, nothing},
		"running, to suspend":               {stage{suspend}, status.Observed{Run: run, Job: job("a")}, suspendJob},
		"suspended":                         {stage{suspend}, status.Observed{Run: run, Job: job("a", suspended)}, nothing},
		"suspended, to resume":              {nil, status.Observed{Run: run, Job: job("a", suspended)}, resumeJob},
		"suspended by Kueue":                {nil, status.Observed{Run: run, Job: job("a", suspended, queued)}, nothing},
		"queued, to suspend":                {stage{suspend}, status.Observed{Run: run, Job: job("a", queued)}, deleteJob},
		"running, changed":                  {nil, status.Observed{Run: run, Job: job("b", older)}, nothing},
		"running, changed, OnChange":        {stage{onChange}, status.Observed{Run: run, Job: job("b")}, deleteJob},
		"not begun, changed":                {nil, status.Observed{Run: run, Job: job("a", unbegun, older)}, deleteJob},
		"failed":                            {nil, status.Observed{Run: run, Job: job("a", ends(batchv1.JobFailed))}, nothing},
		"failed, changed":                   {nil, status.Observed{Run: run, Job: job("a", ends(batchv1.JobFailed), older)}, deleteJob},
		"failed, expired":                   {stage{expired}, status.Observed{Run: run, Job: job("a", ends(batchv1.JobFailed))}, deleteJob},
		"failed, its Job gone with time":    {stage{expired}, status.Observed{Run: run}, nothing},
		"trained":                           {stage{trained}, status.Observed{Run: run, Job: job("a", ends(batchv1.JobComplete))}, nothing},
		"trained, expired":                  {stage{trained, expired}, status.Observed{Run: run, Job: job("a", ends(batchv1.JobComplete))}, deleteJob},
		"trained, without a Job":            {stage{trained}, status.Observed{Run: run}, nothing},
		"trained, suspended":                {stage{trained, suspend}, status.Observed{Run: run, Job: job("a", ends(batchv1.JobComplete))}, nothing},
		"trained, changed: the status goes": {stage{trained, onChange}, status.Observed{Run: &desired.Run{Hash: "b"}}, nothing},
		"deleted, running":                  {stage{deleted}, status.Observed{Job: job("a")}, deleteJob},
		"deleted, its pod still ends":       {stage{deleted}, status.Observed{Leftover: []string{"p"}}, nothing},
		"deleted":                           {stage{deleted}, status.Observed{}, removeOutput},
		"deleted, removing":                 {stage{deleted}, status.Observed{Removal: job("")}, nothing},
		"deleted, removed":                  {stage{deleted}, status.Observed{Removal: job("", ends(batchv1.JobComplete))}, release},
		"deleted, not removed":              {stage{deleted}, status.Observed{Removal: job("", ends(batchv1.JobFailed))}, nothing},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
			for _, change := range c.stage {
				change(s)
			}
			c.o.Stage = s
			if got := decide(c.o, now); got != c.want {
				t.Errorf("got action %d, want %d", got, c.want)
			}
		})
	}
}
