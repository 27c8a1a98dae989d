package tokenizer

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// tiny is a tokenizer.json with the bytes a and b, to be broken.
const tiny = `{
"added_tokens": [{"id": 3, "content": "<s>", "special": true}],
"normalizer": null,
"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
"post_processor": null,
"decoder": {"type": "ByteLevel"},
"model": {"type": "BPE", "dropout": null, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
}`

func TestParseTiny(t *testing.T) {
	tok, err := parse(files{vocabulary: []byte(tiny)})
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("abba?"); len(got) != 3 || got[0] != 2 || got[1] != 1 || got[2] != 0 {
		t.Errorf("Encode(abba?) = %d, want [2 1 0]: bytes without a token are dropped", got)
	}
	if got := tok.VocabSize(); got != 4 {
		t.Errorf("VocabSize = %d, want 4", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		names          string // what the error must name
	}{
		{"broken JSON", `"normalizer": null,`, `"normalizer": null`, "byte 86"},
		{"wrong type", `"vocab": {"a": 0,`, `"vocab": {"a": "0",`, "model.vocab"},
		{"Unigram", `"type": "BPE"`, `"type": "Unigram"`, "model.type"},
		{"WordPiece", `"type": "BPE"`, `"type": "WordPiece"`, "WordPiece"},
		{"dropout", `"dropout": null`, `"dropout": 0.1`, "model.dropout"},
		{"byte fallback", `"dropout": null`, `"byte_fallback": true`, "model.byte_fallback"},
		{"subword prefix", `"dropout": null`, `"continuing_subword_prefix": "##"`, "model.continuing_subword_prefix"},
		{"word suffix", `"dropout": null`, `"end_of_word_suffix": "</w>"`, "model.end_of_word_suffix"},
		{"unknown token", `"dropout": null`, `"unk_token": "<unk>"`, "model.unk_token"},
		{"merge of unknown tokens", `"a b"`, `"a b", "b c"`, "model.merges[1]"},
		{"merge into an unknown token", `"a b"`, `["b", "a"]`, `"ba"`},
		{"merge without a space", `"a b"`, `"ab"`, "no space"},
		{"merge of three", `"a b"`, `["a", "b", "c"]`, "neither"},
		{"id twice", `"b": 1`, `"b": 0`, "model.vocab"},
		{"negative id", `"b": 1`, `"b": -1`, "id -1"},
		{"huge id", `"b": 1`, `"b": 2000000000`, "id 2000000000"},
		{"id beyond 64 bits", `"b": 1`, `"b": 1e30`, "model.vocab"},
		{"huge added id", `"id": 3`, `"id": 2000000000`, "added_tokens"},
		{"added token on another's id", `"id": 3`, `"id": 1`, "added_tokens[0]"},
		{"added token with two ids", `"content": "<s>"`, `"content": "ab"`, "added_tokens[0]"},
		{"normalizer", `"normalizer": null`, `"normalizer": {"type": "BertNormalizer"}`, "BertNormalizer"},
		{"normalizer in a sequence", `"normalizer": null`, `"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]}`, "Nmt"},
		{"ByteLevel within", `{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}`, `{"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": false}, {"type": "Whitespace"}]}`, "at the end"},
		{"Metaspace without a character", `{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}`, `{"type": "Metaspace", "replacement": "__"}`, "replacement"},
		{"Metaspace of two minds", `{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}`, `{"type": "Metaspace", "replacement": "_", "add_prefix_space": false, "prepend_scheme": "always"}`, "add_prefix_space"},
		{"Metaspace's scheme", `{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}`, `{"type": "Metaspace", "replacement": "_", "prepend_scheme": "second"}`, "prepend_scheme"},
		{"Replace without content", `"normalizer": null`, `"normalizer": {"type": "Replace", "pattern": {"String": "a"}}`, "content"},
		{"Replace without a pattern", `"normalizer": null`, `"normalizer": {"type": "Replace", "content": "a"}`, "pattern"},
		{"normalizers that blow a text up", `"normalizer": null`, `"normalizer": {"type": "Sequence", "normalizers": [` + strings.Repeat(`{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"},`, 20) + `{"type": "NFC"}]}`, "as long"},
		{"Strip that does not say which", `"normalizer": null`, `"normalizer": {"type": "Strip", "strip_left": true}`, "strip_right"},
		{"decoder Strip of two", `"decoder": {"type": "ByteLevel"}`, `"decoder": {"type": "Strip", "content": "ab", "start": 1, "stop": 0}`, "one character"},
		{"ByteLevel among decoders", `"decoder": {"type": "ByteLevel"}`, `"decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Fuse"}]}`, "among"},
		{"pre-tokenizer in a sequence", `{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}`, `{"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}, {"type": "ByteLevel", "add_prefix_space": false}]}`, "BertPreTokenizer"},
		{"split behaviour", `{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}`, `{"type": "Sequence", "pretokenizers": [{"type": "Split", "behavior": "Sideways"}, {"type": "ByteLevel"}]}`, "Sideways"},
		{"split without a pattern", `{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}`, `{"type": "Sequence", "pretokenizers": [{"type": "Split", "behavior": "Isolated"}, {"type": "ByteLevel"}]}`, "pattern"},
		{"regular expression", `{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}`, `{"type": "Sequence", "pretokenizers": [{"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "("}}, {"type": "ByteLevel"}]}`, "regular expression"},
		{"decoder", `"decoder": {"type": "ByteLevel"}`, `"decoder": {"type": "WordPiece"}`, "WordPiece"},
		{"no decoder", `"decoder": {"type": "ByteLevel"}`, `"decoder": null`, "decoder"},
		{"post-processor", `"post_processor": null`, `"post_processor": {"type": "BertProcessing"}`, "BertProcessing"},
		{"template with an unknown token", `"post_processor": null`, `"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>"}}], "special_tokens": {"<x>": {"ids": [9]}}}`, "id 9"},
		{"template with two tokens", `"post_processor": null`, `"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>"}}], "special_tokens": {"<x>": {"ids": [0, 1]}}}`, "more than one token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			broken := strings.Replace(tiny, c.old, c.new, 1)
			if broken == tiny {
				t.Fatal("the case changes nothing")
			}
			_, err := parse(files{vocabulary: []byte(broken)})
			wantError(t, err, "tokenizer.json", c.names)
		})
	}
}

