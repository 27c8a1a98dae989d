package checkpoint

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// Ancestor is a checkpoint that another one was made from, directly or through others. It says all that is
// known of it when its own folder is gone.
type Ancestor struct {
	// Name is namespace/folder of a stage's checkpoint, as the operator names its folders; empty for others.
	Name string `json:"name,omitempty"`
	// Method and RunHash are of the run that published it; empty when it was not published by a run.
	Method  string `json:"method,omitempty"`
	RunHash string `json:"runHash,omitempty"`
	// URI is where it was read, Digest its manifest's.
	URI    string `json:"uri"`
	Digest string `json:"digest"`
	// Inputs are what that run read.
	Inputs []runconfig.Artifact `json:"inputs,omitempty"`
}

// Bounds of a lineage. The oldest ancestors are left out beyond them: each is also in the manifests of the
// checkpoints that came after it.
const (
	maxAncestors      = 256
	maxAncestorInputs = 256  // of one
	maxLineageInputs  = 4096 // of all
	maxField          = 2048
)

// Parent is an input that is a checkpoint.
type Parent struct {
	URI, Digest string
	Manifest    *Manifest
}

// Lineage is every checkpoint behind a run that reads the parents, each once, the oldest first: an ancestor
// stands before what was made from it. It follows from the parents' content and places alone. A parent that
// no trainer has written is an ErrFormat.
func Lineage(parents []Parent) ([]Ancestor, error) {
	var out []Ancestor
	seen := map[string]bool{}
	add := func(a Ancestor) {
		if !seen[a.Digest] {
			seen[a.Digest] = true
			out = append(out, a)
		}
	}
	for _, p := range parents {
		for _, a := range p.Manifest.Lineage {
			add(a)
		}
		add(Ancestor{
			Name: stageName(p.URI, p.Manifest.RunHash), Method: p.Manifest.Method, RunHash: p.Manifest.RunHash,
			URI: p.URI, Digest: p.Digest, Inputs: p.Manifest.Inputs[:min(len(p.Manifest.Inputs), maxAncestorInputs)],
		})
	}
	first, inputs := len(out), 0
	for ; first > 0 && len(out)-first < maxAncestors; first-- {
		if inputs += len(out[first-1].Inputs); inputs > maxLineageInputs {
			break
		}
	}
	return out[first:], checkLineage(out[first:])
}

// stageName reads the name of a stage off its folder: .../<namespace>/<folder>/<12 digits of the run hash>.
func stageName(uri, runHash string) string {
	rest, run := path.Split(uri)
	if len(runHash) < runFolderDigits || run != runHash[:runFolderDigits] {
		return ""
	}
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	name := strings.Join(parts[max(0, len(parts)-2):], "/")
	if !namePattern.MatchString(name) {
		return ""
	}
	return name
}

// runFolderDigits of the run hash name a run's folder.
const runFolderDigits = 12

var (
	namePattern   = regexp.MustCompile(`^([-a-z0-9.]{1,253}/[-a-z0-9.]{1,253})?$`)
	wordPattern   = regexp.MustCompile(`^[A-Za-z]{0,32}$`) // a method, a role
	hashPattern   = regexp.MustCompile(`^[0-9a-f]{0,64}$`)
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// checkLineage refuses what no trainer has written: the lineage is copied into every checkpoint that comes
// after, and shown to people.
func checkLineage(lineage []Ancestor) error {
	bad := func(i int, field string) error {
		return fmt.Errorf("%w: lineage[%d]: %s is malformed", ErrFormat, i, field)
	}
	if len(lineage) > maxAncestors {
		return fmt.Errorf("%w: lineage: %d checkpoints, want %d at most", ErrFormat, len(lineage), maxAncestors)
	}
	inputs := 0
	for i, a := range lineage {
		inputs += len(a.Inputs)
		switch {
		case !namePattern.MatchString(a.Name):
			return bad(i, "name")
		case !wordPattern.MatchString(a.Method):
			return bad(i, "method")
		case !hashPattern.MatchString(a.RunHash):
			return bad(i, "runHash")
		case !digestPattern.MatchString(a.Digest):
			return bad(i, "digest")
		case len(a.URI) > maxField:
			return bad(i, "uri")
		case len(a.Inputs) > maxAncestorInputs || inputs > maxLineageInputs || slices.ContainsFunc(a.Inputs, malformed):
			return bad(i, "inputs")
		}
	}
	return nil
}

func malformed(in runconfig.Artifact) bool {
	return !wordPattern.MatchString(in.Role) || len(in.URI) > maxField || in.Digest != "" && !digestPattern.MatchString(in.Digest)
}
