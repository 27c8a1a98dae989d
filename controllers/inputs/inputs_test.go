package inputs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

var (
	trainedAt = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	trained   = v1alpha1.StageStatus{
		Phase: v1alpha1.PhaseSucceeded, RunGeneration: 4,
		Output:     &v1alpha1.Artifact{URI: "pvc://m/x", Digest: "sha256:1"},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionTrained, Status: "True", LastTransitionTime: trainedAt}},
	}
	noDigest = v1alpha1.StageStatus{
		Output:     &v1alpha1.Artifact{URI: "pvc://m/x"},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionTrained, Status: "True", LastTransitionTime: trainedAt}},
	}
)

func TestGather(t *testing.T) {
	for name, c := range map[string]struct {
		stage   v1alpha1.Stage
		cluster cluster
		reason  string
		message string
	}{
		"no references":   {sft("a", ""), nil, "", ""},
		"trained":         {dpo("b", "SFTJob/a", ""), cluster{"SFTJob/a": with(sft("a", ""), trained)}, "", ""},
		"missing":         {dpo("b", "SFTJob/a", ""), nil, v1alpha1.ReasonUpstreamNotFound, `spec.model.from: there is no SFTJob "a"`},
		"other kind":      {dpo("b", "SFTJob/a", ""), cluster{"DPOJob/a": with(dpo("a", "", ""), trained)}, v1alpha1.ReasonUpstreamNotFound, `"a"`},
		"not ready":       {dpo("b", "SFTJob/a", ""), cluster{"SFTJob/a": sft("a", "")}, v1alpha1.ReasonUpstreamNotReady, "not trained yet"},
		"without digest":  {dpo("b", "SFTJob/a", ""), cluster{"SFTJob/a": with(sft("a", ""), noDigest)}, v1alpha1.ReasonUpstreamNotReady, "not trained yet"},
		"failed":          {dpo("b", "SFTJob/a", ""), cluster{"SFTJob/a": with(sft("a", ""), v1alpha1.StageStatus{Phase: v1alpha1.PhaseFailed})}, v1alpha1.ReasonUpstreamFailed, "failed"},
		"second missing":  {dpo("b", "SFTJob/a", "SFTJob/r"), cluster{"SFTJob/a": with(sft("a", ""), trained)}, v1alpha1.ReasonUpstreamNotFound, "spec.reference.from"},
		"itself":          {dpo("b", "DPOJob/b", ""), nil, v1alpha1.ReasonReferenceCycle, "DPOJob b -> DPOJob b"},
		"cycle of three":  {dpo("c", "DPOJob/b", ""), cluster{"DPOJob/b": dpo("b", "SFTJob/a", ""), "SFTJob/a": sft("a", "DPOJob/c")}, v1alpha1.ReasonReferenceCycle, "DPOJob c -> DPOJob b -> SFTJob a -> DPOJob c"},
		"cycle elsewhere": {dpo("c", "DPOJob/a", ""), cluster{"DPOJob/b": dpo("b", "DPOJob/a", ""), "DPOJob/a": dpo("a", "DPOJob/b", "")}, v1alpha1.ReasonUpstreamNotReady, "not trained yet"},
		"through a reward model": {
			ppo("p", "SFTJob/a", "RewardModelJob/r"), cluster{"SFTJob/a": sft("a", "PPOJob/p"), "RewardModelJob/r": rm("r", "SFTJob/a")},
			v1alpha1.ReasonReferenceCycle, "PPOJob p -> SFTJob a -> PPOJob p"},
		"only through a reward model": {
			ppo("p", "SFTJob/b", "RewardModelJob/r"),
			cluster{"SFTJob/a": sft("a", "PPOJob/p"), "SFTJob/b": with(sft("b", ""), trained), "RewardModelJob/r": rm("r", "SFTJob/a")},
			v1alpha1.ReasonReferenceCycle, "PPOJob p -> RewardModelJob r -> SFTJob a -> PPOJob p"},
		"reward model of one SFTJob": {
			ppo("p", "SFTJob/a", "RewardModelJob/r"), cluster{"SFTJob/a": with(sft("a", ""), trained), "RewardModelJob/r": with(rm("r", "SFTJob/a"), trained)}, "", ""},
		"reward model not ready": {
			ppo("p", "SFTJob/a", "RewardModelJob/r"), cluster{"SFTJob/a": with(sft("a", ""), trained), "RewardModelJob/r": rm("r", "SFTJob/a")},
			v1alpha1.ReasonUpstreamNotReady, `spec.rewardModel.from: RewardModelJob "r" is not trained yet`},
		"no value function": {
			valued(ppo("p", "SFTJob/a", "RewardModelJob/r"), "RewardModelJob/v"), cluster{"SFTJob/a": with(sft("a", ""), trained), "RewardModelJob/r": with(rm("r", ""), trained)},
			v1alpha1.ReasonUpstreamNotFound, `spec.value.from: there is no RewardModelJob "v"`},
		"an adapter of unknown base": {
			dpo("d", "SFTJob/a", ""), cluster{"SFTJob/a": with(adapter(sft("a", "")), trained)},
			v1alpha1.ReasonUpstreamIsAdapter, `spec.model.from: SFTJob "a" publishes an adapter`},
		"an untrained adapter": {
			dpo("d", "SFTJob/a", ""), cluster{"SFTJob/a": adapter(sft("a", ""))}, v1alpha1.ReasonUpstreamNotReady, "not trained yet"},
		"diamond": {dpo("d", "SFTJob/a", "SFTJob/a"), cluster{"SFTJob/a": with(sft("a", ""), trained)}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := Gather(t.Context(), c.cluster, c.stage)
			if err != nil {
				t.Fatal(err)
			}
			if c.reason != "" {
				if in.Problem == nil || in.Problem.Reason != c.reason || !strings.Contains(in.Problem.Message, c.message) {
					t.Errorf("problem is %+v", in.Problem)
				}
				if in.Problem != nil && in.Problem.Permanent != (c.reason == v1alpha1.ReasonReferenceCycle) {
					t.Errorf("permanent is %v", in.Problem.Permanent)
				}
				return
			}
			ups := c.stage.Upstreams()
			if in.Problem != nil || len(in.Resolved) != len(ups) {
				t.Fatalf("got %+v", in)
			}
			for i, r := range in.Resolved {
				if r.Role != ups[i].Role || r.Digest != "sha256:1" || r.From.Generation != 4 || !in.Since.Equal(trainedAt.Time) {
					t.Errorf("resolved %+v since %v", r, in.Since)
				}
			}
		})
	}
}

