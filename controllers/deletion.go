package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
	"github.com/alignment-dev/alignment-operator/controllers/status"
)

// Finalizer keeps a stage whose output is to be deleted until that is done.
const Finalizer = "alignment.dev/output"

// finalizer is there for deletionPolicy Delete, and only then.
func (r *Reconciler) finalizer(ctx context.Context, stage v1alpha1.Stage) (changed bool, err error) {
	wanted := stage.StageSpec().Output.DeletionPolicy == v1alpha1.DeletionDelete
	if wanted == controllerutil.ContainsFinalizer(stage, Finalizer) || wanted && stage.GetDeletionTimestamp() != nil {
		return false, nil
	}
	if !wanted {
		return true, r.release(ctx, stage)
	}
	base := stage.DeepCopyObject().(client.Object)
	controllerutil.AddFinalizer(stage, Finalizer)
	if err := r.patchMetadata(ctx, stage, base); err != nil {
		return false, err
	}
	return false, nil // the pass goes on with the stage as it was answered
}

// release lets a stage be deleted.
func (r *Reconciler) release(ctx context.Context, stage v1alpha1.Stage) error {
	base := stage.DeepCopyObject().(client.Object)
	controllerutil.RemoveFinalizer(stage, Finalizer)
	return r.patchMetadata(ctx, stage, base)
}

// patchMetadata never touches a spec: only finalizers differ.
func (r *Reconciler) patchMetadata(ctx context.Context, stage v1alpha1.Stage, base client.Object) error {
	err := r.Client.Patch(ctx, stage, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}), FieldOwner)
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("patch finalizers: %w", err)
	}
	return nil
}

// remove starts the removal of a stage's files. Where nothing can be started any more, since the
// namespace goes too, and its claims with it, there is nothing to wait for.
func (r *Reconciler) remove(ctx context.Context, o status.Observed) (changed bool, err error) {
	job, err := desired.NewRemoval(o.Stage, r.Settings)
	if err != nil {
		return false, err
	}
	_, err = r.applyAll(ctx, o.Stage, job)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		log.FromContext(ctx).Info("The namespace is being deleted: the output goes with its claims")
		return true, r.release(ctx, o.Stage)
	}
	return err == nil, err
}
