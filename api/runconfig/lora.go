package runconfig

import "slices"

// LoRA trains low-rank adapters (arXiv:2106.09685) in the place of the weights, which stay as they are. Names, and
// where nothing else is said defaults, are PEFT's.
type LoRA struct {
	// Rank of the adapters, PEFT's r (default 16).
	Rank int `yaml:"rank"`
	// Alpha scales what the adapters add, by Alpha / Rank (default 2 * Rank).
	Alpha float64 `yaml:"alpha"`
	// UseRSLoRA scales by Alpha / sqrt(Rank) instead (arXiv:2312.03732).
	UseRSLoRA bool `yaml:"useRslora,omitempty"`
	// Dropout is the share of an adapter's inputs that a training step leaves out. PPO has none.
	Dropout float64 `yaml:"dropout,omitempty"`
	// TargetModules are the linear modules to adapt, by the last parts of their names: q_proj. "all-linear" alone is
	// every one of the blocks; absent means those that PEFT has for the model's family.
	TargetModules []string `yaml:"targetModules,omitempty"`
	// Publish is Merged (default: a checkpoint like any other, with the adapters added to the weights) or Adapter (the
	// adapters alone, in PEFT's format).
	Publish string `yaml:"publish"`
}

// The values of LoRA.Publish.
const (
	PublishMerged  = "Merged"
	PublishAdapter = "Adapter"
)

// AllLinear alone in LoRA.TargetModules is every linear module of the blocks.
const AllLinear = "all-linear"

// PublishesAdapter says that the run publishes an adapter, which is no checkpoint without its base.
func (t Training) PublishesAdapter() bool { return t.LoRA != nil && t.LoRA.Publish == PublishAdapter }

func (l *LoRA) setDefaults() {
	set(&l.Rank, 16)
	set(&l.Alpha, 2*float64(l.Rank))
	set(&l.Publish, PublishMerged)
}

func (c *RunConfig) checkLoRA(p *checker) {
	l := c.Training.LoRA
	if l == nil {
		return
	}
	const field = "training.lora"
	p.that(c.Model.Init == nil, field, "adapts a checkpoint: set model.uri")
	p.that(c.Training.FreezeLayers == 0, "training.freezeLayers", "goes without training.lora, which freezes all layers")
	p.count(l.Rank, 1, field+".rank")
	p.positive(l.Alpha, field+".alpha")
	p.that(l.Dropout >= 0 && l.Dropout < 1, field+".dropout", "got %g, want 0 to below 1", l.Dropout)
	p.that(l.Dropout == 0 || c.Method != PPO, field+".dropout", "PPO has none: its ratio is of the same policy before and after an update")
	for i, m := range l.TargetModules {
		p.that(m != "", field+".targetModules", "[%d] is empty", i)
		p.that(!slices.Contains(l.TargetModules[:i], m), field+".targetModules", "has %q twice", m)
		p.that(m != AllLinear || len(l.TargetModules) == 1, field+".targetModules", "%q is all that there are: name it alone", AllLinear)
	}
	p.oneOf(l.Publish, field+".publish", PublishMerged, PublishAdapter)
}
