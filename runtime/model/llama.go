package model

// Llama 2 and 3: RMSNorm, rotary positions, queries in groups that share keys and values, a gated MLP.
var llama = family{
	modelType: "llama", name: "Llama", causal: "LlamaForCausalLM",
	fields: func(c *Config) []field {
		return append(llamaFields(c), field{"head_dim", &c.HeadDim}, field{"attention_bias", &c.AttentionBias}, field{"mlp_bias", &c.MLPBias})
	},
	defaults: func(c *Config) { llamaDefaults(c, 2048) },
	base:     "model.", embedding: "embed_tokens.weight", block: "layers.%d.", norm: "norm", head: "lm_head.weight",
	adapted: []string{"q_proj", "v_proj"},
	layer: func(c *Config, b builder) layer {
		return llamaLayer(c, b, c.AttentionBias, c.AttentionBias)
	},
}

// llamaFields are those of every family that is built like Llama.
func llamaFields(c *Config) []field {
	return []field{
		{"hidden_size", &c.HiddenSize}, {"intermediate_size", &c.IntermediateSize}, {"num_hidden_layers", &c.NumHiddenLayers},
		{"num_attention_heads", &c.NumAttentionHeads}, {"num_key_value_heads", &c.NumKeyValueHeads}, {"rms_norm_eps", &c.RMSNormEps},
		{"rope_theta", &c.RopeTheta}, {"max_position_embeddings", &c.MaxPositionEmbeddings}, {"hidden_act", &c.HiddenAct},
	}
}

func llamaDefaults(c *Config, positions int) {
	c.RMSNormEps, c.RopeTheta, c.MaxPositionEmbeddings, c.HiddenAct = 1e-6, 10000, positions, "silu"
}

// llamaLayer is the block of every family that is built like Llama. bias is that of queries, keys and values.
func llamaLayer(c *Config, b builder, bias, outputBias bool) layer {
	queries, keys := c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	return layer{
		q:             b.linear("self_attn.q_proj", c.HiddenSize, queries, bias),
		k:             b.linear("self_attn.k_proj", c.HiddenSize, keys, bias),
		v:             b.linear("self_attn.v_proj", c.HiddenSize, keys, bias),
		o:             b.linear("self_attn.o_proj", queries, c.HiddenSize, outputBias),
		gate:          b.linear("mlp.gate_proj", c.HiddenSize, c.IntermediateSize, c.MLPBias),
		up:            b.linear("mlp.up_proj", c.HiddenSize, c.IntermediateSize, c.MLPBias),
		down:          b.linear("mlp.down_proj", c.IntermediateSize, c.HiddenSize, c.MLPBias),
		attentionNorm: b.norm("input_layernorm", c.HiddenSize),
		mlpNorm:       b.norm("post_attention_layernorm", c.HiddenSize),
	}
}
