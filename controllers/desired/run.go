package desired

import (
	"fmt"
	"time"

	batchac "k8s.io/client-go/applyconfigurations/batch/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	netac "k8s.io/client-go/applyconfigurations/networking/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// Settings are the operator's own, the same for every stage.
type Settings struct {
	// TrainerImage is used where a stage names none.
	TrainerImage string
	// OperatorNamespace is the only one whose operator pods reach a trainer's port.
	OperatorNamespace string
}

// Run is what a stage would train now.
type Run struct {
	// Config is what the trainer reads; Hash is its identity.
	Config *runconfig.RunConfig
	Hash   string
	// Inputs are all that go in, with the digests known so far.
	Inputs []v1alpha1.Input
	// Lineage is every checkpoint behind the inputs, the oldest first.
	Lineage []v1alpha1.Ancestor

	// The objects: a Job finds the first three there. Service is nil for a run of one pod.
	ConfigMap     *coreac.ConfigMapApplyConfiguration
	NetworkPolicy *netac.NetworkPolicyApplyConfiguration
	Service       *coreac.ServiceApplyConfiguration
	Lookup        *batchac.JobApplyConfiguration
	Job           *batchac.JobApplyConfiguration
}

// NewRun renders a stage whose references are resolved, an input for each of its Upstreams and of their bases, with the
// lineage of these. An error is a spec that the trainer would refuse; it names the field.
func NewRun(stage v1alpha1.Stage, resolved []v1alpha1.Input, lineage []v1alpha1.Ancestor, settings Settings) (*Run, error) {
	c, err := render(stage, resolved)
	if err != nil {
		return nil, err
	}
	hash, err := c.Hash()
	if err != nil {
		return nil, err
	}
	c.Output = runconfig.Output{URI: outputURI(stage, hash), RunHash: hash}
	files, err := filesOf(c)
	if err != nil {
		return nil, err
	}
	c.Placement.Mounts = mountPaths(files.claims)
	if files.remote {
		c.Placement.Cache = runconfig.CachePath
		c.Placement.CacheLimit = int64(stage.StageSpec().Storage.CacheGiB) << 30
	}
	c.Placement.Address = fmt.Sprintf(":%d", runconfig.Port)
	text, err := runconfig.Marshal(c)
	if err != nil {
		return nil, err
	}
	// What the trainer would refuse must not become a pod.
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if _, err := runconfig.Parse("run.yaml", text); err != nil {
		return nil, err
	}
	run := &Run{Config: c, Hash: hash, Inputs: allInputs(c, resolved), Lineage: lineage}
	run.ConfigMap = configMap(stage, text)
	run.NetworkPolicy = networkPolicy(stage, settings)
	run.Service = service(stage)
	if run.Lookup, err = lookup(stage, run, files, settings); err != nil {
		return nil, err
	}
	run.Job, err = job(stage, run, files, settings)
	return run, err
}

// Earlier is what a run of several pods has had before its next Job.
type Earlier struct {
	// Started is when its first Job was created.
	Started time.Time
	// FailedPod ended the last attempt.
	FailedPod string
	// Spent is how long it has had pods.
	Spent time.Duration
}

// Follow makes the run's Job the next after what was before. The deadline is the run's, not each Job's.
func (r *Run) Follow(e Earlier) *batchac.JobApplyConfiguration {
	if limit := r.Job.Spec.ActiveDeadlineSeconds; limit != nil {
		r.Job.Spec.WithActiveDeadlineSeconds(max(1, *limit-int64(e.Spent.Seconds())))
	}
	return r.Job.WithAnnotations(map[string]string{
		AnnotationStarted: e.Started.UTC().Format(time.RFC3339),
		AnnotationAfter:   e.FailedPod,
	})
}

// allInputs are the inputs of a RunConfig; those from a stage say which.
func allInputs(c *runconfig.RunConfig, resolved []v1alpha1.Input) []v1alpha1.Input {
	var list []v1alpha1.Input
	add := func(role, uri, digest string) {
		in := v1alpha1.Input{Role: role, Artifact: v1alpha1.Artifact{URI: uri, Digest: digest}}
		for _, r := range resolved {
			if r.Role == role {
				in.From = r.From
			}
		}
		list = append(list, in)
	}
	for _, s := range c.Sources() {
		add(s.Role, s.URI, s.Digest)
		if s.Base != nil {
			add(v1alpha1.BaseOf(s.Role), s.Base.URI, s.Base.Digest)
		}
	}
	for _, files := range c.Data.Lists() {
		for _, d := range files.Datasets {
			add(files.Role, d.URI, d.Digest)
		}
	}
	return list
}
