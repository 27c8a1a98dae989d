package model_test

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
)

// llama is a config.json as transformers writes it, fields that nothing here reads included.
func llama() map[string]any {
	return map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "vocab_size": 100, "hidden_size": 32,
		"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
		"rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 512, "hidden_act": "silu",
		"tie_word_embeddings": true, "attention_bias": false, "rope_scaling": nil, "bos_token_id": 1,
		"eos_token_id": []int{2, 3}, "torch_dtype": "bfloat16", "use_cache": true, "pretraining_tp": 1,
	}
}

func parse(t *testing.T, change map[string]any) (model.Config, error) {
	t.Helper()
	fields := llama()
	maps.Copy(fields, change)
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return model.ParseConfig("base/config.json", b)
}

func TestParseConfigAndBack(t *testing.T) {
	c, err := parse(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	bos := int32(1)
	want := model.Config{
		Architectures: []string{"LlamaForCausalLM"}, ModelType: "llama", VocabSize: 100, HiddenSize: 32, IntermediateSize: 64,
		NumHiddenLayers: 2, NumAttentionHeads: 4, NumKeyValueHeads: 2, HeadDim: 8, RMSNormEps: 1e-5, RopeTheta: 500000,
		MaxPositionEmbeddings: 512, TieWordEmbeddings: true, HiddenAct: "silu", InitializerRange: 0.02,
		BOSTokenID: &bos, EOSTokenID: model.TokenIDs{2, 3},
		Other: map[string]json.RawMessage{
			"rope_scaling": json.RawMessage("null"), "torch_dtype": json.RawMessage(`"bfloat16"`), "use_cache": json.RawMessage("true"),
			"pretraining_tp": json.RawMessage("1"),
		},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	again, err := model.ParseConfig("config.json", c.JSON())
	if err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("written and read again: %v\ngot  %+v\nwant %+v", err, again, c)
	}
}

func TestParseConfigTakesNewerRope(t *testing.T) {
	c, err := parse(t, map[string]any{"rope_parameters": map[string]any{"rope_type": "default", "rope_theta": 12345.0}, "eos_token_id": 7})
	if err != nil || c.RopeTheta != 12345 || len(c.EOSTokenID) != 1 || c.EOSTokenID[0] != 7 {
		t.Errorf("got theta %g, eos %v, %v", c.RopeTheta, c.EOSTokenID, err)
	}
}

func TestGPT2SaysItsPositionsTwice(t *testing.T) {
	for _, more := range []string{"", `, "n_ctx": 32`, `, "n_ctx": null`} {
		c, err := model.ParseConfig("config.json", []byte(`{"model_type": "gpt2", "vocab_size": 9, "n_embd": 4, "n_layer": 1, "n_head": 1, "n_positions": 64`+more+`}`))
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(c.JSON(), &out); err != nil || out["n_positions"] != 64.0 || out["n_ctx"] != 64.0 {
			t.Errorf("with %q: got %+v, %v", more, out, err)
		}
		if again, err := model.ParseConfig("config.json", c.JSON()); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("with %q, written and read again: %v\ngot  %+v\nwant %+v", more, err, again, c)
		}
	}
}

func TestParseConfigNamesFileAndField(t *testing.T) {
	for field, value := range map[string]any{
		"model_type":              "mamba",
		"architectures":           []string{"LlamaForTokenClassification"},
		"reward_shift":            0.5, // of a policy
		"vocab_size":              0,
		"hidden_size":             "many",
		"intermediate_size":       -5,
		"num_hidden_layers":       1 << 40,
		"num_key_value_heads":     3,
		"head_dim":                7,
		"rms_norm_eps":            0,
		"rope_theta":              -1,
		"rope_scaling":            map[string]any{"rope_type": "llama3", "factor": 8},
		"rope_parameters":         map[string]any{"rope_type": "yarn"},
		"hidden_act":              "mish",
		"quantization_config":     map[string]any{"bits": 4},
		"eos_token_id":            "two",
		"max_position_embeddings": 0,
	} {
		_, err := parse(t, map[string]any{field: value})
		if !errors.Is(err, model.ErrConfig) || !strings.Contains(err.Error(), "base/config.json: "+field) {
			t.Errorf("%s = %v: got %v", field, value, err)
		}
	}
	if _, err := model.ParseConfig("x", []byte("{")); !errors.Is(err, model.ErrConfig) {
		t.Errorf("broken JSON: got %v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	b, _ := json.Marshal(llama())
	f.Add(b)
	f.Add([]byte(`{"model_type":"llama","eos_token_id":null,"rope_scaling":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := model.ParseConfig("fuzz", b)
		if err != nil {
			return
		}
		if again, err := model.ParseConfig("fuzz", c.JSON()); err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("written and read again: %v\ngot  %+v\nwant %+v", err, again, c)
		}
	})
}
