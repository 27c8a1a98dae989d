package model

// GPT-NeoX, of which Pythia is: LayerNorm, positions that turn a part of each head, a plain MLP beside the attention
// (use_parallel_residual). Queries, keys and values are one product, head by head.
var gptNeoX = family{
	modelType: "gpt_neox", name: "GPTNeoX", causal: "GPTNeoXForCausalLM",
	fields: func(c *Config) []field {
		return []field{
			{"hidden_size", &c.HiddenSize}, {"intermediate_size", &c.IntermediateSize}, {"num_hidden_layers", &c.NumHiddenLayers},
			{"num_attention_heads", &c.NumAttentionHeads}, {"layer_norm_eps", &c.RMSNormEps}, {"hidden_act", &c.HiddenAct},
			{"max_position_embeddings", &c.MaxPositionEmbeddings}, {"rotary_emb_base", &c.RopeTheta}, {"rotary_pct", &c.RotaryFraction},
			{"use_parallel_residual", &c.ParallelResidual}, {"attention_bias", &c.AttentionBias},
		}
	},
	defaults: func(c *Config) {
		c.RMSNormEps, c.HiddenAct, c.MaxPositionEmbeddings, c.RopeTheta, c.RotaryFraction = 1e-5, "gelu", 2048, 10000, 0.25
		c.ParallelResidual, c.AttentionBias = true, true
	},
	base: "gpt_neox.", embedding: "embed_in.weight", block: "layers.%d.", norm: "final_layer_norm", head: "embed_out.weight",
	layerNorm: true, fused: true,
	adapted: []string{"query_key_value"},
	layer: func(c *Config, b builder) layer {
		return layer{
			attentionNorm: b.norm("input_layernorm", c.HiddenSize),
			mlpNorm:       b.norm("post_attention_layernorm", c.HiddenSize),
			qkv:           b.linear("attention.query_key_value", c.HiddenSize, 3*c.HiddenSize, c.AttentionBias),
			byHead:        true,
			o:             b.linear("attention.dense", c.HiddenSize, c.HiddenSize, c.AttentionBias),
			up:            b.linear("mlp.dense_h_to_4h", c.HiddenSize, c.IntermediateSize, true),
			down:          b.linear("mlp.dense_4h_to_h", c.IntermediateSize, c.HiddenSize, true),
		}
	},
}
