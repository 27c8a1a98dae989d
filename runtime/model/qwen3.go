package model

// Qwen3: Qwen2 without biases, and with norms of every query and key.
var qwen3 = family{
	modelType: "qwen3", name: "Qwen3", causal: "Qwen3ForCausalLM",
	fields: func(c *Config) []field {
		return append(qwenFields(c), field{"head_dim", &c.HeadDim}, field{"attention_bias", &c.AttentionBias})
	},
	defaults: func(c *Config) {
		qwenDefaults(c)
		c.HeadDim = 128
	},
	window: qwenWindow,
	base:   llama.base, embedding: llama.embedding, block: llama.block, norm: llama.norm, head: llama.head, adapted: llama.adapted,
	layer: func(c *Config, b builder) layer {
		l := llamaLayer(c, b, c.AttentionBias, c.AttentionBias)
		l.qNorm, l.kNorm = b.parameter("self_attn.q_norm.weight", c.HeadDim), b.parameter("self_attn.k_norm.weight", c.HeadDim)
		return l
	},
}