// TestAdapters: what an adapter goes on comes after it, as this namespace's pods see it.
func TestAdapters(t *testing.T) {
	elsewhere := func(claim string) v1alpha1.Stage {
		d := dpo("d", "SFTJob/a", "")
		d.Namespace, d.Spec.Model.From.Namespace, d.Spec.Model.From.Claim = "here", "there", claim
		return d
	}
	for name, c := range map[string]struct {
		stage        v1alpha1.Stage
		output, base string
		want         string // the base's URI
		reason       string
	}{
		"its namespace":           {dpo("d", "SFTJob/a", ""), "pvc://m/x", "pvc://base/b", "pvc://base/b", ""},
		"a hub's":                 {elsewhere("mine"), "pvc://m/x", "hf://lab/base@v1", "hf://lab/base@v1", ""},
		"another's, on its claim": {elsewhere("mine"), "pvc://m/x", "pvc://m/b", "pvc://mine/b", ""},
		"another's, on another":   {elsewhere("mine"), "pvc://m/x", "pvc://base/b", "", v1alpha1.ReasonUpstreamIsAdapter},
		"another's, in a store":   {elsewhere(""), "s3://m/x", "s3://m/b", "s3://m/b", ""},
		"another's, unnamed":      {elsewhere(""), "pvc://m/x", "pvc://m/b", "", v1alpha1.ReasonClaimNotNamed},
	} {
		t.Run(name, func(t *testing.T) {
			a := adapter(sft("a", ""))
			a.Spec.SharedWith, a.Spec.Output.URI = []v1alpha1.NamespaceName{"here"}, c.output
			status := trained
			status.Output = &v1alpha1.Artifact{URI: c.output, Digest: "sha256:1"}
			status.Inputs = []v1alpha1.Input{
				{Role: v1alpha1.RoleTrain, Artifact: v1alpha1.Artifact{URI: "pvc://data/x"}},
				{Role: v1alpha1.RoleModel, Artifact: v1alpha1.Artifact{URI: c.base, Digest: "sha256:2"}, From: &v1alpha1.InputStage{Name: "base"}},
			}
			in, err := Gather(t.Context(), cluster{"SFTJob/a": with(a, status)}, c.stage)
			if err != nil {
				t.Fatal(err)
			}
			if c.reason != "" {
				if in.Problem == nil || in.Problem.Reason != c.reason {
					t.Errorf("problem is %+v, want %s", in.Problem, c.reason)
				}
				return
			}
			if in.Problem != nil || len(in.Resolved) != 2 {
				t.Fatalf("got %+v", in)
			}
			if b := in.Resolved[1]; b.Role != "modelBase" || b.URI != c.want || b.Digest != "sha256:2" || b.From == nil || b.From.Name != "base" {
				t.Errorf("the base is %+v", b)
			}
		})
	}
}

