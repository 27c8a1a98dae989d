package desired

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// gpuResource is what a rank has one of.
const gpuResource corev1.ResourceName = "nvidia.com/gpu"

// render makes the RunConfig of a stage, without the parts that depend on its hash.
func render(stage v1alpha1.Stage, resolved []v1alpha1.Input) (*runconfig.RunConfig, error) {
	r := renderer{resolved: resolved}
	c := r.common(stage)
	switch s := stage.(type) {
	case *v1alpha1.SFTJob:
		r.sft(s, c)
	case *v1alpha1.RewardModelJob:
		r.rewardModel(s, c)
	case *v1alpha1.PPOJob:
		r.ppo(s, c)
	case *v1alpha1.DPOJob:
		r.dpo(s, c)
	case *v1alpha1.SimPOJob:
		r.simpo(s, c)
	default:
		return nil, fmt.Errorf("render %T: not a stage that this operator knows", stage)
	}
	if r.err != nil {
		return nil, r.err
	}
	c.SetDefaults()
	return c, nil
}

func (r *renderer) sft(s *v1alpha1.SFTJob, c *runconfig.RunConfig) {
	c.Method = runconfig.SFT
	c.Data.LossOn, c.Data.Packing = s.Spec.LossOn, s.Spec.Packing
	m := s.Spec.Model
	if m.Init == nil {
		c.Model.Source = r.source(v1alpha1.RoleModel, v1alpha1.CheckpointSource{From: m.From, URI: m.URI, Digest: m.Digest, Base: m.Base})
		return
	}
	// Whole numbers stay whole: a hidden_size of 128.0 would be refused.
	if err := json.Unmarshal(m.Init.Config.Raw, &c.Model.Init); err != nil {
		r.fail("spec.model.init.config", err)
	}
	c.Model.Tokenizer = &runconfig.Tokenizer{Source: runconfig.Source{URI: string(m.Init.Tokenizer.URI)}}
	if n := m.Init.Tokenizer.TrainVocabSize; n > 0 {
		c.Model.Tokenizer.Train = &runconfig.TokenizerTraining{VocabSize: int(n)}
	}
}

func (r *renderer) rewardModel(s *v1alpha1.RewardModelJob, c *runconfig.RunConfig) {
	c.Method = runconfig.RewardModel
	c.Model.Source = r.source(v1alpha1.RoleModel, s.Spec.Model)
	c.Objective = &runconfig.Objective{Type: s.Spec.Objective.Type}
	c.Data.Demonstrations = r.datasets("spec.demonstrations", s.Spec.Demonstrations)
}

func (r *renderer) ppo(s *v1alpha1.PPOJob, c *runconfig.RunConfig) {
	c.Method = runconfig.PPO
	c.Model.Source = r.source(v1alpha1.RoleModel, s.Spec.Model)
	c.Reference = r.optionalSource(v1alpha1.RoleReference, s.Spec.Reference)
	c.Data.Pretraining = r.datasets("spec.pretraining", s.Spec.Pretraining)
	p := s.Spec.PPO
	c.PPO = &runconfig.PPOSettings{
		RewardModel:       r.source(v1alpha1.RoleRewardModel, s.Spec.RewardModel),
		Value:             r.optionalSource(v1alpha1.RoleValue, s.Spec.Value),
		MaxNewTokens:      int(p.MaxNewTokens),
		MinibatchSize:     int(p.MinibatchSize),
		InnerEpochs:       int(p.InnerEpochs),
		ClipRange:         r.decimal("spec.ppo.clipRange", p.ClipRange),
		ValueClipRange:    r.decimal("spec.ppo.valueClipRange", p.ValueClipRange),
		Gamma:             r.decimal("spec.ppo.gamma", p.Gamma),
		GAELambda:         r.decimal("spec.ppo.gaeLambda", p.GAELambda),
		Whiten:            p.Whiten,
		KLCoefficient:     r.optional("spec.ppo.klCoefficient", p.KLCoefficient),
		KLTarget:          r.decimal("spec.ppo.klTarget", p.KLTarget),
		KLHorizon:         r.decimal("spec.ppo.klHorizon", p.KLHorizon),
		StopKL:            r.decimal("spec.ppo.stopKL", p.StopKL),
		MissingEOSPenalty: r.optional("spec.ppo.missingEOSPenalty", p.MissingEOSPenalty),
		PTXCoefficient:    r.decimal("spec.ppo.ptxCoefficient", p.PTXCoefficient),
		PTXBatchSize:      int(p.PTXBatchSize),
		EMADecay:          r.decimal("spec.ppo.emaDecay", p.EMADecay),
		ValueLearningRate: r.decimal("spec.ppo.valueLearningRate", p.ValueLearningRate),
	}
}

