package model

// Qwen2 and Qwen2.5: Llama with biases of queries, keys and values, and a sliding window in some layers if any.
var qwen2 = family{
	modelType: "qwen2", name: "Qwen2", causal: "Qwen2ForCausalLM",
	fields:   qwenFields,
	defaults: qwenDefaults,
	window:   qwenWindow,
	base:     llama.base, embedding: llama.embedding, block: llama.block, norm: llama.norm, head: llama.head, adapted: llama.adapted,
	layer: func(c *Config, b builder) layer { return llamaLayer(c, b, true, false) },
}

// The layer_types.
const (
	fullAttention    = "full_attention"
	slidingAttention = "sliding_attention"
)

func qwenFields(c *Config) []field {
	return append(llamaFields(c),
		field{"sliding_window", &c.SlidingWindow}, field{"use_sliding_window", &c.UseSlidingWindow},
		field{"max_window_layers", &c.MaxWindowLayers}, field{"layer_types", &c.LayerTypes})
}

func qwenDefaults(c *Config) {
	llamaDefaults(c, 1<<15)
	c.NumKeyValueHeads, c.SlidingWindow, c.MaxWindowLayers = 32, 4096, 28
}

func qwenWindow(c *Config, layer int) int {
	slides := layer >= c.MaxWindowLayers
	if c.LayerTypes != nil {
		slides = c.LayerTypes[layer] == slidingAttention
	}
	if !c.UseSlidingWindow || !slides {
		return 0
	}
	return int(c.SlidingWindow)
}
