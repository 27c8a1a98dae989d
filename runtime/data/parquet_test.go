package data

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// readAll reads a file until the first error.
func readAll(path string, ds runconfig.Dataset) (records []Record, err error) {
	for r, err := range Read(path, ds) {
		if err != nil {
			return records, err
		}
		records = append(records, r)
	}
	return records, nil
}

// The files are hack/goldens/data/parquet.py's.
func TestReadParquet(t *testing.T) {
	questions := []string{"What is 9 + 10?", "Wie heißt du?", "你好\n"}
	var feedback, chat []Record
	for i, q := range questions {
		user, answer := Message{"user", q}, Message{"assistant", "answer " + string(rune('0'+i))}
		feedback = append(feedback, Record{
			Format: FormatPreference, PromptMessages: []Message{user}, ChosenMessages: []Message{answer}, RejectedMessages: []Message{{"assistant", "no"}},
		})
		chat = append(chat, Record{Format: FormatMessages, Messages: []Message{user, answer}})
	}
	for name, want := range map[string][]Record{
		"ultrafeedback": feedback,
		"ultrachat":     chat,
		"ranked":        {{Format: FormatRanked, Prompt: "p", Responses: []string{"a", "b", "c"}, Ranks: []float64{1, 2, 2}}},
	} {
		path := filepath.Join("testdata", name+".parquet")
		for i := range want {
			want[i].File, want[i].Line = path, i+1
		}
		got, err := readAll(path, runconfig.Dataset{})
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
}

func TestReadParquetRefuses(t *testing.T) {
	whole, err := os.ReadFile("testdata/ultrafeedback.parquet")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, c := range map[string]struct {
		path    string
		content []byte // written to a file when path is ""
		ds      runconfig.Dataset
		line    int
		message string
	}{
		"a null":              {path: "testdata/null.parquet", line: 2, message: "text: is null"},
		"no rows":             {path: "testdata/empty.parquet", message: "no examples"},
		"no column of ours":   {path: "testdata/ranked.parquet", ds: runconfig.Dataset{Columns: map[string]string{"prompt": "x", "responses": "y", "ranks": "z"}}, line: 1, message: `"embedding"`},
		"half a file":         {content: whole[:len(whole)/2], message: "broken Parquet"},
		"the magic alone":     {content: []byte("PAR1"), message: "broken Parquet"},
		"noise in the middle": {content: noisy(whole), message: "broken Parquet"},
	} {
		if c.path == "" {
			c.path = filepath.Join(dir, "file")
			if err := os.WriteFile(c.path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := readAll(c.path, c.ds)
		var e *Error
		if !errors.As(err, &e) || e.Line != c.line || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: got %v, want line %d and %q", name, err, c.line, c.message)
		}
	}
}

// noisy is a Parquet file whose columns are not what its end says of them.
func noisy(whole []byte) []byte {
	b := append([]byte{}, whole...)
	for i := 4; i < 600; i++ {
		b[i] ^= 0x5a
	}
	return b
}

func FuzzReadParquet(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.parquet")
	if err != nil || len(paths) == 0 {
		f.Fatal(paths, err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if records, err := readAll(path, runconfig.Dataset{}); err == nil && len(records) == 0 {
			t.Error("neither a record nor an error")
		}
	})
}
