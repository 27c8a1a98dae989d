package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// The files of an adapter in PEFT's format, and what its names of weights begin with.
const (
	adapterFile   = "adapter_config.json"
	adapterWeight = "adapter_model.safetensors"
	adapterPrefix = "base_model.model."
)

// adapterConfig is adapter_config.json: PEFT's LoraConfig.
type adapterConfig struct {
	Type          string   `json:"peft_type"`
	Task          string   `json:"task_type"`
	Base          string   `json:"base_model_name_or_path"`
	Revision      *string  `json:"revision"`
	Rank          int      `json:"r"`
	Alpha         float64  `json:"lora_alpha"`
	Dropout       float64  `json:"lora_dropout"`
	Targets       targets  `json:"target_modules"`
	RSLoRA        bool     `json:"use_rslora"`
	Bias          string   `json:"bias"`
	Transposed    bool     `json:"fan_in_fan_out"`
	InferenceMode bool     `json:"inference_mode"`
	ModulesToSave []string `json:"modules_to_save"`
	Initial       any      `json:"init_lora_weights"`
}

const (
	causalLM = "CAUSAL_LM"
	seqCLS   = "SEQ_CLS"
)

// targets are a list of modules, or one text in JSON.
type targets []string

func (t *targets) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(t))
	}
	*t = make(targets, 1)
	return json.Unmarshal(b, &(*t)[0])
}

// loRA are a run's settings.
func loRA(l *runconfig.LoRA) model.LoRA {
	return model.LoRA{Rank: l.Rank, Alpha: l.Alpha, Dropout: l.Dropout, TargetModules: l.TargetModules, RankStabilized: l.UseRSLoRA}
}

// adapt puts the run's adapters on a model, which then is frozen; without any it is the model.
func (r *run) adapt(m *model.Model) (*model.Model, error) {
	l := r.config.Training.LoRA
	if l == nil {
		return m, nil
	}
	out, err := m.WithLoRA(loRA(l), r.config.Seed)
	if err != nil {
		return nil, invalidField("training.lora.targetModules", err)
	}
	return out, nil
}

// checkTargets finds a module that the model lacks before any example or weight is read.
func (r *run) checkTargets() error {
	l := r.config.Training.LoRA
	if l == nil {
		return nil
	}
	s := r.config.Model.Source
	dir, err := r.resolver.Path(s.URI)
	if err != nil {
		return invalidField("model.uri", err)
	}
	base, err := r.baseOf("model", dir, s)
	if err != nil {
		return err
	}
	if base != nil {
		if l.Publish == runconfig.PublishAdapter {
			return invalidField("training.lora.publish", fmt.Errorf("%s is an adapter itself, which no other adapter can go on: publish %s", s.URI, runconfig.PublishMerged))
		}
		if dir, err = r.resolver.Path(base.URI); err != nil {
			return invalidField("model.base.uri", err)
		}
	}
	c, err := readConfig(dir)
	if err != nil {
		return invalidData("model.uri", err)
	}
	if _, err := c.LoRAModules(l.TargetModules); err != nil {
		return invalidField("training.lora.targetModules", err)
	}
	return nil
}

