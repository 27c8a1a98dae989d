package inputs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// Inputs are what was found for a stage's references.
type Inputs struct {
	// Resolved has an entry per upstream, in their order, each followed by the base of an adapter; incomplete when there is a
	// Problem.
	Resolved []v1alpha1.Input
	// Lineage is every checkpoint behind the resolved ones, and these, the oldest first.
	Lineage []v1alpha1.Ancestor
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
			Artifact: here(u.Ref, *status.Output),
			From: &v1alpha1.InputStage{
				Kind: u.Ref.Kind, Namespace: string(u.Ref.Namespace), Name: u.Ref.Name, UID: up.GetUID(), Generation: status.RunGeneration,
			},
		})
		if base := baseOf(up); base != nil {
			base.Role, base.Artifact = v1alpha1.BaseOf(u.Role), here(u.Ref, base.Artifact)
			in.Resolved = append(in.Resolved, *base)
		}
		in.addLineage(up)
		if t := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionTrained).LastTransitionTime; t.After(in.Since) {
			in.Since = t.Time
		}
	}
	return in, nil
}

// here is an artifact as this namespace's pods see it.
func here(ref v1alpha1.StageReference, a v1alpha1.Artifact) v1alpha1.Artifact {
	if rest, on := strings.CutPrefix(a.URI, "pvc://"); on && ref.Claim != "" {
		_, path, _ := strings.Cut(rest, "/")
		a.URI = "pvc://" + ref.Claim + "/" + path
	}
	return a
}

