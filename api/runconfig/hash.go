package runconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Hash is the run's identity: SHA-256 over the canonical RunConfig without its name,
// placement, output and stop rules, and with an input's digest in place of its URI where the
// digest is known. Two runs of one hash have the same result. It is returned as 64 hex digits.
//
// Micro-batch size, activation checkpointing, logging and checkpoint intervals do not enter: they change speed and
// memory, not the result. A field left empty hashes as its default.
func (c RunConfig) Hash() (string, error) {
	// SetDefaults writes through these, which the caller's value shares.
	for _, list := range c.Data.lists() {
		*list.datasets = slices.Clone(*list.datasets)
	}
	if c.Objective != nil {
		o := *c.Objective
		c.Objective = &o
	}
	if c.PPO != nil {
		p := *c.PPO
		c.PPO = &p
	}
	if c.Training.LoRA != nil {
		l := *c.Training.LoRA
		c.Training.LoRA = &l
	}
	c.SetDefaults()
	c.Name, c.Output, c.Placement, c.Checkpoint, c.Stop = "", Output{}, Placement{}, Checkpoint{}, Stop{}
	c.Training.MicroBatchSize, c.Training.LogSteps, c.Training.ActivationCheckpointing = 0, 0, false
	c.Model.Source = identity(c.Model.Source)
	if c.Model.Tokenizer != nil {
		t := *c.Model.Tokenizer
		t.Source = identity(t.Source)
		c.Model.Tokenizer = &t
	}
	if c.Reference != nil {
		r := identity(*c.Reference)
		c.Reference = &r
	}
	if c.PPO != nil {
		c.PPO.RewardModel = identity(c.PPO.RewardModel)
		if c.PPO.Value != nil {
			v := identity(*c.PPO.Value)
			c.PPO.Value = &v
		}
	}
	for _, list := range c.Data.lists() {
		identities(*list.datasets)
	}
	b, err := Marshal(&c) // maps are written in key order, so the bytes are canonical
	if err != nil {
		return "", fmt.Errorf("hash run config: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

func identity(s Source) Source {
	if s.Digest != "" {
		s.URI = ""
	}
	if s.Base != nil {
		base := identity(*s.Base)
		s.Base = &base
	}
	return s
}

// identities changes its argument.
func identities(list []Dataset) {
	for i, d := range list {
		if d.Digest != "" {
			list[i].URI = ""
		}
	}
}
