package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// rope is how the rotary positions of a longer context are scaled, as transformers' modeling_rope_utils does; the zero
// value is not at all.
type rope struct {
	kind        string // one of ropeKinds
	factor      float64
	original    float64 // positions before scaling
	attention   float64 // what cosines and sines are multiplied with; 0 is 1
	low, high   float64 // llama3: frequency factors; yarn: the dimensions where scaling sets in and is whole
	short, long []float32
}

var ropeKinds = []string{"default", "linear", "dynamic", "llama3", "yarn", "longrope"}

// readRope reads rope_scaling or, without, the newer rope_parameters; it names the field of an error.
func (c *Config) readRope() (field string, err error) {
	field = "rope_scaling"
	b := c.Other[field]
	if s := string(b); s == "" || s == "null" || s == "{}" {
		field = "rope_parameters"
		b = c.Other[field]
	}
	if s := string(b); s == "" || s == "null" || s == "{}" || c.rotaryDims() == 0 {
		return "", nil
	}
	var r struct {
		Type            string    `json:"type"`
		RopeType        string    `json:"rope_type"`
		Theta           float64   `json:"rope_theta"`
		Partial         float64   `json:"partial_rotary_factor"`
		Factor          float64   `json:"factor"`
		Original        float64   `json:"original_max_position_embeddings"`
		LowFreqFactor   float64   `json:"low_freq_factor"`
		HighFreqFactor  float64   `json:"high_freq_factor"`
		BetaFast        float64   `json:"beta_fast"`
		BetaSlow        float64   `json:"beta_slow"`
		MScale          float64   `json:"mscale"`
		MScaleAllDim    float64   `json:"mscale_all_dim"`
		AttentionFactor float64   `json:"attention_factor"`
		Truncate        *bool     `json:"truncate"`
		ShortFactor     []float32 `json:"short_factor"`
		LongFactor      []float32 `json:"long_factor"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return field, err
	}
	if r.Theta != 0 {
		c.RopeTheta = r.Theta
	}
	if r.Partial != 0 && c.family() == &gptNeoX {
		c.RotaryFraction = r.Partial
	} else if r.Partial != 0 && r.Partial != 1 {
		return field + ".partial_rotary_factor", fmt.Errorf("got %g, only 1 is supported", r.Partial)
	}
	kind := r.RopeType
	if kind == "" {
		kind = r.Type
	}
	positions := float64(c.MaxPositionEmbeddings)
	out := rope{kind: kind, factor: r.Factor, original: positions, attention: r.AttentionFactor}
	if kind == "llama3" || kind == "yarn" || kind == "longrope" {
		if r.Original != 0 {
			out.original = r.Original
		}
		if b, ok := c.Other["original_max_position_embeddings"]; ok && string(b) != "null" {
			if err := json.Unmarshal(b, &out.original); err != nil {
				return "original_max_position_embeddings", err
			}
		}
		if !(out.original >= 1) {
			return field + ".original_max_position_embeddings", fmt.Errorf("got %g, want 1 or more", out.original)
		}
	}
	if kind == "longrope" && r.Factor == 0 {
		out.factor = positions / out.original
	}
	dims := c.rotaryDims()
	switch kind {
	case "", "default":
		return "", nil
	case "linear", "dynamic":
		out.attention = 0
	case "llama3":
		if !(r.LowFreqFactor > 0 && r.HighFreqFactor > r.LowFreqFactor) {
			return field + ".high_freq_factor", fmt.Errorf("got %g, and low_freq_factor %g; want both above 0, and this one above that", r.HighFreqFactor, r.LowFreqFactor)
		}
		out.low, out.high, out.attention = r.LowFreqFactor, r.HighFreqFactor, 0
	case "yarn":
		fast, slow := or(r.BetaFast, 32), or(r.BetaSlow, 1)
		out.low, out.high = yarnRange(float64(dims), c.RopeTheta, out.original, fast, slow, r.Truncate == nil || *r.Truncate)
		if out.attention == 0 && r.MScale != 0 && r.MScaleAllDim != 0 {
			out.attention = yarnScale(out.factor, r.MScale) / yarnScale(out.factor, r.MScaleAllDim)
		} else if out.attention == 0 {
			out.attention = yarnScale(out.factor, 1)
		}
	case "longrope":
		for name, list := range map[string][]float32{"short_factor": r.ShortFactor, "long_factor": r.LongFactor} {
			if len(list) != dims/2 || slices.ContainsFunc(list, func(f float32) bool { return !(f > 0) }) {
				return field + "." + name, fmt.Errorf("want %d numbers above 0, one for each pair of dimensions", dims/2)
			}
		}
		out.short, out.long = r.ShortFactor, r.LongFactor
		if out.attention == 0 && out.factor > 1 {
			out.attention = math.Sqrt(1 + math.Log(out.factor)/math.Log(out.original))
		}
	default:
		return field, fmt.Errorf("rope_type %q is not supported, only %q", kind, ropeKinds)
	}
	if !(out.factor > 0) {
		return field + ".factor", fmt.Errorf("got %g, want above 0", out.factor)
	}
	if math.IsNaN(out.low+out.high+out.attention) || math.IsInf(out.low+out.high+out.attention, 0) {
		return field, errors.New("the fields together give no finite frequencies")
	}
	c.rope = out
	return "", nil
}

func or(v, otherwise float64) float64 {
	if v == 0 {
		return otherwise
	}
	return v
}

// yarnRange are the dimensions that make `fast` and `slow` turns in the original context (YaRN, arXiv:2309.00071, section
// 3.2): below the first nothing is scaled, above the second all.
func yarnRange(dims, theta, original, fast, slow float64, truncate bool) (low, high float64) {
	at := func(turns float64) float64 {
		return dims * math.Log(original/(turns*2*math.Pi)) / (2 * math.Log(theta))
	}
	low, high = at(fast), at(slow)
	if truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, dims-1)
	if low == high {
		high += 0.001
	}
	return low, high
}

// yarnScale is what YaRN multiplies cosines and sines with, the root of its 1/t (equation 22).
func yarnScale(factor, mscale float64) float64 {
	if factor <= 1 {
		return 1
	}
	return 0.1*mscale*math.Log(factor) + 1
}

// frequencies are the angles of one position, [rotaryDims/2], in float32 as transformers has them. Two kinds depend
// on the greatest position of the batch, count-1.
func (c *Config) frequencies(count int64) []float32 {
	r, dims, theta := c.rope, c.rotaryDims(), c.RopeTheta
	if r.kind == "dynamic" {
		length := max(float64(count), r.original)
		theta *= math.Pow(r.factor*length/r.original-(r.factor-1), float64(dims)/float64(dims-2))
	}
	exponents := make([]float32, dims/2)
	for i := range exponents {
		exponents[i] = float32(2*i) / float32(dims)
	}
	out := tensor.Call("aten::pow.Scalar", 1, theta, tensor.FromFloat32(exponents, int64(dims/2)))[0].Float32s()
	factor := float32(r.factor)
	for i, power := range out {
		f := 1 / power
		switch r.kind {
		case "linear":
			f /= factor
		case "llama3":
			f = r.llama3(f)
		case "yarn":
			ramp := min(max((float32(i)-float32(r.low))/float32(r.high-r.low), 0), 1)
			keep := 1 - ramp
			f = 1/(factor*power)*(1-keep) + f*keep
		case "longrope":
			factors := r.short
			if float64(count) > r.original {
				factors = r.long
			}
			f = 1 / (factors[i] * power)
		}
		out[i] = f
	}
	return out
}

// llama3 divides low frequencies by the factor, keeps high ones, and goes over from one to the other.
func (r rope) llama3(f float32) float32 {
	wave := float32(2*math.Pi) / f
	switch {
	case wave > float32(r.original/r.low):
		return f / float32(r.factor)
	case wave < float32(r.original/r.high):
		return f
	}
	smooth := (float32(r.original)/wave - float32(r.low)) / float32(r.high-r.low)
	return (1-smooth)*f/float32(r.factor) + smooth*f
}

// rotation holds cos + i sin of every token's angles: complex [tokens, 1, rotaryDims/2], or nil where positions are
// learned. The angles are float32 in every precision, as transformers has them.
func (m *Model) rotation(positions []int64) *tensor.Tensor {
	c := &m.config
	if c.rotaryDims() == 0 {
		return nil
	}
	frequencies := tensor.FromFloat32(c.frequencies(slices.Max(positions)+1), int64(c.rotaryDims()/2))
	angles := tensor.FromInt64(positions, int64(len(positions)), 1, 1).To(tensor.Float32).Mul(frequencies) // [tokens, 1, rotaryDims/2]
	cos, sin := angles.Cos(), angles.Sin()
	if c.rope.attention != 0 {
		cos, sin = cos.MulScalar(c.rope.attention), sin.MulScalar(c.rope.attention)
	}
	if m.dtype == tensor.Float64 {
		cos, sin = cos.To(tensor.Float64), sin.To(tensor.Float64)
	}
	return tensor.Call("aten::complex", 1, cos, sin)[0].ToDevice(m.device)
}
