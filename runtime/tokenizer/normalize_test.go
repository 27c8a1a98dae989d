package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// The definition gives what x/text gives, where no run of marks is longer than its 30.
func TestNormalFormsByDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	pool := []rune("aeoAEOÅçǖ각ᄀᆨᅡ\u0344\u0301\u0308\u0323\u0327\u0334\u0345\u0958\u0f73ﬁẛ①が\u3099א\u05bcשּׁ\u2126")
	for range 20000 {
		s := make([]rune, r.IntN(9))
		for i := range s {
			s[i] = pool[r.IntN(len(pool))]
		}
		for _, f := range []norm.Form{norm.NFC, norm.NFD, norm.NFKC, norm.NFKD} {
			if got, want := normalizeMarks(f, string(s)), f.String(string(s)); got != want {
				t.Fatalf("form %d of %+q: %+q, want %+q", f, string(s), got, want)
			}
		}
	}
}

// x/text would insert U+034F into a long run of marks; tokenizers does not.
func TestNormalFormsKeepLongRunsOfMarks(t *testing.T) {
	marks := strings.Repeat("\u0301\u0323", 40)
	want := "\u1ea1" + strings.Repeat("\u0323", 39) + strings.Repeat("\u0301", 40)
	if got := normalForm(norm.NFC)("a" + marks); got != want {
		t.Errorf("got %+q, want %+q", got, want)
	}
}
