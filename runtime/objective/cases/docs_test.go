package cases_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/objective/cases"
)

// TestDocs runs the examples of docs/objectives.md.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/objectives.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindSubmatch(text)
		if m == nil {
			t.Fatalf("no %s", pattern)
		}
		return string(m[1])
	}
	var out bytes.Buffer
	if err := cases.Run(strings.NewReader(block("(?s)```jsonl\n(.*?)```")), &out); err != nil {
		t.Fatal(err)
	}
	shown := strings.Split(strings.TrimSpace(block("(?s)```json\n(.*?)```")), "\n")
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) != len(shown) {
		t.Fatalf("%d results, the page shows %d", len(got), len(shown))
	}
	for i := range got {
		var result any
		if err := json.Unmarshal([]byte(got[i]), &result); err != nil {
			t.Fatal(err)
		}
		near(t, "result", result, parsed(t, shown[i]), 1e-14) // another processor's last digit may differ
	}
	wrong, ok := errors.AsType[*cases.Error](cases.Run(strings.NewReader(block(`\$ echo '(.*)' \| trainer objective`)), &out))
	if shown := block(`\ntrainer: (line .*)`); !ok || wrong.Error() != shown {
		t.Errorf("got %v, the page shows %s", wrong, shown)
	}
}
