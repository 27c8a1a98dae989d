package model_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/objective"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// saved is a model that hack/goldens/model/families.py had transformers save, and what transformers made of it.
type saved struct {
	dir      string
	config   []byte
	expected *checkpoint.Safetensors
}

// eachSaved runs f for the models of testdata/families whose names are accepted, inside tensor.Run.
func eachSaved(t *testing.T, accept func(name string) bool, f func(t *testing.T, s saved)) {
	dirs, err := filepath.Glob("testdata/families/*")
	if err != nil || len(dirs) < 20 {
		t.Fatal(dirs, err)
	}
	for _, dir := range dirs {
		if !accept(filepath.Base(dir)) {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			config, err := os.ReadFile(filepath.Join(dir, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			expected, err := checkpoint.OpenSafetensors(filepath.Join(dir, "expected.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			defer expected.Close()
			run(t, func() { f(t, saved{dir, config, expected}) })
		})
	}
}

// tolerance in float64: angles are float32 in transformers, whose cosine differs in the last place between libtorch's versions.
func (s saved) tolerance() float64 {
	if strings.Contains(s.dir, "gpt2") {
		return 1e-11
	}
	return 1e-5
}

func scored(name string) bool   { return strings.HasSuffix(name, "-score") }
func language(name string) bool { return !scored(name) && name != "gpt2-base" }

func (s saved) model(t *testing.T, dtype tensor.DType) *model.Model {
	t.Helper()
	return load(t, s.config, s.dir, dtype)
}

func load(t *testing.T, config []byte, dir string, dtype tensor.DType) *model.Model {
	t.Helper()
	c, err := model.ParseConfig("config.json", config)
	if err != nil {
		t.Fatal(err)
	}
	w, err := checkpoint.OpenWeights(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	m, err := model.Load(c, dtype, tensor.CPU, func(name string) (string, []int64, []byte, error) {
		a, err := w.Read(name)
		return a.DType, a.Shape, a.Data, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// want is one of expected's numbers.
func (s saved) want(t *testing.T, name string) *tensor.Tensor {
	t.Helper()
	a, err := s.expected.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	dtype := map[string]tensor.DType{"F64": tensor.Float64, "F32": tensor.Float32, "I64": tensor.Int64}[a.DType]
	return tensor.FromBytes(dtype, a.Data, a.Shape...)
}

// batch has one example a row; real are the rows of hidden that aren't padding.
func (s saved) batch(t *testing.T) (in model.Input, real []int64) {
	tokens := s.want(t, "tokens")
	in = model.Input{Rows: int(tokens.Dim(0)), SeqLen: int(tokens.Dim(1)), Tokens: tokens.Int64s()}
	if s.expected.Has("positions") {
		in.Positions = s.want(t, "positions").Int64s()
	}
	for r, n := range s.want(t, "lengths").Int64s() {
		for q := range int64(in.SeqLen) {
			segment := int64(0)
			if q >= n {
				segment = -1
			} else {
				real = append(real, int64(r*in.SeqLen)+q)
			}
			in.Segments, in.Prefixes = append(in.Segments, segment), append(in.Prefixes, -1)
			if !s.expected.Has("positions") {
				in.Positions = append(in.Positions, q)
			}
		}
	}
	return in, real
}

// pick are the rows of [n, width] numbers.
func pick(all []float64, width int, rows []int64) (out []float64) {
	for _, r := range rows {
		out = append(out, all[int(r)*width:(int(r)+1)*width]...)
	}
	return out
}

func TestFamiliesLogitsLossAndGradientsAreTransformers(t *testing.T) {
	eachSaved(t, language, func(t *testing.T, s saved) {
		in, real := s.batch(t)
		for _, c := range []struct {
			dtype     tensor.DType
			logits    string
			tolerance float64
		}{{tensor.Float64, "logits", s.tolerance()}, {tensor.Float32, "logits32", 2e-5}} {
			m := s.model(t, c.dtype)
			vocab := m.Config().VocabSize
			want := pick(s.want(t, c.logits).Float64s(), vocab, real)
			near(t, c.dtype.String()+" logits", m.Logits(m.Hidden(in), real).Float64s(), want, c.tolerance)
			for _, checkpointed := range []bool{false, true} {
				m.CheckpointActivations(checkpointed)
				var sources, targets []int64
				lengths := s.want(t, "lengths").Int64s()
				for r, prompt := range s.want(t, "prompts").Int64s() {
					for q := prompt; q < lengths[r]; q++ {
						at := int64(r*in.SeqLen) + q
						sources, targets = append(sources, at-1), append(targets, in.Tokens[at])
					}
				}
				loss := objective.SFT(m.TokenLogps(m.Hidden(in), sources, targets).TokenLogps).MulScalar(1 / float64(len(targets)))
				near(t, c.dtype.String()+" loss", []float64{loss.Item()}, []float64{s.want(t, "loss").Item()}, c.tolerance)
				loss.Backward()
				m.FinishBackward()
				compared := 0
				for _, p := range m.Parameters() {
					if name := "gradient." + p.Name; s.expected.Has(name) {
						near(t, c.dtype.String()+" "+name, p.Tensor.Grad().Float64s(), s.want(t, name).Float64s(), c.tolerance)
						compared++
					}
					p.Tensor.ZeroGrad()
				}
				if compared < 8 {
					t.Errorf("%d gradients compared", compared)
				}
			}
		}
	})
}

func TestFamiliesScoresAreTransformers(t *testing.T) {
	eachSaved(t, scored, func(t *testing.T, s saved) {
		m := s.model(t, tensor.Float64)
		in, real := s.batch(t)
		near(t, "scores", m.Scores(m.Hidden(in), real).Float64s(), pick(s.want(t, "scores").Float64s(), 1, real), s.tolerance())
	})
}

func TestFamiliesGenerateAsTransformers(t *testing.T) {
	eachSaved(t, language, func(t *testing.T, s saved) {
		if !s.expected.Has("generated") {
			t.Skip("positions begin late")
		}
		m := s.model(t, tensor.Float64)
		in, _ := s.batch(t)
		want := s.want(t, "generated")
		n := int(want.Dim(1))
		for r, prompt := range s.want(t, "prompts").Int64s() {
			tensor.NoGrad(func() {
				cache := m.NewCache(1, int(prompt)+n)
				next, first := in.Tokens[r*in.SeqLen:r*in.SeqLen+int(prompt)], 0
				var got []int64
				for len(got) < n {
					count := len(next)
					positions, attends := make([]int64, count), make([]bool, count*(first+count))
					for q := range next {
						positions[q] = int64(first + q)
						for k := range first + q + 1 {
							attends[q*(first+count)+k] = true
						}
					}
					logits := m.Logits(cache.Step(count, next, positions, attends), []int64{int64(count - 1)}).Float64s()
					logits[2] = math.Inf(-1) // the golden doesn't end
					best := int64(slices.Index(logits, slices.Max(logits)))
					got, next, first = append(got, best), []int64{best}, first+count
				}
				if want := want.Select(0, int64(r)).Int64s(); !slices.Equal(got, want) {
					t.Errorf("row %d: got %v, want %v", r, got, want)
				}
			})
		}
	})
}

func TestFamiliesAdapters(t *testing.T) {
	eachSaved(t, language, func(t *testing.T, s saved) {
		for _, targets := range [][]string{nil, {model.AllLinear}} {
			m := adapted(t, s.model(t, tensor.Float64), model.LoRA{Rank: 2, Alpha: 4, TargetModules: targets})
			modules, err := m.Config().LoRAModules(targets)
			if err != nil {
				t.Fatal(err)
			}
			in, real := s.batch(t)
			want := m.Logits(m.Hidden(in), real).Float64s()
			m.CheckpointActivations(true)
			m.Hidden(in).Sum().Backward()
			m.FinishBackward()
			n := 0
			for _, p := range m.AdapterParameters() {
				if p.Tensor.Grad() != nil {
					n++
				}
			}
			if n != 2*len(modules) || n == 0 {
				t.Errorf("%d of %d matrices of adapters have a gradient", n, 2*len(modules))
			}
			merged := m.Merge()
			near(t, "merged", merged.Logits(merged.Hidden(in), real).Float64s(), want, 1e-11)
		}
	})
}

func TestFreezeLayersOfFamilies(t *testing.T) {
	eachSaved(t, language, func(t *testing.T, s saved) {
		m := s.model(t, tensor.Float32)
		m.FreezeLayers(1)
		for _, p := range m.Parameters() {
			frozen := strings.Contains(p.Name, "embed_") && !strings.Contains(p.Name, "embed_out") || strings.Contains(p.Name, ".wte.") ||
				strings.Contains(p.Name, ".wpe.") || strings.Contains(p.Name, ".layers.0.") || strings.Contains(p.Name, ".h.0.")
			if p.Tensor.NeedsGrad() == frozen {
				t.Errorf("%s is trained: %t", p.Name, !frozen)
			}
		}
		clone := m.Clone()
		in, real := s.batch(t)
		near(t, "the clone's logits", clone.Logits(clone.Hidden(in), real).Float64s(), m.Logits(m.Hidden(in), real).Float64s(), 0)
	})
}

func TestBaseModelCheckpointLoads(t *testing.T) {
	eachSaved(t, func(name string) bool { return name == "gpt2" }, func(t *testing.T, s saved) {
		base, err := os.ReadFile("testdata/families/gpt2-base/config.json")
		if err != nil {
			t.Fatal(err)
		}
		got, want := load(t, base, "testdata/families/gpt2-base", tensor.Float32), s.model(t, tensor.Float32)
		for i, p := range want.Parameters() {
			if g := got.Parameters()[i]; g.Name != p.Name || !slices.Equal(g.Tensor.Float32s(), p.Tensor.Float32s()) {
				t.Errorf("%s is %s of other numbers", p.Name, g.Name)
			}
		}
	})
}

// The same scaling under the older names gives the same model.
func TestOlderConfigs(t *testing.T) {
	eachSaved(t, language, func(t *testing.T, s saved) {
		var fields map[string]any
		if err := json.Unmarshal(s.config, &fields); err != nil {
			t.Fatal(err)
		}
		rope, _ := fields["rope_parameters"].(map[string]any)
		if rope == nil {
			t.Skip("no rotary positions")
		}
		old := maps.Clone(rope)
		old["type"] = old["rope_type"]
		delete(old, "rope_type")
		delete(old, "rope_theta")
		delete(old, "partial_rotary_factor")
		delete(fields, "rope_parameters")
		fields["rope_scaling"] = old
		if fields["model_type"] == "gpt_neox" {
			fields["rotary_emb_base"], fields["rotary_pct"] = rope["rope_theta"], rope["partial_rotary_factor"]
		} else {
			fields["rope_theta"] = rope["rope_theta"]
		}
		b, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		in, real := s.batch(t)
		older, newer := load(t, b, s.dir, tensor.Float64), s.model(t, tensor.Float64)
		near(t, "logits", older.Logits(older.Hidden(in), real).Float64s(), newer.Logits(newer.Hidden(in), real).Float64s(), 0)
	})
}

func TestConfigsComeBack(t *testing.T) {
	eachSaved(t, func(string) bool { return true }, func(t *testing.T, s saved) {
		c, err := model.ParseConfig("config.json", s.config)
		if err != nil {
			t.Fatal(err)
		}
		var before, after map[string]any
		for b, to := range map[string]*map[string]any{string(s.config): &before, string(c.JSON()): &after} {
			if err := json.Unmarshal([]byte(b), to); err != nil {
				t.Fatal(err)
			}
		}
		for name, v := range before {
			if name == "id2label" || name == "label2id" || name == "architectures" || v == nil && after[name] != nil {
				continue // a score's own; the class with a head; what is left to the reader
			}
			if fmt.Sprint(after[name]) != fmt.Sprint(v) {
				t.Errorf("%s: was %v, is %v", name, v, after[name])
			}
		}
	})
}
