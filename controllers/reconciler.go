package controllers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
	"github.com/alignment-dev/alignment-operator/controllers/inputs"
	"github.com/alignment-dev/alignment-operator/controllers/status"
)

// FieldOwner owns every field that this operator applies.
const FieldOwner = client.FieldOwner("alignment-operator")

// conflictDelay lets the cache catch up with the status that was written meanwhile.
const conflictDelay = 100 * time.Millisecond

// Reconciler brings the stages of one kind to their desired state. All fields but Kind are
// the same for every kind.
type Reconciler struct {
	Kind   v1alpha1.StageKind
	Client client.Client
	// Reader reads past the cache, which has only what is labelled as a stage's.
	Reader   client.Reader
	Events   events.EventRecorder
	Clock    clock.PassiveClock
	Settings desired.Settings
	Metrics  *Metrics
	// Progress asks a running trainer how far it is, every ProgressInterval.
	Progress         *ProgressReader
	ProgressInterval time.Duration
}

// +kubebuilder:rbac:groups=alignment.dev,resources=sftjobs;rewardmodeljobs;ppojobs;dpojobs;simpojobs,verbs=get;list;watch
// +kubebuilder:rbac:groups=alignment.dev,resources=sftjobs/status;rewardmodeljobs/status;ppojobs/status;dpojobs/status;simpojobs/status,verbs=patch
// +kubebuilder:rbac:groups=alignment.dev,resources=sftjobs/finalizers;rewardmodeljobs/finalizers;ppojobs/finalizers;dpojobs/finalizers;simpojobs/finalizers,verbs=update
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile makes one pass over a stage.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	stage := v1alpha1.NewStage(r.Kind)
	if err := r.Client.Get(ctx, req.NamespacedName, stage); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !stage.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil // owner references do the rest
	}
	o, err := r.gather(ctx, stage)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("gather: %w", err)
	}
	if o.Inputs.Problem == nil {
		o.Run, o.Invalid = desired.NewRun(stage, o.Inputs.Resolved, r.Settings)
	}
	changed, err := r.apply(ctx, o)
	if changed {
		return ctrl.Result{}, nil // the Job's own event brings the next pass, with the Job in the cache
	}
	o.CreateError = err
	conflict, perr := r.patchStatus(ctx, o)
	switch {
	case perr != nil || err != nil:
		return ctrl.Result{}, errors.Join(perr, err)
	case conflict:
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	if pod := status.Newest(o.Pods); pod != nil && status.Running(pod) {
		// How far a trainer is, only it knows: while it runs, and only then, it is asked again.
		return ctrl.Result{RequeueAfter: r.ProgressInterval}, nil
	}
	return ctrl.Result{}, nil
}

// gather reads all that the decisions need.
func (r *Reconciler) gather(ctx context.Context, stage v1alpha1.Stage) (status.Observed, error) {
	o := status.Observed{Stage: stage}
	var err error
	if o.Inputs, err = inputs.Gather(ctx, r.Client, stage); err != nil {
		return o, err
	}
	job := &batchv1.Job{}
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: stage.GetNamespace(), Name: desired.Name(stage)}, job)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return o, fmt.Errorf("get Job: %w", err)
	case err == nil && metav1.IsControlledBy(job, stage):
		o.Job = job // else applying ours will say what is in the way
	}
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.InNamespace(stage.GetNamespace()),
		client.MatchingLabels{desired.LabelKind: string(r.Kind), desired.LabelName: stage.GetName()}); err != nil {
		return o, fmt.Errorf("list pods: %w", err)
	}
	for _, p := range pods.Items {
		switch {
		case o.Job != nil && metav1.IsControlledBy(&p, o.Job):
			o.Pods = append(o.Pods, p)
		case p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed:
			o.Leftover = append(o.Leftover, p.Name)
		}
	}
	if pod := status.Newest(o.Pods); pod != nil && status.Running(pod) && r.progressDue(stage) {
		o.Progress = r.readProgress(ctx, pod)
	}
	return o, nil
}

// progressDue keeps the passes that other events bring from asking too often.
func (r *Reconciler) progressDue(stage v1alpha1.Stage) bool {
	p := stage.StageStatus().Progress
	return p == nil || r.Clock.Since(p.UpdatedAt.Time) >= r.ProgressInterval-time.Second
}

// readProgress is nil for a trainer that does not answer: it may be loading, or computing.
func (r *Reconciler) readProgress(ctx context.Context, pod *corev1.Pod) *runconfig.Progress {
	p, err := r.Progress.Read(ctx, pod)
	if err != nil {
		r.Metrics.progressErrors.WithLabelValues(string(r.Kind)).Inc()
		log.FromContext(ctx).V(1).Info("Reading progress failed", "pod", pod.Name, "err", err.Error())
		return nil
	}
	return p
}