func TestParseRefusesConfig(t *testing.T) {
	for _, c := range []struct{ name, config, names string }{
		{"broken JSON", `{"eos_token": `, "byte"},
		{"EOS that is not there", `{"eos_token": "</s>"}`, "eos_token"},
		{"EOS of a wrong type", `{"eos_token": 2}`, "neither"},
		{"padding that is not there", `{"pad_token": {"content": "<pad>"}}`, "pad_token"},
		{"BOS that is not named", `{"add_bos_token": true}`, "bos_token"},
		{"BOS that is not there", `{"add_bos_token": true, "bos_token": "<b>"}`, `"<b>"`},
		{"chat template of a wrong type", `{"chat_template": 1}`, "chat_template"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(files{vocabulary: []byte(tiny), config: []byte(c.config)})
			wantError(t, err, "tokenizer_config.json", c.names)
		})
	}
}

// wantError checks that an error tells a reader where to look.
func wantError(t *testing.T, err error, names ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("is accepted")
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %q", err, name)
		}
	}
}

func TestConfigNullAndLists(t *testing.T) {
	tok, err := parse(files{vocabulary: []byte(tiny), config: []byte(
		`{"bos_token": null, "eos_token": {"content": "<s>"}, "pad_token": null, "chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "y"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	if eos, ok := tok.EOS(); !ok || eos != 3 {
		t.Errorf("EOS = %d, %v, want 3", eos, ok)
	}
	if _, ok := tok.Pad(); ok {
		t.Error("a null pad_token is a token")
	}
	if got := tok.ChatTemplate(); got != "y" {
		t.Errorf("ChatTemplate = %q, want the default one", got)
	}
}

// No tokenizer.json makes parse or what it returns panic, and byte-level tokenizers that have all bytes and change
// no text lose nothing.
func FuzzParse(f *testing.F) {
	f.Add([]byte(tiny), []byte(`{"eos_token": "<s>"}`), "ab ba")
	for _, name := range []string{"llama3", "added"} {
		b, err := os.ReadFile("testdata/" + name + "/tokenizer.json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(shrink(f, b), []byte(`{"chat_template": "x", "add_bos_token": false}`), "a <mask> word's 123")
	}
	f.Fuzz(func(t *testing.T, vocabulary, config []byte, text string) {
		if bytes.Contains(vocabulary, []byte("Regex")) && len(text) > 32 {
			t.Skip("a regular expression may take exponential time")
		}
		tok, err := parse(files{vocabulary: vocabulary, config: config})
		if err != nil {
			return
		}
		for _, ids := range [][]int32{tok.Encode(text), tok.EncodeSpecial(text)} {
			for _, id := range ids {
				if id < 0 || int(id) >= tok.VocabSize() {
					t.Fatalf("id %d of %d", id, tok.VocabSize())
				}
			}
			tok.Decode(ids, true)
		}
	})
}

// FuzzEncode: any text survives.
func FuzzEncode(f *testing.F) {
	f.Add("Hello, world! It's 12345 \n\n x\xff漢<|endoftext|>")
	llama3, gpt2 := load(f, "llama3"), load(f, "gpt2")
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range []*Tokenizer{llama3, gpt2} {
			if got := tok.Decode(tok.Encode(text), false); got != text {
				t.Errorf("Decode(Encode(%q)) = %q", text, got)
			}
		}
	})
}

// shrink leaves a tokenizer.json without its merges and most of its vocabulary, as a seed.
func shrink(f *testing.F, b []byte) []byte {
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		f.Fatal(err)
	}
	model := v["model"].(map[string]any)
	model["merges"] = []string{}
	vocab := model["vocab"].(map[string]any)
	for token, id := range vocab {
		if id.(float64) > 40 {
			delete(vocab, token)
		}
	}
	small, err := json.Marshal(v)
	if err != nil {
		f.Fatal(err)
	}
	return small
}
