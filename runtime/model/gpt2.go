package model

import "math"

// GPT-2: LayerNorm, learned positions, a plain MLP. Its weights are stored transposed, those of queries, keys and values
// as one.
var gpt2 = family{
	modelType: "gpt2", name: "GPT2", causal: "GPT2LMHeadModel",
	fields: func(c *Config) []field {
		return []field{
			{"n_embd", &c.HiddenSize}, {"n_inner", &c.IntermediateSize}, {"n_layer", &c.NumHiddenLayers}, {"n_head", &c.NumAttentionHeads},
			{"n_positions", &c.MaxPositionEmbeddings},
			{"n_ctx", &copied{&c.MaxPositionEmbeddings}}, // as OpenAI's files have it; llama.cpp's converter asks for it
			{"layer_norm_epsilon", &c.RMSNormEps}, {"activation_function", &c.HiddenAct},
			{"scale_attn_weights", &not{&c.UnscaledAttention}}, {"scale_attn_by_inverse_layer_idx", &c.ScaleByLayer},
		}
	},
	defaults: func(c *Config) {
		c.MaxPositionEmbeddings, c.RMSNormEps, c.HiddenAct, c.TieWordEmbeddings = 1024, 1e-5, "gelu_new", true
	},
	innerFactor: 4,
	base:        "transformer.", embedding: "wte.weight", positions: "wpe.weight", block: "h.%d.", norm: "ln_f", head: "lm_head.weight",
	layerNorm: true, fused: true,
	adapted: []string{"c_attn"},
	layer: func(c *Config, b builder) layer {
		residual := b // what ends in the residual stream begins smaller, with depth
		residual.deviation /= math.Sqrt(float64(2 * c.NumHiddenLayers))
		return layer{
			attentionNorm: b.norm("ln_1", c.HiddenSize),
			qkv:           b.conv1D("attn.c_attn", c.HiddenSize, 3*c.HiddenSize),
			o:             residual.conv1D("attn.c_proj", c.HiddenSize, c.HiddenSize),
			mlpNorm:       b.norm("ln_2", c.HiddenSize),
			up:            b.conv1D("mlp.c_fc", c.HiddenSize, c.IntermediateSize),
			down:          residual.conv1D("mlp.c_proj", c.IntermediateSize, c.HiddenSize),
		}
	},
}
