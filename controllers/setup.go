package controllers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// upstreamIndex finds the stages that refer to one: its key is "SFTJob/namespace/name".
const upstreamIndex = "upstreams"

// Options of the controllers.
type Options struct {
	Settings         desired.Settings
	ProgressInterval time.Duration
	Progress         *ProgressReader
	Metrics          *Metrics
	Clock            clock.PassiveClock
}

// Scheme knows the kinds that the operator reads and writes.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(s); err != nil {
		return nil, err
	}
	return s, v1alpha1.AddToScheme(s)
}

// CacheOptions keep in memory only what belongs to stages. namespace "" is all.
func CacheOptions(namespace string) cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{"app.kubernetes.io/managed-by": desired.OperatorName})}
	o := cache.Options{ByObject: map[client.Object]cache.ByObject{&batchv1.Job{}: ours, &corev1.Pod{}: ours}}
	if namespace != "" {
		o.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	}
	return o
}

// Setup adds a controller for each kind to a manager.
func Setup(ctx context.Context, mgr manager.Manager, o Options) error {
	for _, kind := range v1alpha1.StageKinds {
		if err := mgr.GetFieldIndexer().IndexField(ctx, v1alpha1.NewStage(kind), upstreamIndex, upstreamKeys); err != nil {
			return fmt.Errorf("index %s: %w", kind, err)
		}
	}
	for _, kind := range v1alpha1.StageKinds {
		r := &Reconciler{
			Kind:             kind,
			Client:           mgr.GetClient(),
			Reader:           mgr.GetAPIReader(),
			Events:           mgr.GetEventRecorder(desired.OperatorName),
			Clock:            o.Clock,
			Settings:         o.Settings,
			Metrics:          o.Metrics,
			Progress:         o.Progress,
			ProgressInterval: o.ProgressInterval,
		}
		b := ctrl.NewControllerManagedBy(mgr).
			For(v1alpha1.NewStage(kind), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
			Owns(&batchv1.Job{}).
			Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.seePod)).
			// A trainer that hangs costs a worker two seconds; the others go on.
			WithOptions(controller.Options{
				MaxConcurrentReconciles: 8,
				// The default waits up to 16 minutes after a quota was raised or an API server came back.
				RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](20*time.Millisecond, 30*time.Second),
			})
		for _, up := range v1alpha1.StageKinds {
			b.Watches(v1alpha1.NewStage(up), handler.EnqueueRequestsFromMapFunc(r.downstreams(up)), builder.WithPredicates(upstreamChanged))
		}
		if err := b.Complete(r); err != nil {
			return fmt.Errorf("set up %s: %w", kind, err)
		}
	}
	return nil
}

func upstreamKeys(obj client.Object) []string {
	var keys []string
	for _, u := range obj.(v1alpha1.Stage).Upstreams() {
		keys = append(keys, upstreamKey(u.Ref.Kind, cmp.Or(string(u.Ref.Namespace), obj.GetNamespace()), u.Ref.Name))
	}
	return keys
}

func upstreamKey(kind v1alpha1.StageKind, namespace, name string) string {
	return string(kind) + "/" + namespace + "/" + name
}

// seePod finds the stage of a trainer's pod, and remembers how the pod ended: with the event of its
// deletion, it is read for the last time.
func (r *Reconciler) seePod(_ context.Context, pod client.Object) []reconcile.Request {
	l := pod.GetLabels()
	if l[desired.LabelKind] != string(r.Kind) || l[desired.LabelName] == "" {
		return nil
	}
	stage := types.NamespacedName{Namespace: pod.GetNamespace(), Name: l[desired.LabelName]}
	if p := pod.(*corev1.Pod); over(p) {
		r.ended.note(stage, p)
	}
	return []reconcile.Request{{NamespacedName: stage}}
}

// downstreams finds the stages of the reconciler's kind that refer to one of kind up.
func (r *Reconciler) downstreams(up v1alpha1.StageKind) handler.MapFunc {
	return func(ctx context.Context, obj client.Object) []reconcile.Request {
		list, err := listStages(ctx, r.Client, r.Kind, client.MatchingFields{upstreamIndex: upstreamKey(up, obj.GetNamespace(), obj.GetName())})
		if err != nil {
			return nil // the cache only fails while the manager stops
		}
		var reqs []reconcile.Request
		for _, s := range list {
			reqs = append(reqs, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s)})
		}
		return reqs
	}
}

// listStages lists the stages of a kind.
func listStages(ctx context.Context, c client.Reader, kind v1alpha1.StageKind, opts ...client.ListOption) ([]v1alpha1.Stage, error) {
	list := v1alpha1.NewStageList(kind)
	if err := c.List(ctx, list, opts...); err != nil {
		return nil, fmt.Errorf("list %s: %w", kind, err)
	}
	return list.Stages(), nil
}

// upstreamChanged lets through what a stage that refers to this one may care about: that it came
// or went, that it is trained or failed, and where its own references lead.
var upstreamChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		a, b := e.ObjectOld.(v1alpha1.Stage), e.ObjectNew.(v1alpha1.Stage)
		return a.GetGeneration() != b.GetGeneration() ||
			a.StageStatus().ObservedGeneration != b.StageStatus().ObservedGeneration ||
			(a.GetDeletionTimestamp() == nil) != (b.GetDeletionTimestamp() == nil) ||
			a.StageStatus().Phase != b.StageStatus().Phase ||
			!equality.Semantic.DeepEqual(a.StageStatus().Output, b.StageStatus().Output) ||
			reasonOf(a) != reasonOf(b)
	},
}

func reasonOf(s v1alpha1.Stage) string {
	if c := meta.FindStatusCondition(s.StageStatus().Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}
