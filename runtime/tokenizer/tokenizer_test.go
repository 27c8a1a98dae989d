package tokenizer

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What pip's tokenizers makes of each text: see hack/goldens/tokenizer.
type vector struct {
	Text    string
	IDs     []int32
	Special []int32
	Whole   []int32 // with the tokens of the post-processor
	Decoded string
}

var cases = []string{"gpt2", "llama3", "qwen2", "smollm", "prefix", "unknown", "added", "trained"}

func load(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := Load(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func vectors(t testing.TB, name string) []vector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name, "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v []vector
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v) < 100 {
		t.Fatalf("%d vectors, want 100 at least", len(v))
	}
	return v
}

func TestVectors(t *testing.T) {
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			tok := load(t, name)
			for _, v := range vectors(t, name) {
				if got := tok.Encode(v.Text); !slices.Equal(got, v.IDs) {
					t.Errorf("Encode(%q) = %d, want %d", v.Text, got, v.IDs)
				}
				if got := tok.EncodeSpecial(v.Text); !slices.Equal(got, v.Special) {
					t.Errorf("EncodeSpecial(%q) = %d, want %d", v.Text, got, v.Special)
				}
				if got := tok.Decode(v.IDs, false); readable(got) != readable(v.Decoded) {
					t.Errorf("Decode(Encode(%q)) = %q, want %q", v.Text, got, v.Decoded)
				}
			}
		})
	}
}

// readable replaces bytes that are not UTF-8, which tokenizers does and Decode leaves to the caller.
func readable(s string) string {
	return replacements.ReplaceAllString(strings.ToValidUTF8(s, "\ufffd"), "\ufffd")
}

var replacements = regexp.MustCompile("\ufffd+")

func TestSpecialTokens(t *testing.T) {
	none := tokenID{}
	for _, c := range []struct {
		name          string
		bos, eos, pad tokenID
	}{
		{"gpt2", none, tokenID{0, true}, none}, // names a bos_token, but never adds it
		{"llama3", tokenID{0, true}, tokenID{1, true}, none},
		{"qwen2", none, tokenID{2, true}, tokenID{0, true}},
		{"prefix", tokenID{0, true}, tokenID{1, true}, none}, // add_bos_token
		{"added", none, tokenID{0, true}, none},
		{"trained", none, tokenID{0, true}, tokenID{1, true}},
	} {
		tok := load(t, c.name)
		for _, x := range []struct {
			token string
			get   func() (int32, bool)
			want  tokenID
		}{{"BOS", tok.BOS, c.bos}, {"EOS", tok.EOS, c.eos}, {"Pad", tok.Pad, c.pad}} {
			if id, ok := x.get(); (tokenID{id, ok}) != x.want {
				t.Errorf("%s: %s = %d, %v, want %v", c.name, x.token, id, ok, x.want)
			}
		}
	}
}

func TestDecodeSkipsSpecialTokens(t *testing.T) {
	tok := load(t, "qwen2")
	const text = "<|im_start|>user\nHi<|im_end|>"
	ids := tok.EncodeSpecial(text)
	if got := tok.Decode(ids, false); got != text {
		t.Errorf("with special tokens: %q, want %q", got, text)
	}
	if got := tok.Decode(append(ids, -1, 1<<30), true); got != "user\nHi" {
		t.Errorf("without special tokens: %q, want %q", got, "user\nHi")
	}
}

// randomText mixes what the patterns tell apart, valid and invalid UTF-8.
func randomText(r *rand.Rand) string {
	pool := []string{" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u0085", "'", "'s", "'LL", "’s", "the", "x", "Äß", "漢字", "\u0301", "😀", "7", "42", "½", "٣", ".", "--", "_", "\x00", "\xff", "\xe6\xbc", "<|endoftext|>", "<|pad|>"}
	var b strings.Builder
	for range r.IntN(12) {
		b.WriteString(pool[r.IntN(len(pool))])
	}
	return b.String()
}

func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"gpt2", "llama3", "smollm", "trained"} { // the others change the text
		tok, r := load(t, name), rand.New(rand.NewPCG(1, 2))
		for range 2000 {
			text := randomText(r)
			if got := tok.Decode(tok.Encode(text), false); got != text {
				t.Fatalf("%s: Decode(Encode(%q)) = %q", name, text, got)
			}
			if got := tok.Decode(tok.EncodeSpecial(text), false); got != text {
				t.Fatalf("%s: Decode(EncodeSpecial(%q)) = %q", name, text, got)
			}
		}
	}
}

