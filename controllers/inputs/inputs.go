package inputs

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// Inputs are what was found for a stage's references.
type Inputs struct {
	// Resolved has an entry per upstream, in their order; incomplete when there is a Problem.
	Resolved []v1alpha1.Input
	// Since is when the last of the upstreams became ready; zero without upstreams.
	Since time.Time
	// Problem is the first reference that does not resolve; nil when all do.
	Problem *Problem
}

// Problem is why a reference does not resolve: a condition in the making.
type Problem struct {
	// Reason is one of the API's reasons of InputsResolved.
	Reason  string
	Message string
	// Permanent problems are not mended by waiting.
	Permanent bool
}

// Gather reads the stages that a stage refers to. An error is a failed read; a reference
// that leads nowhere yet is a Problem.
func Gather(ctx context.Context, r client.Reader, stage v1alpha1.Stage) (Inputs, error) {
	var in Inputs
	cycle, err := findCycle(ctx, r, stage)
	if err != nil {
		return in, err
	}
	if cycle != nil {
		in.Problem = &Problem{
			Reason:    v1alpha1.ReasonReferenceCycle,
			Message:   "references form a cycle: " + strings.Join(cycle, " -> "),
			Permanent: true,
		}
		return in, nil
	}
	for _, u := range stage.Upstreams() {
		up, err := get(ctx, r, stage.GetNamespace(), u.Ref)
		if err != nil {
			return in, fmt.Errorf("%s: %w", u.Field, err)
		}
		if in.Problem = check(u, up); in.Problem != nil {
			return in, nil
		}
		status := up.StageStatus()
		in.Resolved = append(in.Resolved, v1alpha1.Input{
			Role:     u.Role,
			Artifact: *status.Output,
			From:     &v1alpha1.InputStage{Kind: u.Ref.Kind, Name: u.Ref.Name, UID: up.GetUID(), Generation: status.RunGeneration},
		})
		if t := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionTrained).LastTransitionTime; t.After(in.Since) {
			in.Since = t.Time
		}
	}
	return in, nil
}

// check says why an upstream cannot be used; nil if it can. A nil stage was not found.
func check(u v1alpha1.Upstream, up v1alpha1.Stage) *Problem {
	if up == nil {
		return &Problem{
			Reason:  v1alpha1.ReasonUpstreamNotFound,
			Message: fmt.Sprintf("%s: there is no %s %q in this namespace yet", u.Field, u.Ref.Kind, u.Ref.Name),
		}
	}
	status := up.StageStatus()
	switch {
	case meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionTrained) && status.Output != nil && status.Output.Digest != "":
		return nil
	case status.Phase == v1alpha1.PhaseFailed:
		return &Problem{
			Reason:  v1alpha1.ReasonUpstreamFailed,
			Message: fmt.Sprintf("%s: %s %q failed; this stage goes on when that one is mended", u.Field, u.Ref.Kind, u.Ref.Name),
		}
	default:
		return &Problem{
			Reason:  v1alpha1.ReasonUpstreamNotReady,
			Message: fmt.Sprintf("%s: %s %q is not trained yet", u.Field, u.Ref.Kind, u.Ref.Name),
		}
	}
}

// findCycle follows references upwards and returns the way back to the stage itself, as
// ["DPOJob a", "SFTJob b", "DPOJob a"]; nil if there is none. A cycle that the stage only
// hangs on is reported by its own members.
func findCycle(ctx context.Context, r client.Reader, stage v1alpha1.Stage) ([]string, error) {
	self := v1alpha1.StageReference{Kind: stage.StageKind(), Name: stage.GetName()}
	seen := map[v1alpha1.StageReference]bool{}
	var walk func(s v1alpha1.Stage, way []string) ([]string, error)
	walk = func(s v1alpha1.Stage, way []string) ([]string, error) {
		for _, u := range s.Upstreams() {
			next := append(way[:len(way):len(way)], label(u.Ref))
			if u.Ref == self {
				return next, nil
			}
			if seen[u.Ref] {
				continue
			}
			seen[u.Ref] = true
			up, err := get(ctx, r, stage.GetNamespace(), u.Ref)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", u.Field, err)
			}
			if up == nil {
				continue
			}
			if cycle, err := walk(up, next); cycle != nil || err != nil {
				return cycle, err
			}
		}
		return nil, nil
	}
	return walk(stage, []string{label(self)})
}

func label(ref v1alpha1.StageReference) string { return string(ref.Kind) + " " + ref.Name }

// get reads a stage; a nil stage without an error is one that does not exist.
func get(ctx context.Context, r client.Reader, namespace string, ref v1alpha1.StageReference) (v1alpha1.Stage, error) {
	s := v1alpha1.NewStage(ref.Kind)
	if s == nil {
		return nil, fmt.Errorf("get %s: no such kind", label(ref))
	}
	if err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, s); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("get %s: %w", label(ref), err)
	}
	return s, nil
}