func (r *renderer) dpo(s *v1alpha1.DPOJob, c *runconfig.RunConfig) {
	c.Method = runconfig.DPO
	c.Model.Source = r.source(v1alpha1.RoleModel, s.Spec.Model)
	c.Reference = r.optionalSource(v1alpha1.RoleReference, s.Spec.Reference)
	o := s.Spec.Objective
	c.Objective = &runconfig.Objective{
		Type:                o.Type,
		Beta:                r.decimal("spec.objective.beta", o.Beta),
		LabelSmoothing:      r.decimal("spec.objective.labelSmoothing", o.LabelSmoothing),
		Tau:                 r.decimal("spec.objective.tau", o.Tau),
		IPOReduction:        o.IPOReduction,
		DesirableWeight:     r.optional("spec.objective.desirableWeight", o.DesirableWeight),
		UndesirableWeight:   r.optional("spec.objective.undesirableWeight", o.UndesirableWeight),
		Alpha:               r.optional("spec.objective.alpha", o.Alpha),
		PrecomputeReference: o.PrecomputeReference,
	}
}

func (r *renderer) simpo(s *v1alpha1.SimPOJob, c *runconfig.RunConfig) {
	c.Method = runconfig.SimPO
	c.Model.Source = r.source(v1alpha1.RoleModel, s.Spec.Model)
	o := s.Spec.Objective
	c.Objective = &runconfig.Objective{
		Type:            o.Type,
		Beta:            r.decimal("spec.objective.beta", o.Beta),
		Gamma:           r.optional("spec.objective.gamma", o.Gamma),
		GammaBetaRatio:  r.optional("spec.objective.gammaBetaRatio", o.GammaBetaRatio),
		LengthNormalize: o.LengthNormalize,
		Lambda:          r.optional("spec.objective.lambda", o.Lambda),
		NLLReduction:    o.NLLReduction,
		Delta:           r.optional("spec.objective.delta", o.Delta),
		LengthExponent:  r.optional("spec.objective.lengthExponent", o.LengthExponent),
	}
}

// renderer keeps the first error, so that rendering reads as a list of fields.
type renderer struct {
	resolved []v1alpha1.Input
	err      error
}

func (r *renderer) common(stage v1alpha1.Stage) *runconfig.RunConfig {
	s := stage.StageSpec()
	t := s.Training
	return &runconfig.RunConfig{
		Version: runconfig.Version,
		Name:    stage.GetNamespace() + "/" + stage.GetName(),
		Seed:    uint64(s.Seed),
		Data: runconfig.Data{
			Train:           r.datasets("spec.data.train", s.Data.Train),
			Eval:            r.datasets("spec.data.eval", s.Data.Eval),
			EvalFraction:    r.decimal("spec.data.evalFraction", s.Data.EvalFraction),
			MaxLength:       int(s.Data.MaxLength),
			MaxPromptLength: int(s.Data.MaxPromptLength),
		},
		Training: runconfig.Training{
			Epochs:                  r.decimal("spec.training.epochs", t.Epochs),
			MaxSteps:                int(t.MaxSteps),
			BatchSize:               int(t.BatchSize),
			MicroBatchSize:          int(t.MicroBatchSize),
			LearningRate:            r.decimal("spec.training.learningRate", t.LearningRate),
			Schedule:                t.Schedule,
			WarmupSteps:             int(t.WarmupSteps),
			WarmupRatio:             r.decimal("spec.training.warmupRatio", t.WarmupRatio),
			MinLearningRateRatio:    r.decimal("spec.training.minLearningRateRatio", t.MinLearningRateRatio),
			WeightDecay:             r.decimal("spec.training.weightDecay", t.WeightDecay),
			Beta1:                   r.decimal("spec.training.beta1", t.Beta1),
			Beta2:                   r.decimal("spec.training.beta2", t.Beta2),
			Epsilon:                 r.decimal("spec.training.epsilon", t.Epsilon),
			MaxGradNorm:             r.decimal("spec.training.maxGradNorm", t.MaxGradNorm),
			FreezeLayers:            int(t.FreezeLayers),
			LoRA:                    r.lora(t.LoRA),
			ActivationCheckpointing: t.ActivationCheckpointing,
			Precision:               t.Precision,
		},
		Evaluation: runconfig.Evaluation{
			EverySteps:   int(s.Evaluation.EverySteps),
			MaxExamples:  int(s.Evaluation.MaxExamples),
			Samples:      int(s.Evaluation.Samples),
			MaxNewTokens: int(s.Evaluation.MaxNewTokens),
		},
		Stop: runconfig.Stop{
			MaxKL:             r.optional("spec.stop.maxKL", s.Stop.MaxKL),
			MinRewardAccuracy: r.optional("spec.stop.minRewardAccuracy", s.Stop.MinRewardAccuracy),
			MaxLoss:           r.optional("spec.stop.maxLoss", s.Stop.MaxLoss),
			AfterSteps:        int(s.Stop.AfterSteps),
		},
		Checkpoint: runconfig.Checkpoint{EverySteps: int(s.Checkpoint.EverySteps), KeepLast: int(s.Checkpoint.KeepLast)},
		Placement:  placement(stage),
	}
}