func TestEncodeNeverMakesSpecialTokens(t *testing.T) {
	tok, r := load(t, "trained"), rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		text := randomText(r)
		for _, id := range tok.Encode(text) {
			if tok.special[id] {
				t.Fatalf("Encode(%q) has special token %d", text, id)
			}
		}
	}
}

func TestScannersMatchTheirPatterns(t *testing.T) {
	for _, pattern := range []string{gpt2Pattern, llama3Pattern, qwen2Pattern} {
		fast, err := byPattern(pattern, isolated, false)
		if err != nil {
			t.Fatal(err)
		}
		re, err := compile(pattern)
		if err != nil {
			t.Fatal(err)
		}
		slow := splitAt(re.matches, isolated, false)
		pieces := func(s splitter, text string) (out []string) {
			split(text, true, []splitter{s}, func(p string) { out = append(out, p) })
			return out
		}
		r := rand.New(rand.NewPCG(5, 6))
		for range 5000 {
			text := randomText(r)
			if got, want := pieces(fast, text), pieces(slow, text); !slices.Equal(got, want) {
				t.Fatalf("%q: the scanner cuts %q, the pattern %q %q", text, got, pattern, want)
			}
		}
	}
}

// The queue of merges gives what joining the best pair again and again, by the definition, gives.
func TestMergesByDefinition(t *testing.T) {
	m := load(t, "trained").model
	naive := func(word string) []int32 {
		ids := make([]int32, len(word))
		for i := range ids {
			ids[i] = m.byteIDs[word[i]]
		}
		for {
			best, at := merge{rank: 1 << 30}, -1
			for i := 1; i < len(ids); i++ {
				if j, ok := m.merges[pair{ids[i-1], ids[i]}]; ok && j.rank < best.rank {
					best, at = j, i-1
				}
			}
			if at < 0 {
				return ids
			}
			ids = slices.Replace(ids, at, at+2, best.id)
		}
	}
	r := rand.New(rand.NewPCG(7, 8))
	const letters = "abtherins "
	for range 3000 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		if got, want := m.encode(string(b)), naive(string(b)); !slices.Equal(got, want) {
			t.Fatalf("%q: %d, want %d", b, got, want)
		}
	}
}

func TestEncodeConcurrently(t *testing.T) {
	tok, want := load(t, "gpt2"), vectors(t, "gpt2")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for _, v := range want {
				if got := tok.Encode(v.Text); !slices.Equal(got, v.IDs) {
					t.Errorf("Encode(%q) = %d, want %d", v.Text, got, v.IDs)
				}
			}
		})
	}
	all.Wait()
}

func TestSaveKeepsWhatWasLoaded(t *testing.T) {
	from, dir := t.TempDir(), t.TempDir()
	if err := os.CopyFS(from, os.DirFS("testdata/qwen2")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chat_template.jinja", "tokenizer.model"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := Load(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.Save(dir); err != nil {
		t.Fatal(err)
	}
	names := []string{"chat_template.jinja", "tokenizer.json", "tokenizer.model", "tokenizer_config.json"}
	if got := tok.Files(); !slices.Equal(got, names) {
		t.Errorf("Files: got %q", got)
	}
	for _, name := range names {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s changed", name)
		}
	}
	if tok, err = tok.WithChatTemplate("mine"); err != nil {
		t.Fatal(err)
	}
	if got := tok.Files(); !slices.Equal(got, names[1:]) {
		t.Errorf("with another chat template, which goes into tokenizer_config.json: got %q", got)
	}
}

func TestWithChatTemplate(t *testing.T) {
	const jinja = "{{ '<|user|>' }} & more"
	tok, err := load(t, "trained").WithChatTemplate(jinja)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tok.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.ChatTemplate(); got != jinja {
		t.Errorf("ChatTemplate = %q, want %q", got, jinja)
	}
	if id, ok := again.Pad(); !ok || id != 1 {
		t.Errorf("the rest of the configuration is lost: Pad = %d, %v", id, ok)
	}
}

func TestChatTemplateFileComesFirst(t *testing.T) {
	dir := t.TempDir()
	if err := load(t, "qwen2").Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	tok, err := Load(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.ChatTemplate(); got != "mine" {
		t.Errorf("ChatTemplate = %q, want the file's", got)
	}
}

func TestLoadMissing(t *testing.T) {
	if _, err := Load(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}
