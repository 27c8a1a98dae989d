//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
)

// dataFolder of the claim lab holds the files of dataset.
const dataFolder = "data"

// dataset is a small task that a small model learns in seconds: what animals say. The demonstrations say it
// quietly, two times of three; the preferences prefer it loud. Two calls give the same bytes.
func dataset() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(words string) string {
		w := strings.Fields(words)
		return w[r.IntN(len(w))]
	}
	var demonstrations, preferences, rankings, prompts bytes.Buffer
	for range 320 {
		animal, sound, _ := strings.Cut(pick("cat-meow dog-woof cow-moo duck-quack sheep-baa frog-croak"), "-")
		prompt := "This " + pick("morning noon evening night") + " the " + pick("old young happy sleepy hungry") + " " + animal + " says"
		write(&demonstrations, map[string]string{"prompt": prompt, "completion": " " + sound + pick(". . !")})
		write(&preferences, map[string]string{"prompt": prompt, "chosen": " " + sound + "!", "rejected": " " + sound + "."})
		write(&rankings, map[string]any{"prompt": prompt, "responses": []string{" " + sound + ".", " nothing.", " " + sound + "!", " " + sound}, "ranks": []int{2, 3, 1, 3}})
		write(&prompts, map[string]string{"prompt": prompt})
	}
	return map[string][]byte{
		"sft.jsonl": demonstrations.Bytes(), "dpo.jsonl": preferences.Bytes(),
		"ranked.jsonl": rankings.Bytes(), "prompts.jsonl": prompts.Bytes(),
	}
}

func write(b *bytes.Buffer, record any) {
	if err := json.NewEncoder(b).Encode(record); err != nil {
		panic(err) // such maps always have a JSON form
	}
}

// withLine replaces one line, counted from 1, of a file.
func withLine(file []byte, number int, text string) []byte {
	lines := strings.SplitAfter(string(file), "\n")
	lines[number-1] = text + "\n"
	return []byte(strings.Join(lines, ""))
}
