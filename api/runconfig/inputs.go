package runconfig

// NamedSource is a checkpoint, or another folder, that a run reads.
type NamedSource struct {
	Role  string // as in Artifact
	Field string // model, ppo.rewardModel
	Source
}

// Sources are the folders that a run reads. Bases of adapters are in their Source, and have the adapter's role and "Base".
func (c *RunConfig) Sources() (list []NamedSource) {
	add := func(role, field string, s Source) {
		if s.URI != "" {
			list = append(list, NamedSource{role, field, s})
		}
	}
	add("model", "model", c.Model.Source)
	if t := c.Model.Tokenizer; t != nil {
		add("tokenizer", "model.tokenizer", t.Source)
	}
	if c.Reference != nil {
		add("reference", "reference", *c.Reference)
	}
	if p := c.PPO; p != nil {
		add("rewardModel", "ppo.rewardModel", p.RewardModel)
		if p.Value != nil {
			add("value", "ppo.value", *p.Value)
		}
	}
	return list
}

// NamedDatasets are the data that a run reads for one purpose; the role is also the field below data.
type NamedDatasets struct {
	Role     string
	Datasets []Dataset
}

// Lists are all the data that a run reads.
func (d Data) Lists() []NamedDatasets {
	return []NamedDatasets{{"train", d.Train}, {"eval", d.Eval}, {"demonstrations", d.Demonstrations}, {"pretraining", d.Pretraining}}
}
