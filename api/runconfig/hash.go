package runconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Hash is the run's identity: SHA-256 over the canonical RunConfig without its name,
// placement and output, and with an input's digest in place of its URI where the digest
// is known. Two runs of one hash have the same result. It is returned as 64 hex digits.
//
// Micro-batch size, logging and checkpoint intervals do not enter: they change speed and
// memory, not the result. A field left empty hashes as its default.
func (c RunConfig) Hash() (string, error) {
	// SetDefaults writes through these, which the caller's value shares.
	c.Data.Train, c.Data.Eval = slices.Clone(c.Data.Train), slices.Clone(c.Data.Eval)
	if c.Objective != nil {
		o := *c.Objective
		c.Objective = &o
	}
	c.SetDefaults()
	c.Name, c.Output, c.Placement, c.Checkpoint = "", Output{}, Placement{}, Checkpoint{}
	c.Training.MicroBatchSize, c.Training.LogSteps = 0, 0
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
	c.Data.Train, c.Data.Eval = identities(c.Data.Train), identities(c.Data.Eval)
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
	return s
}

func identities(in []Dataset) []Dataset {
	out := make([]Dataset, len(in))
	for i, d := range in {
		if d.Digest != "" {
			d.URI = ""
		}
		out[i] = d
	}
	return out
}
