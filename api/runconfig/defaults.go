package runconfig

// SetDefaults fills what is empty with the documented defaults.
func (c *RunConfig) SetDefaults() {
	set(&c.Data.MaxLength, 512)
	set(&c.Data.LossOn, "response")
	for _, list := range c.Data.lists() {
		for i := range *list.datasets {
			set(&(*list.datasets)[i].Format, "auto")
		}
	}
	t := &c.Training
	if t.Epochs == 0 && t.MaxSteps == 0 {
		t.Epochs = 1
	}
	switch c.Method {
	case SFT:
		set(&t.LearningRate, 2e-5)
	case RewardModel: // InstructGPT, appendix C.2
		set(&t.LearningRate, 9e-6)
		set(&t.MinLearningRateRatio, 0.1)
		c.objective("KWise")
	case PPO: // appendix C.4
		set(&t.LearningRate, 3e-6)
		set(&t.Schedule, "constant")
		set(&t.Beta2, 0.95)
		set(&t.BatchSize, 512)
		c.ppoDefaults()
	case DPO:
		set(&t.LearningRate, 5e-7)
		c.objective("DPO")
	case SimPO:
		set(&t.LearningRate, 1e-6)
		c.objective("SimPO")
	}
	set(&t.BatchSize, 32)
	if t.MicroBatchSize == 0 {
		t.MicroBatchSize = t.BatchSize
		if c.PPO != nil && c.PPO.MinibatchSize > 0 {
			t.MicroBatchSize = min(t.BatchSize, c.PPO.MinibatchSize)
		}
	}
	set(&t.Schedule, "cosine")
	set(&t.Beta1, 0.9)
	set(&t.Beta2, 0.999)
	set(&t.Epsilon, 1e-8)
	set(&t.Precision, "float32")
	if t.LoRA != nil {
		t.LoRA.setDefaults()
	}
	set(&t.LogSteps, 10)
	set(&c.Evaluation.MaxNewTokens, 64)
	set(&c.Checkpoint.KeepLast, 2)
	set(&c.Placement.Device, "auto")
}

// objective gives the objective its type and its type's parameters their defaults.
func (c *RunConfig) objective(kind string) {
	if c.Objective == nil {
		c.Objective = &Objective{}
	}
	o := c.Objective
	set(&o.Type, kind)
	switch o.Type {
	case "DPO", "CDPO", "KTO", "RDPO", "CPO":
		set(&o.Beta, 0.1)
	case "Robust":
		set(&o.Beta, 0.1)
		set(&o.LabelSmoothing, 0.1)
	case "IPO":
		set(&o.Tau, 0.1)
		set(&o.IPOReduction, "sum")
	case "SimPO":
		set(&o.Beta, 2)
		if o.GammaBetaRatio != nil && o.Gamma == nil { // one spelling, one hash
			gamma := *o.GammaBetaRatio * o.Beta
			o.Gamma, o.GammaBetaRatio = &gamma, nil
		}
		setTo(&o.Gamma, 1)
		setTo(&o.LengthNormalize, true)
	}
	switch o.Type {
	case "KTO":
		setTo(&o.DesirableWeight, 1)
		setTo(&o.UndesirableWeight, 1)
	case "RDPO":
		setTo(&o.Alpha, 0.05)
	case "CPO":
		setTo(&o.Lambda, 1)
		set(&o.NLLReduction, "sum")
	case "ORPO":
		setTo(&o.Lambda, 0.1)
	case "RRHF":
		setTo(&o.Lambda, 1)
		setTo(&o.LengthExponent, 1)
	case "SLiCHF":
		setTo(&o.Lambda, 0.1)
		setTo(&o.Delta, 1)
		set(&o.NLLReduction, "sum")
	}
}

func (c *RunConfig) ppoDefaults() {
	if c.PPO == nil {
		c.PPO = &PPOSettings{}
	}
	p := c.PPO
	set(&p.MaxNewTokens, 64)
	set(&p.MinibatchSize, min(64, c.Training.BatchSize))
	set(&p.InnerEpochs, 1)
	set(&p.ClipRange, 0.2)
	set(&p.ValueClipRange, 0.2)
	set(&p.Gamma, 1)
	set(&p.GAELambda, 0.95)
	setTo(&p.Whiten, true)
	setTo(&p.KLCoefficient, 0.02)
	if p.KLTarget != 0 {
		set(&p.KLHorizon, 10000)
	}
	setTo(&p.MissingEOSPenalty, 1)
	if p.PTXCoefficient != 0 {
		set(&p.PTXBatchSize, p.MinibatchSize)
	}
	set(&p.ValueLearningRate, c.Training.LearningRate)
}

// set gives *p the value v when *p is the zero value.
func set[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// setTo makes *p point to v when it points nowhere: for what may be zero.
func setTo[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}
