//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
)

// witness looks at a namespace all the time: for statuses that lie, and for all Jobs and pods that ever were.
type witness struct {
	*space
	stop func()
	last map[types.UID]v1alpha1.StageStatus
	lies map[string]bool
	// seen are the objects, by "pod" or "job" and the Job's name.
	seen map[string]map[types.UID]bool
	// found are the checkpoints that were seen where a status says they are.
	found map[v1alpha1.Artifact]bool
}

func watch(s *space) *witness {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	w := &witness{
		space: s,
		stop:  func() { cancel(); <-done },
		last:  map[types.UID]v1alpha1.StageStatus{}, lies: map[string]bool{},
		seen: map[string]map[types.UID]bool{}, found: map[v1alpha1.Artifact]bool{},
	}
	s.Cleanup(w.stop)
	go func() {
		defer close(done)
		for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
			w.look(ctx)
		}
	}()
	return w
}

// look looks once; what cannot be read is looked at the next time.
func (w *witness) look(ctx context.Context) {
	for _, kind := range v1alpha1.StageKinds {
		list := v1alpha1.NewStageList(kind)
		if err := kube.List(ctx, list, client.InNamespace(w.name)); err != nil {
			continue
		}
		for _, stage := range list.Stages() {
			w.status(ctx, stage)
		}
	}
	var jobs batchv1.JobList
	if err := kube.List(ctx, &jobs, client.InNamespace(w.name)); err == nil {
		for _, j := range jobs.Items {
			w.note("job", j.Name, j.UID)
		}
	}
	var pods corev1.PodList
	if err := kube.List(ctx, &pods, client.InNamespace(w.name)); err == nil {
		for _, p := range pods.Items {
			w.note("pod", p.Labels[batchv1.JobNameLabel], p.UID)
		}
	}
}

func (w *witness) note(what, job string, uid types.UID) {
	key := what + " " + job
	if w.seen[key] == nil {
		w.seen[key] = map[types.UID]bool{}
	}
	w.seen[key][uid] = true
}

// status compares a status with the one before, and with the storage.
func (w *witness) status(ctx context.Context, stage v1alpha1.Stage) {
	was, is := w.last[stage.GetUID()], *stage.StageStatus()
	w.last[stage.GetUID()] = is
	lie := func(when bool, what string) {
		if when {
			w.lies[fmt.Sprintf("%s %s: %s: %s, step %d of pod %s; before: %s, step %d of pod %s", stage.StageKind(), stage.GetName(), what,
				is.Phase, at(is), newestPod(is), was.Phase, at(was), newestPod(was))] = true
		}
	}
	ready := meta.IsStatusConditionTrue(is.Conditions, v1alpha1.ConditionReady)
	lie(ready != (is.Phase == v1alpha1.PhaseSucceeded), "Ready and phase differ")
	lie(ready != (is.Output != nil && is.Output.Digest != ""), "Ready without a checkpoint, or the other way round")
	lie(was.Phase == v1alpha1.PhaseSucceeded && !ready, "was trained, and is not")
	lie(was.RunHash != "" && is.RunHash != "" && is.RunHash != was.RunHash, "the run is another")
	lie(is.Attempts < was.Attempts || is.Restarts < was.Restarts || is.Disruptions < was.Disruptions, "attempts were forgotten")
	lie(newestPod(is) == newestPod(was) && at(is) < at(was), "the step went backwards within an attempt")
	lie(is.ObservedGeneration > stage.GetGeneration(), "a generation that is not there yet")
	if ready && is.Output != nil && !w.found[*is.Output] {
		digest, err := w.manifest(ctx, is.Output.URI)
		if ctx.Err() != nil {
			return
		}
		lie(err != nil || digest != is.Output.Digest, fmt.Sprintf("Ready with %+v, but the manifest there is %s (%v)", *is.Output, digest, err))
		w.found[*is.Output] = true
	}
}

func at(s v1alpha1.StageStatus) int64 {
	if s.Progress == nil {
		return 0
	}
	return s.Progress.Step
}

func newestPod(s v1alpha1.StageStatus) string {
	if len(s.History) == 0 {
		return ""
	}
	return s.History[len(s.History)-1].Pod
}

// manifest is the digest of what lies in a folder of a claim, read on this machine.
func (w *witness) manifest(ctx context.Context, uri string) (string, error) {
	name, path, _ := strings.Cut(strings.TrimPrefix(uri, "pvc://"), "/")
	var claim corev1.PersistentVolumeClaim
	var volume corev1.PersistentVolume
	for { // with patience: the API server may be away
		err := kube.Get(ctx, client.ObjectKey{Namespace: w.name, Name: name}, &claim)
		if err == nil {
			err = kube.Get(ctx, client.ObjectKey{Name: claim.Spec.VolumeName}, &volume)
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return "", err
		}
		time.Sleep(100 * time.Millisecond)
	}
	if volume.Spec.HostPath == nil {
		return "", fmt.Errorf("volume %s is no folder of this machine", volume.Name)
	}
	_, digest, err := checkpoint.ReadManifest(filepath.Join(volume.Spec.HostPath.Path, path))
	return digest, err
}

// made are the Jobs or pods of a name that ever were.
func (w *witness) made(what, job string) map[types.UID]bool { return w.seen[what+" "+job] }

// check ends the watch and tells of all lies.
func (w *witness) check() {
	w.Helper()
	w.stop()
	for _, lie := range slices.Sorted(maps.Keys(w.lies)) {
		w.Error(lie)
	}
	if len(w.last) == 0 || len(w.seen) == 0 {
		w.Error("the witness has seen nothing")
	}
}

// trainedOnce checks that every stage has had one lookup and one Job, of one pod that began at the beginning and
// went on to the end, and that no status has lied.
func (w *witness) trainedOnce() {
	w.Helper()
	w.check()
	for _, kind := range v1alpha1.StageKinds {
		st, err := w.stage(kind, "words")
		if err != nil {
			w.Fatal(err)
		}
		job := jobName(kind, "words")
		for _, name := range []string{job, job + "-lookup"} {
			if jobs, pods := len(w.made("job", name)), len(w.made("pod", name)); jobs != 1 || pods != 1 {
				w.Errorf("%s: there were %d Jobs and %d pods, want one of each", name, jobs, pods)
			}
		}
		status := st.StageStatus()
		if status.Attempts != 1 || status.Restarts != 0 || status.Disruptions != 0 || len(status.History) != 1 {
			w.Errorf("%s: status counts %d attempts, %d restarts, %d disruptions: %+v", job, status.Attempts, status.Restarts, status.Disruptions, status.History)
		}
		for _, p := range w.pods(kind, "words") {
			if log := w.log(p.Name); resuming.MatchString(log) {
				w.Errorf("pod %s resumed, with nothing before it:\n%s", p.Name, log)
			}
		}
	}
}
