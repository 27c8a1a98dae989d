// Package data turns files of examples into batches of token ids: it reads JSONL in the formats
// that TRL and HH-RLHF use and of ranked responses (see FormatText and those after it), encodes
// each example with its prompt and responses kept apart, plans an epoch's batches by seed, and
// lays a batch out as a rectangle of rows with who attends to whom and which tokens count.
//
// The shift by one (the state at token t predicts token t+1) happens in Batch's Sources and
// Targets and nowhere else in this project.
//
// It is pure Go: of this module it imports api/runconfig, runtime/chat and runtime/tokenizer; it must
// not import runtime/tensor or a Kubernetes client.
package data
