package tokenizer

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// 20,000 strings that hack/goldens/tokenizer/strings.py makes in the same way, and what tokenizers of
// each type makes of them: digests of each hundred, and the first ones in full.
const (
	numStrings = 20_000
	blockSize  = 100
)

// random is splitmix64 (Steele, Lea and Flood 2014).
type random uint64

func (r *random) below(n int) int {
	*r += 0x9E3779B97F4A7C15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return int((z ^ z>>31) % uint64(n))
}

type pools struct {
	Kinds  []string
	Pools  map[string][]string
	SHA256 string
}

func (p *pools) piece(r *random, kind string) string {
	switch kind {
	case "control":
		return string(rune(r.below(32)))
	case "bytes":
		return string(rune(r.below(256)))
	case "lossy":
		b := make([]byte, 1+r.below(6))
		for i := range b {
			b[i] = byte(r.below(256))
		}
		return lossy(string(b))
	case "any":
		return character(r.below(0x110000))
	case "bmp":
		return character(r.below(0x10000))
	case "marks":
		mark := string(rune(0x300 + r.below(0x70)))
		return strings.Repeat(mark, 1+r.below(3))
	}
	return p.Pools[kind][r.below(len(p.Pools[kind]))]
}

func character(c int) string {
	if c >= 0xD800 && c < 0xE000 {
		return "?"
	}
	return string(rune(c))
}

func (p *pools) text(i int) string {
	r := random(i)
	kind := func() string { return p.Kinds[r.below(len(p.Kinds))] }
	main := kind()
	var b strings.Builder
	for range r.below(32) {
		k := main
		if r.below(4) == 0 {
			k = kind()
		}
		if r.below(3) == 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.piece(&r, k))
	}
	return b.String()
}

// lossy replaces what is not UTF-8, each longest beginning of a character and each other byte by one
// U+FFFD, as Rust and Python do.
func lossy(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		b.WriteRune(r)
		if r == utf8.RuneError && n == 1 {
			for i+n < len(s) && n < 4 && !utf8.FullRuneInString(s[i:i+n]) && beginsRune(s[i:i+n+1]) {
				n++
			}
		}
		i += n
	}
	return b.String()
}

// beginsRune says that some character begins with s.
func beginsRune(s string) bool {
	for _, rest := range []string{"", "\x80", "\x80\x80", "\xbf", "\xbf\xbf", "\xbf\xbf\xbf", "\x80\x80\x80"} {
		if r, n := utf8.DecodeRuneInString(s + rest); r != utf8.RuneError && n >= len(s) || n == 3 {
			return true
		}
	}
	return false
}

func readPools(t testing.TB) *pools {
	t.Helper()
	b, err := os.ReadFile("testdata/strings/pools.json")
	if err != nil {
		t.Fatal(err)
	}
	p := new(pools)
	if err := json.Unmarshal(b, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func readGzip(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func digest(h hash.Hash, v vector) {
	for _, ids := range [][]int32{v.IDs, v.Special, v.Whole} {
		fmt.Fprintln(h, strings.Trim(fmt.Sprint(ids), "[]"))
	}
	fmt.Fprintln(h, v.Decoded)
}

// made is the vector that this package makes of a text.
func made(tok *Tokenizer, text string) vector {
	v := vector{Text: text, IDs: tok.Encode(text), Special: tok.EncodeSpecial(text)}
	if bos, ok := tok.BOS(); ok {
		v.Whole = append(v.Whole, bos)
	}
	v.Whole = append(v.Whole, v.Special...)
	v.Decoded = lossy(tok.Decode(v.IDs, false))
	return v
}

func TestTheStringsAreTheReferences(t *testing.T) {
	p, h := readPools(t), sha256.New()
	for i := range numStrings {
		if i > 0 {
			h.Write([]byte("\n"))
		}
		io.WriteString(h, p.text(i))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != p.SHA256 {
		t.Errorf("digest %s, want %s: the generators differ, or pools.json was edited", got, p.SHA256)
	}
}

func TestAgreesOnTwentyThousandStrings(t *testing.T) {
	files, err := filepath.Glob("testdata/strings/*.tokenizer.json.gz")
	if err != nil || len(files) < 13 {
		t.Fatalf("%d tokenizers, want 15 at least (%v)", len(files), err)
	}
	p := readPools(t)
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".tokenizer.json.gz")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tok := loadStrings(t, name)
			var want struct {
				Blocks []string
				Full   []vector
			}
			if err := json.Unmarshal(readGzip(t, "testdata/strings/"+name+".vectors.json.gz"), &want); err != nil {
				t.Fatal(err)
			}
			if len(want.Full) < 30 || len(want.Blocks) != numStrings/blockSize {
				t.Fatalf("%d full vectors and %d digests", len(want.Full), len(want.Blocks))
			}
			for i, w := range want.Full {
				if got := made(tok, p.text(i)); !got.equal(w) {
					t.Errorf("string %d\ngot  %+q\nwant %+q", i, got, w)
				}
			}
			for k, w := range want.Blocks {
				h := sha256.New()
				for i := range blockSize {
					digest(h, made(tok, p.text(k*blockSize+i)))
				}
				if got := hex.EncodeToString(h.Sum(nil))[:16]; got != w {
					for i := range blockSize {
						b, _ := json.Marshal(made(tok, p.text(k*blockSize+i)))
						t.Log(string(b))
					}
					t.Fatalf("block %d differs: compare the above with hack/goldens/tokenizer/strings.py %s %d", k, name, k)
				}
			}
		})
	}
}

func loadStrings(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := parse(files{vocabulary: readGzip(t, "testdata/strings/"+name+".tokenizer.json.gz")})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func (v vector) equal(w vector) bool {
	return v.Text == w.Text && slices.Equal(v.IDs, w.IDs) && slices.Equal(v.Special, w.Special) && slices.Equal(v.Whole, w.Whole) && v.Decoded == w.Decoded
}