// apply starts a run, or clears a failed one away for a changed spec. changed says that an
// event of the Job will follow.
func (r *Reconciler) apply(ctx context.Context, o status.Observed) (changed bool, err error) {
	switch {
	case meta.IsStatusConditionTrue(o.Stage.StageStatus().Conditions, v1alpha1.ConditionTrained):
		return false, nil
	case o.Job == nil && o.Run != nil && len(o.Leftover) == 0:
		if err := r.start(ctx, o); err != nil {
			return false, err
		}
		return true, nil
	case o.Job != nil && failed(o.Job) && o.Job.DeletionTimestamp == nil && changedSince(o.Job, o.Stage):
		// The Job stays where the failed run can be read until someone changes the spec.
		err := r.Client.Delete(ctx, o.Job, client.PropagationPolicy(metav1.DeletePropagationBackground),
			client.Preconditions{UID: &o.Job.UID})
		if err = client.IgnoreNotFound(err); err != nil {
			return false, fmt.Errorf("delete the failed Job: %w", err)
		}
		return true, nil
	}
	return false, nil
}

func (r *Reconciler) start(ctx context.Context, o status.Observed) error {
	if err := r.namesFree(ctx, o.Stage); err != nil {
		return err
	}
	for _, obj := range []runtime.ApplyConfiguration{o.Run.ConfigMap, o.Run.NetworkPolicy, o.Run.Job} {
		if err := r.Client.Apply(ctx, obj, FieldOwner); err != nil {
			return fmt.Errorf("apply: %w", err)
		}
	}
	since := o.Stage.GetCreationTimestamp().Time
	if o.Inputs.Since.After(since) {
		since = o.Inputs.Since
	}
	r.Metrics.jobCreated.WithLabelValues(string(r.Kind)).Observe(r.Clock.Since(since).Seconds())
	log.FromContext(ctx).Info("Starting run", "runHash", o.Run.Hash, "output", o.Run.Config.Output.URI)
	return nil
}

// namesFree says what is in the way of a stage's objects. Server-side apply would not: it merges
// with another's object where no field is in dispute, and makes the stage its owner.
func (r *Reconciler) namesFree(ctx context.Context, stage v1alpha1.Stage) error {
	for _, gvk := range []schema.GroupVersionKind{
		corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
		batchv1.SchemeGroupVersion.WithKind("Job"),
	} {
		obj := &metav1.PartialObjectMetadata{}
		obj.SetGroupVersionKind(gvk)
		err := r.Reader.Get(ctx, client.ObjectKey{Namespace: stage.GetNamespace(), Name: desired.Name(stage)}, obj)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("get %s: %w", gvk.Kind, err)
		case !belongs(obj, stage):
			return fmt.Errorf("%s %q is in the way: it does not belong to this %s; delete it, or give one of them another name", gvk.Kind, obj.Name, stage.StageKind())
		}
	}
	return nil
}

// belongs says whether an object was made for a stage of this kind and name: this one, or one deleted
// before it, whose objects are still being collected or were left on purpose.
func belongs(obj metav1.Object, stage v1alpha1.Stage) bool {
	for k, v := range desired.Labels(stage) {
		if obj.GetLabels()[k] != v {
			return false
		}
	}
	c := metav1.GetControllerOf(obj)
	return c == nil || c.Kind == string(stage.StageKind()) && c.Name == stage.GetName()
}

// patchStatus writes the status once, if it says something new, and tells of it. A conflict
// wrote nothing: the stage in the cache was not the newest.
func (r *Reconciler) patchStatus(ctx context.Context, o status.Observed) (conflict bool, err error) {
	before := *o.Stage.StageStatus()
	after := status.Next(o, r.Clock.Now())
	if status.Equal(before, after) {
		return false, nil
	}
	base := o.Stage.DeepCopyObject().(client.Object)
	*o.Stage.StageStatus() = after
	// With the lock, a status made from an old copy is never written over a newer one.
	patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, o.Stage, patch, FieldOwner); err != nil {
		switch {
		case apierrors.IsConflict(err):
			return true, nil
		case apierrors.IsNotFound(err):
			return false, nil // deleted meanwhile
		}
		return false, fmt.Errorf("patch status: %w", err)
	}
	for _, e := range status.Events(before, after) {
		r.Events.Eventf(o.Stage, nil, e.Type, e.Reason, e.Action, "%s", e.Message)
	}
	if after.RunHash == before.RunHash {
		r.Metrics.retries.WithLabelValues(string(r.Kind)).Add(float64(max(0, after.Attempts-max(1, before.Attempts))))
	}
	return false, nil
}

func failed(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// changedSince says whether a stage's spec is another than the Job was made from.
func changedSince(job *batchv1.Job, stage v1alpha1.Stage) bool {
	return job.Annotations[desired.AnnotationGeneration] != strconv.FormatInt(stage.GetGeneration(), 10)
}
