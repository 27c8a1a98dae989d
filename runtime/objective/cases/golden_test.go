package cases_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
)

// The same vectors as those of runtime/objective, as a user would send them.
func TestCasesAreThoseOfTRL(t *testing.T) {
	file, err := os.Open("../testdata/trl.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var wants []map[string]any
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] { // after the versions
		var v struct {
			Case json.RawMessage
			Want map[string]any
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		lines, wants = append(lines, string(v.Case)), append(wants, v.Want)
	}
	if len(lines) < 400 {
		t.Fatalf("%d vectors", len(lines))
	}
	for i, got := range run(t, lines...) {
		for key, want := range wants[i] {
			if key != "metrics" {
				near(t, lines[i]+": "+key, got[key], want, 1e-10)
				continue
			}
			for name, want := range want.(map[string]any) { // TRL logs fewer
				near(t, lines[i]+": "+name, got[key].(map[string]any)[name], want, 1e-10)
			}
		}
	}
}
