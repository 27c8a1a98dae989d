package tokenizer

import (
	"slices"
	"testing"
)

// Without cuts it is EncodeSpecial; with them, the tokens before and after a cut are told, and joined up they are the text.
func TestEncodeRendered(t *testing.T) {
	p := readPools(t)
	for _, name := range []string{"gpt2", "neox", "llama3", "qwen2", "deepseek", "starcoder", "llama2", "mistral", "gemma"} {
		tok := loadStrings(t, name)
		for i := range 1000 {
			text := p.text(i)
			want := tok.EncodeSpecial(text)
			var cuts []int
			for at := range text {
				if at%7 == 0 {
					cuts = append(cuts, at)
				}
			}
			ids, at := tok.EncodeRendered(Rendered{Text: text, Cuts: cuts})
			if !slices.Equal(ids, want) {
				t.Fatalf("%s: %+q: %d, want %d", name, text, ids, want)
			}
			if len(at) != len(cuts) || !slices.IsSorted(at) {
				t.Fatalf("%s: %+q: cuts %d at %d", name, text, cuts, at)
			}
			if ids, at := tok.EncodeRendered(Rendered{Text: text, Cuts: []int{0, len(text)}, Split: true}); !slices.Equal(ids, want) || at[0] != 0 || at[1] != len(ids) {
				t.Fatalf("%s: %+q: the ends are at %d of %d", name, text, at, len(ids))
			}
			if plain, _ := tok.EncodeRendered(Rendered{Text: text, Plain: [][2]int{{0, len(text)}}}); !slices.Equal(plain, tok.Encode(text)) {
				t.Fatalf("%s: %+q: all of it plain is %d, want %d", name, text, plain, tok.Encode(text))
			}
		}
	}
}

func TestEncodeRenderedSplits(t *testing.T) {
	for _, c := range []struct {
		tokenizer, before, after string
	}{
		{"gpt2", "the", "re is"}, {"gpt2", "a\n", "\n\nb"}, {"llama3", "<|im_end|>", "the"}, {"qwen2", "cafe", "\u0301x"},
		{"llama2", "[INST] x [/INST]", " the"}, {"llama2", "the", "re"}, {"mistral", "[/INST]", " the"}, {"mistral", "the", "re is"}, {"gemma", "the", " the"},
	} {
		tok := loadStrings(t, c.tokenizer)
		ids, at := tok.EncodeRendered(Rendered{Text: c.before + c.after, Cuts: []int{len(c.before)}, Split: true})
		if got := tok.Decode(ids, false); got != tok.Decode(tok.EncodeSpecial(c.before+c.after), false) {
			t.Errorf("%s: %q + %q is %q", c.tokenizer, c.before, c.after, got)
		}
		before := tok.EncodeSpecial(c.before)
		if c.tokenizer == "qwen2" {
			continue // it composes across the cut
		}
		if !slices.Equal(ids[:at[0]], before) {
			t.Errorf("%s: %q + %q begins with %d, want %d", c.tokenizer, c.before, c.after, ids[:at[0]], before)
		}
	}
}

func TestFindSpecial(t *testing.T) {
	tok := loadStrings(t, "qwen2")
	if got, want := tok.FindSpecial("a<|im_end|><tool>s<|im_start|>"), [][2]int{{1, 11}, {18, 30}}; !slices.Equal(got, want) {
		t.Errorf("got %d, want %d: <tool> is not special", got, want)
	}
}
