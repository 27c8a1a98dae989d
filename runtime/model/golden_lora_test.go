package model_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/optim"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// goldenLoRA is what hack/goldens/lora/make.py wrote of adapters of a golden's model.
type goldenLoRA struct {
	Config struct {
		R             int
		Alpha         float64         `json:"lora_alpha"`
		RankStabilize bool            `json:"use_rslora"`
		Targets       json.RawMessage `json:"target_modules"`
	}
	Modules       []string
	Weights       map[string]array // by PEFT's names
	Logits        array
	Loss          float64
	Gradients     map[string]array
	Losses, Norms []float64
	Trained       map[string]array
	Merged        map[string]array // the base's weights with Trained
}

// peftName is that of a parameter in adapter_model.safetensors.
func peftName(name string) string { return "base_model.model." + name }

func (g goldenLoRA) adapt(t *testing.T, base *model.Model) *model.Model {
	t.Helper()
	l := model.LoRA{Rank: g.Config.R, Alpha: g.Config.Alpha, RankStabilized: g.Config.RankStabilize}
	if string(g.Config.Targets) == `"all-linear"` {
		l.TargetModules = []string{model.AllLinear}
	}
	m, err := base.LoadLoRA(l, func(name string) (string, []int64, []byte, error) {
		a, ok := g.Weights[peftName(name)]
		if !ok {
			return "", nil, nil, fmt.Errorf("not in the golden")
		}
		return "F64", a.shape, a.bytes(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAdaptersArePEFTs(t *testing.T) {
	for _, name := range []string{"gqa-tied", "mha-untied-bias"} {
		t.Run(name, func(t *testing.T) {
			var base golden
			var g goldenLoRA
			for file, into := range map[string]any{"llama": &base, "lora": &g} {
				b, err := os.ReadFile(filepath.Join("testdata", file+"-"+name+".json"))
				if err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(b, into); err != nil {
					t.Fatal(err)
				}
			}
			run(t, func() {
				for dtype, tolerance := range map[tensor.DType]float64{tensor.Float64: 1e-10, tensor.Float32: 2e-5} {
					testAdapters(t, base, g, dtype, tolerance)
				}
			})
		})
	}
}

func testAdapters(t *testing.T, base golden, g goldenLoRA, dtype tensor.DType, tolerance float64) {
	frozen := base.model(t, dtype)
	m := g.adapt(t, frozen)
	trained := m.Trainable()
	if got, want := namesOf(trained), slices.Sorted(maps.Keys(g.Weights)); !slices.Equal(got, want) {
		t.Fatalf("trained are %v\nwith PEFT %v", got, want)
	}

	in, _, _ := base.batch()
	var rows []int64
	var want []float64
	vocab := m.Config().VocabSize
	for i, s := range in.Segments {
		if s >= 0 {
			rows, want = append(rows, int64(i)), append(want, g.Logits.data[i*vocab:(i+1)*vocab]...)
		}
	}
	near(t, dtype.String()+" logits", m.Logits(m.Hidden(in), rows).Float64s(), want, tolerance)
	loss := base.loss(m)
	near(t, dtype.String()+" loss", []float64{loss.Item()}, []float64{g.Loss}, tolerance)
	loss.Backward()
	for _, p := range trained {
		near(t, dtype.String()+" gradient of "+p.Name, p.Tensor.Grad().Float64s(), g.Gradients[peftName(p.Name)].data, tolerance)
		p.Tensor.ZeroGrad()
	}

	before := map[string][]byte{}
	for _, p := range frozen.Parameters() {
		before[p.Name] = p.Tensor.Bytes()
	}
	a := optim.NewAdamW(trained, optim.AdamWParams{Beta1: base.AdamW.Beta1, Beta2: base.AdamW.Beta2, Epsilon: base.AdamW.Epsilon, WeightDecay: base.AdamW.Decay})
	var losses, norms []float64
	for range g.Losses {
		tensor.Scoped(func() {
			loss := base.loss(m)
			loss.Backward()
			losses = append(losses, loss.Item())
			norms = append(norms, optim.ClipGradNorm(trained, base.AdamW.Clip))
			a.Step(base.AdamW.Rate)
			a.ZeroGrad()
		})
	}
	if dtype == tensor.Float64 { // AdamW's first steps make much of a gradient's rounding
		near(t, "losses", losses, g.Losses, tolerance)
		near(t, "norms", norms, g.Norms, 10*tolerance)
		for _, p := range trained {
			near(t, p.Name+" after ten steps", p.Tensor.Float64s(), g.Trained[peftName(p.Name)].data, tolerance)
		}
	}
	for _, p := range frozen.Parameters() {
		if !slices.Equal(before[p.Name], p.Tensor.Bytes()) {
			t.Errorf("%s of the base has changed", p.Name)
		}
	}

	trainedLoss := base.loss(m).Item()
	merged := m.Merge()
	for _, p := range merged.Parameters() {
		want, adapted := g.Merged[p.Name]
		if !adapted {
			continue
		}
		if dtype == tensor.Float64 {
			near(t, "merged "+p.Name, p.Tensor.Float64s(), want.data, tolerance)
		}
	}
	near(t, dtype.String()+" loss of the merged model", []float64{base.loss(merged).Item()}, []float64{trainedLoss}, tolerance)
	if n := len(merged.Trainable()); n != len(merged.Parameters()) {
		t.Errorf("%d parameters of the merged model are trained", n)
	}
}

// namesOf are PEFT's of parameters, sorted.
func namesOf(params []model.Parameter) (names []string) {
	for _, p := range params {
		names = append(names, peftName(p.Name))
	}
	slices.Sort(names)
	return names
}

func TestModulesArePEFTs(t *testing.T) {
	b, err := os.ReadFile("testdata/lora-mha-untied-bias.json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldenLoRA
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	all, err := tiny.LoRAModules([]string{model.AllLinear})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	if !slices.Equal(all, g.Modules) { // it has two layers as well
		t.Errorf("all-linear is %v\nwith PEFT %v", all, g.Modules)
	}
	for _, c := range []struct {
		targets []string
		want    string // "" is an error
	}{
		{nil, "model.layers.0.self_attn.q_proj model.layers.0.self_attn.v_proj model.layers.1.self_attn.q_proj model.layers.1.self_attn.v_proj"},
		{[]string{"mlp.up_proj"}, "model.layers.0.mlp.up_proj model.layers.1.mlp.up_proj"},
		{[]string{"model.layers.1.self_attn.k_proj"}, "model.layers.1.self_attn.k_proj"},
		{[]string{"proj"}, ""},
		{[]string{"q_proj", "c_attn"}, ""},
		{[]string{"lm_head"}, ""},
		{[]string{"input_layernorm"}, ""},
		{[]string{"q_proj", model.AllLinear}, ""},
	} {
		got, err := tiny.LoRAModules(c.targets)
		if c.want == "" {
			if last := c.targets[len(c.targets)-1]; err == nil || !strings.Contains(err.Error(), last) || !strings.Contains(err.Error(), "q_proj, k_proj") {
				t.Errorf("%v: got %v, %v", c.targets, got, err)
			}
			continue
		}
		if strings.Join(got, " ") != c.want || err != nil {
			t.Errorf("%v: got %v, %v", c.targets, got, err)
		}
	}
}
