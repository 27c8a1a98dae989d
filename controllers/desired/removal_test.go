package desired_test

import (
	"slices"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// TestRemovalFromBucket names the stage's folder by URI and mounts no claim.
func TestRemovalFromBucket(t *testing.T) {
	stage := &v1alpha1.SFTJob{}
	stage.Namespace, stage.Name = "team-a", "words"
	stage.Spec.Output.URI = "s3://models/out"
	stage.Spec.Storage.SecretName = "lab-stores"
	job, err := desired.NewRemoval(stage, desired.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	pod := job.Spec.Template.Spec
	if got, want := pod.Containers[0].Args, []string{"remove", "--folder", "s3://models/out/team-a/words-sft"}; !slices.Equal(got, want) {
		t.Errorf("the arguments are %q, want %q", got, want)
	}
	if from := pod.Containers[0].EnvFrom; len(from) != 1 || *from[0].SecretRef.Name != "lab-stores" {
		t.Errorf("the environment is from %+v, want the Secret", from)
	}
	for _, v := range pod.Volumes {
		if v.PersistentVolumeClaim != nil {
			t.Errorf("the claim %s is mounted", *v.PersistentVolumeClaim.ClaimName)
		}
	}
}
