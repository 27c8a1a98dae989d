package tokenizer

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the goldens in testdata")

const goldenVocabSize = 420

func corpus(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(b), "\n\n")
}

func train(t testing.TB, texts []string, vocabSize int, special ...string) *Tokenizer {
	t.Helper()
	tok, err := Train(slices.Values(texts), vocabSize, special)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// The files are the ones that pip's tokenizers and transformers have loaded: see
// hack/goldens/tokenizer, to be run after an -update.
func TestTrainGolden(t *testing.T) {
	tok := train(t, corpus(t), goldenVocabSize, EndOfText, Padding)
	if *update {
		if err := os.MkdirAll("testdata/trained", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := tok.Save("testdata/trained"); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if err := tok.Save(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata/trained", name))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s differs from testdata/trained", name)
		}
	}
}

func TestTrainAsHuggingFaceDoes(t *testing.T) {
	var theirs vocabularyJSON
	b, err := os.ReadFile("testdata/gpt2/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &theirs); err != nil {
		t.Fatal(err)
	}
	var ours vocabularyJSON
	tok := train(t, corpus(t), goldenVocabSize, EndOfText, Padding)
	if err := json.Unmarshal(tok.files.vocabulary, &ours); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(ours.Model.Vocab, theirs.Model.Vocab) {
		t.Error("the vocabularies differ")
	}
	if !slices.Equal(ours.Model.Merges, theirs.Model.Merges) {
		t.Errorf("the merges differ:\n%q\n%q", ours.Model.Merges, theirs.Model.Merges)
	}
}

// By hand: "abab" twice and "ab" once has a+b 5 times, then ab+ab twice; nothing more to join.
func TestTrainByHand(t *testing.T) {
	tok := train(t, []string{"abab", "ab", "abab"}, 1000, EndOfText, Padding)
	if got, want := tok.VocabSize(), 2+256+2; got != want {
		t.Errorf("VocabSize = %d, want %d", got, want)
	}
	if got := fmt.Sprint(tok.Token(258), " ", tok.Token(259)); got != "ab abab" {
		t.Errorf("merged tokens are %q, want ab, then abab", got)
	}
	if eos, ok := tok.EOS(); !ok || eos != 0 {
		t.Errorf("EOS = %d, %v, want 0", eos, ok)
	}
	if pad, ok := tok.Pad(); !ok || pad != 1 {
		t.Errorf("Pad = %d, %v, want 1", pad, ok)
	}
	if _, ok := tok.BOS(); ok {
		t.Error("a trained tokenizer has a BOS token")
	}
}

func TestTrainIgnoresTheOrderOfTexts(t *testing.T) {
	texts := corpus(t)
	a := train(t, texts, 500, EndOfText)
	slices.Reverse(texts)
	b := train(t, texts, 500, EndOfText)
	if string(a.files.vocabulary) != string(b.files.vocabulary) {
		t.Error("the texts in reverse give another tokenizer")
	}
}

func TestTrainRefuses(t *testing.T) {
	none := slices.Values([]string(nil))
	if _, err := Train(none, 257, []string{EndOfText, Padding}); err == nil {
		t.Error("a vocabulary that has no room for the bytes is accepted")
	}
	if _, err := Train(none, 300, nil); err == nil {
		t.Error("a vocabulary without EOS is accepted")
	}
	if tok, err := Train(none, 300, []string{EndOfText}); err != nil || tok.VocabSize() != 257 {
		t.Errorf("without texts: %v, %v, want the bytes and EOS", tok, err)
	}
}
