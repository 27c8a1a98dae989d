package tokenizer

import (
	"os"
	"strings"
	"testing"
)

func BenchmarkEncode(b *testing.B) {
	corpus, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat(string(corpus), 20)
	for _, name := range []string{"gpt2", "llama3", "qwen2"} {
		tok := load(b, name)
		for _, c := range []string{"warm", "cold"} {
			b.Run(name+"/"+c, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					if c == "cold" {
						tok.model.cache = nil
					}
					tok.Encode(text)
				}
			})
		}
	}
}