func TestGatherError(t *testing.T) {
	broken := errors.New("broken")
	_, err := Gather(t.Context(), failing{broken}, dpo("b", "SFTJob/a", ""))
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// cluster is a reader of the stages in it.
type cluster map[string]v1alpha1.Stage

func (c cluster) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	name := string(obj.(v1alpha1.Stage).StageKind()) + "/" + key.Name
	switch s := c[name].(type) {
	case *v1alpha1.SFTJob:
		s.DeepCopyInto(obj.(*v1alpha1.SFTJob))
	case *v1alpha1.DPOJob:
		s.DeepCopyInto(obj.(*v1alpha1.DPOJob))
	case *v1alpha1.RewardModelJob:
		s.DeepCopyInto(obj.(*v1alpha1.RewardModelJob))
	default:
		return apierrors.NewNotFound(schema.GroupResource{}, name)
	}
	return nil
}

func (c cluster) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("gathering lists nothing")
}

type failing struct{ err error }

func (f failing) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return f.err
}

func (f failing) List(context.Context, client.ObjectList, ...client.ListOption) error { return f.err }

func sft(name, from string) *v1alpha1.SFTJob {
	return &v1alpha1.SFTJob{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.SFTJobSpec{Model: v1alpha1.InitialModel{From: ref(from)}}}
}

func dpo(name, model, reference string) *v1alpha1.DPOJob {
	j := &v1alpha1.DPOJob{ObjectMeta: metav1.ObjectMeta{Name: name}}
	j.Spec.Model.From = ref(model)
	if reference != "" {
		j.Spec.Reference = &v1alpha1.CheckpointSource{From: ref(reference)}
	}
	return j
}

func rm(name, model string) *v1alpha1.RewardModelJob {
	j := &v1alpha1.RewardModelJob{ObjectMeta: metav1.ObjectMeta{Name: name}}
	j.Spec.Model.From = ref(model)
	return j
}

func ppo(name, model, rewardModel string) *v1alpha1.PPOJob {
	j := &v1alpha1.PPOJob{ObjectMeta: metav1.ObjectMeta{Name: name}}
	j.Spec.Model.From, j.Spec.RewardModel.From = ref(model), ref(rewardModel)
	return j
}

func adapter(j *v1alpha1.SFTJob) *v1alpha1.SFTJob {
	j.Spec.Training.LoRA = &v1alpha1.LoRA{Publish: "Adapter"}
	return j
}

func valued(j *v1alpha1.PPOJob, value string) *v1alpha1.PPOJob {
	j.Spec.Value = &v1alpha1.CheckpointSource{From: ref(value)}
	return j
}

func with(s v1alpha1.Stage, status v1alpha1.StageStatus) v1alpha1.Stage {
	*s.StageStatus() = status
	return s
}

func ref(s string) *v1alpha1.StageReference {
	kind, name, ok := strings.Cut(s, "/")
	if !ok {
		return nil
	}
	return &v1alpha1.StageReference{Kind: v1alpha1.StageKind(kind), Name: name}
}
