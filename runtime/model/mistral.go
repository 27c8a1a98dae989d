package model

// Mistral: Llama with a sliding window in every layer.
var mistral = family{
	modelType: "mistral", name: "Mistral", causal: "MistralForCausalLM",
	fields: func(c *Config) []field {
		return append(llamaFields(c), field{"head_dim", &c.HeadDim}, field{"sliding_window", &c.SlidingWindow})
	},
	defaults: func(c *Config) {
		llamaDefaults(c, 1<<17)
		c.NumKeyValueHeads, c.SlidingWindow = 8, 4096
	},
	window: func(c *Config, _ int) int { return int(c.SlidingWindow) },
	base:   llama.base, embedding: llama.embedding, block: llama.block, norm: llama.norm, head: llama.head, adapted: llama.adapted,
	layer: func(c *Config, b builder) layer { return llamaLayer(c, b, false, false) },
}
