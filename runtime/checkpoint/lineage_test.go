package checkpoint

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

func digestOf(c string) string { return "sha256:" + strings.Repeat(c, 64/len(c)) }

func names(lineage []Ancestor) (out []string) {
	for _, a := range lineage {
		out = append(out, strings.TrimSpace(a.Method+" "+a.Name))
	}
	return out
}

// TestLineage follows the chain of InstructGPT: PPO reads SFT itself, and through the reward model.
func TestLineage(t *testing.T) {
	hash := func(c string) string { return strings.Repeat(c, 64) }
	uri := func(name, hash string) string { return "pvc://models/runs/" + name + "/" + hash[:12] }
	lineage := func(parents ...Parent) []Ancestor {
		out, err := Lineage(parents)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	data := []runconfig.Artifact{{Role: "train", URI: "pvc://data/sft.jsonl", Digest: digestOf("d")}}
	base := Parent{"file:///hub/base", digestOf("b"), &Manifest{}}
	sft := Parent{uri("team/sft", hash("1")), digestOf("1"), &Manifest{Method: "SFT", RunHash: hash("1"), Inputs: data, Lineage: lineage(base)}}
	reward := Parent{uri("team/rm", hash("2")), digestOf("2"), &Manifest{Method: "RewardModel", RunHash: hash("2"), Lineage: lineage(sft)}}
	got := lineage(sft, sft, reward, Parent{"file:///elsewhere", sft.Digest, sft.Manifest})
	if want := []string{"", "SFT team/sft", "RewardModel team/rm"}; !reflect.DeepEqual(names(got), want) {
		t.Errorf("got %q, want %q", names(got), want)
	}
	if want := (Ancestor{Name: "team/sft", Method: "SFT", RunHash: hash("1"), URI: sft.URI, Digest: sft.Digest, Inputs: data}); !reflect.DeepEqual(got[1], want) {
		t.Errorf("got %+v, want %+v", got[1], want)
	}
	if got[0].URI != "file:///hub/base" || got[0].Digest != base.Digest {
		t.Errorf("got %+v, want the base model", got[0])
	}
	if again := lineage(sft, sft, reward); !reflect.DeepEqual(again, got) {
		t.Errorf("got %+v and %+v of the same parents", got, again)
	}
	if none := lineage(); len(none) != 0 {
		t.Errorf("got %+v of nothing", none)
	}
}

func TestStageName(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	for uri, want := range map[string]string{
		"pvc://models/a/b/team/dpo-simpo/0123456789ab": "team/dpo-simpo",
		"file:///mnt/team/sft/0123456789ab":            "team/sft",
		"pvc://models/team/sft/ffffffffffff":           "",
		"pvc://models/team/sft/0123456789abc":          "",
		"pvc://models/Team/sft/0123456789ab":           "",
		"pvc://models/te%20am/sft/0123456789ab":        "",
		"pvc://0123456789ab":                           "",
		"file:///0123456789ab":                         "",
		"":                                             "",
	} {
		if got := stageName(uri, hash); got != want {
			t.Errorf("%s: got %q, want %q", uri, got, want)
		}
	}
	if got := stageName("file:///team/sft/", ""); got != "" {
		t.Errorf("without a run hash: got %q", got)
	}
}

// TestLineageIsBounded: of an endless chain the newest are kept, and what is written can be read.
func TestLineageIsBounded(t *testing.T) {
	var parent Parent
	for i := range 2*maxAncestors + 3 {
		inputs := make([]runconfig.Artifact, 2*maxAncestorInputs)
		for k := range inputs {
			inputs[k] = runconfig.Artifact{Role: "train", URI: "file:///" + strings.Repeat("x", 100)}
		}
		if i < maxAncestors {
			inputs = inputs[:1]
		}
		m := &Manifest{Version: ManifestVersion, Method: "DPO", Inputs: inputs}
		if i > 0 {
			lineage, err := Lineage([]Parent{parent})
			if err != nil {
				t.Fatal(err)
			}
			m.Lineage = lineage
		}
		if err := m.check(); err != nil {
			t.Fatalf("generation %d: %v", i, err)
		}
		if i == maxAncestors-1 && len(m.Lineage) != maxAncestors-1 || len(m.Lineage) > maxAncestors {
			t.Fatalf("generation %d has %d ancestors", i, len(m.Lineage))
		}
		parent = Parent{fmt.Sprintf("file:///%d", i), digestOf(fmt.Sprintf("%016x", i)), m}
	}
	lineage, err := Lineage([]Parent{parent})
	if err != nil {
		t.Fatal(err)
	}
	if last := lineage[len(lineage)-1]; last.Digest != parent.Digest || len(last.Inputs) != maxAncestorInputs || len(lineage) != maxLineageInputs/maxAncestorInputs {
		t.Errorf("kept %d ancestors, the newest with %d inputs", len(lineage), len(last.Inputs))
	}
}

// TestHostileLineage: what is copied into every later checkpoint and shown to people is checked.
func TestHostileLineage(t *testing.T) {
	good := Ancestor{Name: "a/b", Method: "SFT", RunHash: "ab", URI: "file:///x", Digest: digestOf("a"), Inputs: []runconfig.Artifact{{Role: "train", URI: "file:///y"}}}
	for name, change := range map[string]func(a *Ancestor){
		"name":        func(a *Ancestor) { a.Name = "a/b` | [click](http://x)" },
		"deep name":   func(a *Ancestor) { a.Name = "a/b/c" },
		"method":      func(a *Ancestor) { a.Method = "SFT\n# Heading" },
		"long method": func(a *Ancestor) { a.Method = strings.Repeat("x", 100) },
		"run hash":    func(a *Ancestor) { a.RunHash = "../x" },
		"no digest":   func(a *Ancestor) { a.Digest = "" },
		"digest":      func(a *Ancestor) { a.Digest = "sha256:" + strings.Repeat("A", 64) },
		"uri":         func(a *Ancestor) { a.URI = strings.Repeat("x", maxField+1) },
		"role":        func(a *Ancestor) { a.Inputs[0].Role = "<script>" },
		"input uri":   func(a *Ancestor) { a.Inputs[0].URI = strings.Repeat("x", maxField+1) },
		"input":       func(a *Ancestor) { a.Inputs[0].Digest = "x" },
		"inputs":      func(a *Ancestor) { a.Inputs = make([]runconfig.Artifact, maxAncestorInputs+1) },
	} {
		a := good
		a.Inputs = []runconfig.Artifact{good.Inputs[0]}
		if err := (&Manifest{Lineage: []Ancestor{a}}).check(); err != nil {
			t.Fatal(err)
		}
		change(&a)
		if err := (&Manifest{Lineage: []Ancestor{a}}).check(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", name, err)
		}
		dir := folder(t, nil)
		if _, err := Publish(dir, Manifest{Lineage: []Ancestor{a}}); err == nil {
			t.Errorf("%s: it can be published", name)
		}
	}
	for name, m := range map[string]Manifest{
		"method":   {Method: "SFT`"},
		"run hash": {RunHash: "../../x"},
		"lineage":  {Lineage: make([]Ancestor, maxAncestors+1)},
	} {
		if err := m.check(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", name, err)
		}
	}
	// A parent's inputs were never checked when it was published.
	if _, err := Lineage([]Parent{{"file:///x", digestOf("a"), &Manifest{Inputs: []runconfig.Artifact{{Role: "a|b"}}}}}); !errors.Is(err, ErrFormat) {
		t.Errorf("malformed inputs of a parent: got %v, want ErrFormat", err)
	}
}