// placement is the part of it that the spec decides. What is one is left out: an older trainer knows nothing of it.
func placement(stage v1alpha1.Stage) runconfig.Placement {
	pod := stage.StageSpec().Pod
	p := runconfig.Placement{Device: pod.Device, Threads: int(pod.Threads)}
	if n := ProcessesPerNode(pod); n > 1 {
		p.ProcessesPerNode = n
	}
	if Several(stage) {
		p.Nodes, p.Rendezvous = int(pod.Nodes), rendezvous(stage)
	}
	if pod.Sharding == runconfig.ShardingFull {
		p.Sharding = pod.Sharding
	}
	return p
}

// Several says whether a stage's attempt is more than one pod.
func Several(stage v1alpha1.Stage) bool { return stage.StageSpec().Pod.Nodes > 1 }

// ProcessesPerNode is the number of ranks in each pod: one a GPU, if the spec does not say.
func ProcessesPerNode(pod v1alpha1.Pod) int {
	if pod.ProcessesPerNode > 0 {
		return int(pod.ProcessesPerNode)
	}
	gpus := pod.Resources.Limits[gpuResource]
	return int(max(gpus.Value(), 1))
}

// lora is nil for an absent one.
func (r *renderer) lora(l *v1alpha1.LoRA) *runconfig.LoRA {
	if l == nil {
		return nil
	}
	out := &runconfig.LoRA{
		Rank:      int(l.Rank),
		Alpha:     r.decimal("spec.training.lora.alpha", l.Alpha),
		UseRSLoRA: l.UseRSLoRA,
		Dropout:   r.decimal("spec.training.lora.dropout", l.Dropout),
		Publish:   l.Publish,
	}
	for _, m := range l.TargetModules {
		out.TargetModules = append(out.TargetModules, string(m))
	}
	return out
}

// source is a checkpoint by URI, or the resolved one of the role.
func (r *renderer) source(role string, s v1alpha1.CheckpointSource) runconfig.Source {
	if s.From == nil {
		source := runconfig.Source{URI: string(s.URI), Digest: string(s.Digest)}
		if b := s.Base; b != nil {
			source.Base = &runconfig.Source{URI: string(b.URI), Digest: string(b.Digest)}
		}
		return source
	}
	source := r.upstream(role)
	if source == nil {
		r.fail("spec."+role+".from", fmt.Errorf("%s %q is not resolved", s.From.Kind, s.From.Name))
		return runconfig.Source{}
	}
	source.Base = r.upstream(v1alpha1.BaseOf(role))
	return *source
}

// upstream is nil for a role that no stage fills.
func (r *renderer) upstream(role string) *runconfig.Source {
	for _, in := range r.resolved {
		if in.Role == role {
			return &runconfig.Source{URI: in.URI, Digest: in.Digest}
		}
	}
	return nil
}

// optionalSource is nil for an absent one.
func (r *renderer) optionalSource(role string, s *v1alpha1.CheckpointSource) *runconfig.Source {
	if s == nil {
		return nil
	}
	source := r.source(role, *s)
	return &source
}

// optional is nil for an absent decimal, which 0 is not.
func (r *renderer) optional(field string, d v1alpha1.Decimal) *float64 {
	if d == "" {
		return nil
	}
	v := r.decimal(field, d)
	return &v
}

// decimal is 0 for an absent one.
func (r *renderer) decimal(field string, d v1alpha1.Decimal) float64 {
	if d == "" {
		return 0
	}
	v, err := strconv.ParseFloat(string(d), 64)
	if err != nil {
		r.fail(field, err)
	}
	return v
}

func (r *renderer) fail(field string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s: %w", runconfig.ErrInvalid, field, err)
	}
}

func (r *renderer) datasets(field string, in []v1alpha1.Dataset) []runconfig.Dataset {
	var out []runconfig.Dataset
	for i, d := range in {
		var columns map[string]string
		for k, v := range d.Columns {
			if columns == nil {
				columns = map[string]string{}
			}
			columns[k] = string(v)
		}
		out = append(out, runconfig.Dataset{URI: string(d.URI), Digest: string(d.Digest), Format: d.Format, Columns: columns,
			Weight: r.optional(fmt.Sprintf("%s[%d].weight", field, i), d.Weight)})
	}
	return out
}

// outputURI is a folder of the run's own, so that no run overwrites another. Its parent has all runs of
// the stage, and nothing else.
func outputURI(stage v1alpha1.Stage, hash string) string {
	return strings.Join([]string{stage.StageSpec().Output.URI, stage.GetNamespace(), Name(stage), hash[:12]}, "/")
}