// isAdapter says whether a folder has an adapter in PEFT's format, and no checkpoint.
func isAdapter(dir string) (bool, error) {
	has := map[string]bool{}
	for _, name := range []string{adapterFile, checkpoint.WeightsFile, checkpoint.IndexFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			has[name] = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return has[adapterFile] && !has[checkpoint.WeightsFile] && !has[checkpoint.IndexFile], nil
}

// baseOf is the checkpoint that the adapter in a folder goes on: the one that the source names, or the one that its
// manifest says it was trained on; of a hub, at that commit. It is nil for a folder with a checkpoint.
func (r *run) baseOf(field, dir string, s runconfig.Source) (*runconfig.Source, error) {
	adapter, err := isAdapter(dir)
	switch {
	case err != nil:
		return nil, invalidData(field+".uri", err)
	case !adapter && s.Base != nil:
		return nil, invalidField(field+".base", fmt.Errorf("%s has no %s: only an adapter has a base", s.URI, adapterFile))
	case !adapter:
		return nil, nil
	}
	m, _, err := checkpoint.ReadManifest(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, invalidData(field+".uri", err)
	}
	if m != nil {
		for _, in := range m.Inputs {
			if named := s.Base; in.Role == "model" && in.URI != "" && (named == nil || named.URI == in.URI && named.Digest == in.Digest) {
				return &runconfig.Source{URI: atCommit(in), Digest: in.Digest}, nil
			}
		}
	}
	if s.Base != nil {
		return s.Base, nil
	}
	c, err := readAdapter(dir)
	if err != nil {
		return nil, invalidData(field+".uri", err)
	}
	return nil, invalidField(field+".base", fmt.Errorf("is missing: %s is an adapter; its %s says that it goes on %q", s.URI, adapterFile, c.Base))
}

// atCommit is the URI of what was read then, where the revision may have moved on.
func atCommit(in runconfig.Artifact) string {
	parts := strings.SplitN(in.URI, "/", 5) // hf://org/name@revision/path
	if in.Commit == "" || len(parts) < 4 {
		return in.URI
	}
	name, _, _ := strings.Cut(parts[3], "@")
	parts[3] = name + "@" + in.Commit
	return strings.Join(parts, "/")
}

// readAdapter reads adapter_config.json. What would change the computation in a way that is not known here is an error.
func readAdapter(dir string) (c adapterConfig, err error) {
	path := filepath.Join(dir, adapterFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	fail := func(field, format string, args ...any) (adapterConfig, error) {
		return c, fmt.Errorf("%w: %s: %s: %s", checkpoint.ErrFormat, path, field, fmt.Sprintf(format, args...))
	}
	var all map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(b, &all), json.Unmarshal(b, &c)); err != nil {
		return c, fmt.Errorf("%w: %s: %w", checkpoint.ErrFormat, path, err)
	}
	known := []string{ // and what says nothing of the computation
		"peft_type", "task_type", "base_model_name_or_path", "revision", "r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "bias",
		"fan_in_fan_out", "inference_mode", "modules_to_save", "init_lora_weights",
		"auto_mapping", "megatron_core", "peft_version", "qalora_group_size", "ensure_weight_tying",
	}
	for field, value := range all {
		if !slices.Contains(known, field) && !slices.Contains([]string{"null", "false", "{}", "[]", `""`, "0"}, string(bytes.TrimSpace(value))) {
			return fail(field, "got %.40s, which this trainer does not know", value)
		}
	}
	switch {
	case c.Type != "LORA":
		return fail("peft_type", "got %q, want LORA", c.Type)
	case c.Rank < 1:
		return fail("r", "got %d, want 1 or more", c.Rank)
	case math.IsNaN(c.Alpha) || c.Alpha == 0:
		return fail("lora_alpha", "got %g", c.Alpha)
	case c.Bias != "" && c.Bias != "none":
		return fail("bias", "got %q, want none", c.Bias)
	case len(c.Targets) == 0:
		return fail("target_modules", "is missing")
	case slices.ContainsFunc(c.ModulesToSave, func(m string) bool { return m != "score" && m != "classifier" }):
		return fail("modules_to_save", "got %v, want none but score", c.ModulesToSave)
	}
	switch c.Initial {
	case nil, true, false, "gaussian", "eva", "orthogonal":
	default:
		return fail("init_lora_weights", "got %v, which changes the base's weights", c.Initial)
	}
	return c, nil
}

// loadAdapter is the model of a base with the adapter in a folder added to its weights.
func loadAdapter(dir string, base *model.Model) (*model.Model, error) {
	c, err := readAdapter(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, adapterWeight)
	w, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if c.Task == seqCLS && !base.HasScore() {
		base = base.WithScore(0)
	}
	unread := w.Names()
	m, err := base.LoadLoRA(model.LoRA{Rank: c.Rank, Alpha: c.Alpha, RankStabilized: c.RSLoRA, TargetModules: c.Targets}, func(name string) (string, []int64, []byte, error) {
		t, err := w.Read(adapterPrefix + name)
		unread = slices.DeleteFunc(unread, func(n string) bool { return n == adapterPrefix+name })
		return t.DType, t.Shape, t.Data, err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(unread) > 0 {
		return nil, fmt.Errorf("%w: %s: %q adapts nothing that is known here", checkpoint.ErrFormat, path, unread[0])
	}
	m = m.Merge()
	if !m.HasScore() {
		return m, nil
	}
	if own, err := readConfig(dir); err == nil { // this project's
		m.SetRewardShift(own.RewardShift)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return m, nil
}

// loadOnBase is LoadModel of an adapter, whose own config says where its base is.
func loadOnBase(dir string, dtype tensor.DType, device tensor.Device, ranks ...*distributed.Group) (*model.Model, error) {
	c, err := readAdapter(dir)
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(c.Base); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("%w: %s: base_model_name_or_path: %q is no folder here", checkpoint.ErrFormat, filepath.Join(dir, adapterFile), c.Base)
	}
	base, err := LoadModel(c.Base, dtype, device, ranks...)
	if err != nil {
		return nil, err
	}
	return loadAdapter(dir, base)
}

// adapterConfig is that of a model to publish.
func (r *run) adapterConfig(m *model.Model) []byte {
	l := r.config.Training.LoRA
	c := adapterConfig{
		Type: "LORA", Task: causalLM, Rank: l.Rank, Alpha: l.Alpha, Dropout: l.Dropout, Targets: m.Config().LoRATargets(l.TargetModules),
		RSLoRA: l.UseRSLoRA, Bias: "none", InferenceMode: true, Initial: true, Transposed: m.Config().ModelType == "gpt2", // its Conv1D
	}
	c.Base, c.Revision = hubName(r.config.Model.URI)
	if m.HasScore() {
		c.Task, c.ModulesToSave = seqCLS, []string{"score"}
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil { // texts and finite numbers
		panic(err)
	}
	return append(b, '\n')
}

// hubName is a URI as PEFT can look it up: a path, or a repository and its revision. Of a claim it is the URI.
func hubName(uri string) (name string, revision *string) {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
	case u.Scheme == "file":
		return u.Path, nil
	case u.Scheme == "hf":
		if repository, at, ok := strings.Cut(u.Host+u.Path, "@"); ok {
			return repository, &at
		}
		return u.Host + u.Path, nil
	}
	return uri, nil
}

// adapterWeights are PEFT's of a model with adapters.
func adapterWeights(params []model.Parameter) []model.Parameter {
	out := slices.Clone(params)
	for i := range out {
		out[i].Name = adapterPrefix + out[i].Name
	}
	return out
}