// claim is that of an URI, if it has one.
func claim(uri string) string {
	rest, on := strings.CutPrefix(uri, "pvc://")
	if !on {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// baseOf is what the adapter goes on that a trained stage has published; nil for one that publishes whole checkpoints.
func baseOf(up v1alpha1.Stage) *v1alpha1.Input {
	if !up.StageSpec().Training.PublishesAdapter() {
		return nil
	}
	for _, in := range up.StageStatus().Inputs {
		if in.Role == v1alpha1.RoleModel {
			return &in
		}
	}
	return nil
}

// maxLineage bounds a status; a chain of so many stages is nobody's.
const maxLineage = 64

// addLineage appends a stage's checkpoint after those that it was made from, each once.
func (in *Inputs) addLineage(up v1alpha1.Stage) {
	status := up.StageStatus()
	self := v1alpha1.Ancestor{
		Kind: up.StageKind(), Namespace: up.GetNamespace(), Name: up.GetName(), Artifact: *status.Output, RunHash: status.RunHash,
	}
	for _, i := range status.Inputs {
		self.Inputs = append(self.Inputs, i.Role+"="+cmp.Or(i.Digest, i.URI))
	}
	for _, a := range append(slices.Clone(status.Lineage), self) {
		known := slices.ContainsFunc(in.Lineage, func(b v1alpha1.Ancestor) bool {
			return a.Digest == b.Digest && a.Kind == b.Kind && a.Namespace == b.Namespace && a.Name == b.Name
		})
		if !known && len(in.Lineage) < maxLineage {
			in.Lineage = append(in.Lineage, a)
		}
	}
}

// check says why an upstream cannot be used; nil if it can. A nil stage was not found.
func check(u v1alpha1.Upstream, up v1alpha1.Stage) *Problem {
	switch {
	case up == nil && u.Ref.Namespace != "":
		return &Problem{
			Reason:  v1alpha1.ReasonUpstreamNotShared,
			Message: fmt.Sprintf("%s: there is no %s %q in namespace %s that is sharedWith this one", u.Field, u.Ref.Kind, u.Ref.Name, u.Ref.Namespace),
		}
	case up == nil:
		return &Problem{
			Reason:  v1alpha1.ReasonUpstreamNotFound,
			Message: fmt.Sprintf("%s: there is no %s %q in this namespace yet", u.Field, u.Ref.Kind, u.Ref.Name),
		}
	}
	status := up.StageStatus()
	switch on := claim(up.StageSpec().Output.URI); {
	case on != "" && u.Ref.Namespace != "" && u.Ref.Claim == "":
		return &Problem{
			Reason: v1alpha1.ReasonClaimNotNamed,
			Message: fmt.Sprintf("%s.claim: %s %q publishes to claim %q of namespace %s, and pods mount claims of their own namespace only: name one that holds the same files",
				u.Field, u.Ref.Kind, u.Ref.Name, on, u.Ref.Namespace),
		}
	case status.ObservedGeneration != up.GetGeneration() && status.ObservedGeneration > 0:
		// What it has may be about to be replaced.
		return &Problem{
			Reason:  v1alpha1.ReasonUpstreamNotReady,
			Message: fmt.Sprintf("%s: %s %q has just been changed", u.Field, u.Ref.Kind, u.Ref.Name),
		}
	case meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionTrained) && status.Output != nil && status.Output.Digest != "":
		return checkBase(u, up)
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

// checkBase is nil if the stage publishes no adapter, or what that goes on is within reach.
func checkBase(u v1alpha1.Upstream, up v1alpha1.Stage) *Problem {
	if !up.StageSpec().Training.PublishesAdapter() {
		return nil
	}
	base, why := baseOf(up), "its status does not say on what"
	if base != nil {
		on := claim(base.URI)
		if on == "" || u.Ref.Namespace == "" || on == claim(up.StageStatus().Output.URI) {
			return nil
		}
		why = fmt.Sprintf("its base is on claim %q of namespace %s, where its output is not", on, u.Ref.Namespace)
	}
	return &Problem{
		Reason:  v1alpha1.ReasonUpstreamIsAdapter,
		Message: fmt.Sprintf("%s: %s %q publishes an adapter, and %s: set its training.lora.publish to Merged", u.Field, u.Ref.Kind, u.Ref.Name, why),
	}
}

// findCycle follows references upwards and returns the way back to the stage itself, as
// ["DPOJob a", "SFTJob b", "DPOJob a"]; nil if there is none. A cycle that the stage only
// hangs on is reported by its own members.
func findCycle(ctx context.Context, r client.Reader, stage v1alpha1.Stage) ([]string, error) {
	self := node{stage.StageKind(), stage.GetNamespace(), stage.GetName()}
	seen := map[node]bool{}
	var walk func(s v1alpha1.Stage, way []string) ([]string, error)
	walk = func(s v1alpha1.Stage, way []string) ([]string, error) {
		for _, u := range s.Upstreams() {
			at := node{u.Ref.Kind, cmp.Or(string(u.Ref.Namespace), s.GetNamespace()), u.Ref.Name}
			next := append(way[:len(way):len(way)], at.label(self.namespace))
			if at == self {
				return next, nil
			}
			if seen[at] {
				continue
			}
			seen[at] = true
			up, err := get(ctx, r, s.GetNamespace(), u.Ref)
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
	return walk(stage, []string{self.label(self.namespace)})
}

// node is a stage in the graph of references.
type node struct {
	kind            v1alpha1.StageKind
	namespace, name string
}

func (n node) label(home string) string {
	if n.namespace == home {
		return string(n.kind) + " " + n.name
	}
	return string(n.kind) + " " + n.namespace + "/" + n.name
}

// get reads what a stage of a namespace refers to; a nil stage without an error is one that does not
// exist, is being deleted, or is not shared with the namespace, which are not told apart.
func get(ctx context.Context, r client.Reader, namespace string, ref v1alpha1.StageReference) (v1alpha1.Stage, error) {
	s := v1alpha1.NewStage(ref.Kind)
	if s == nil {
		return nil, fmt.Errorf("get %s %s: no such kind", ref.Kind, ref.Name)
	}
	home := cmp.Or(string(ref.Namespace), namespace)
	if err := r.Get(ctx, client.ObjectKey{Namespace: home, Name: ref.Name}, s); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("get %s %s: %w", ref.Kind, ref.Name, err)
	}
	shared := home == namespace || slices.Contains(s.StageSpec().SharedWith, v1alpha1.NamespaceName(namespace))
	if !shared || s.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	return s, nil
}
