package metrics

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// tick is a clock that moves on by a second a reading.
func tick() func() time.Time {
	now := start
	return func() time.Time { now = now.Add(time.Second); return now }
}

func open(t *testing.T, dir string) *Recorder {
	t.Helper()
	r, err := New(Options{Dir: dir, Clock: tick()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func log(t *testing.T, r *Recorder, step int, values map[string]float64) {
	t.Helper()
	if err := r.Log(step, values); err != nil {
		t.Fatal(err)
	}
}

func steps(t *testing.T, r *Recorder) []int {
	t.Helper()
	rows, err := r.History()
	if err != nil {
		t.Fatal(err)
	}
	var steps []int
	for _, row := range rows {
		steps = append(steps, row.Step)
	}
	return steps
}

func TestHistory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	r := open(t, dir)
	log(t, r, 0, map[string]float64{"eval_loss": 4})
	log(t, r, 1, map[string]float64{"rewards/margins": -0.25, "loss": math.NaN(), "grad_norm": math.Inf(1)})
	log(t, r, 2, nil)
	b, err := os.ReadFile(filepath.Join(dir, HistoryFile))
	if err != nil {
		t.Fatal(err)
	}
	// The clock's first reading went into the name of the event file.
	const want = `{"step":0,"time":"2026-01-02T03:04:07Z","eval_loss":4}
{"step":1,"time":"2026-01-02T03:04:08Z","grad_norm":null,"loss":null,"rewards/margins":-0.25}
`
	if string(b) != want {
		t.Errorf("wrote\n%s\nwant\n%s", b, want)
	}
	rows, err := r.History()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v, %v", rows, err)
	}
	if got := rows[1]; got.Step != 1 || !got.Time.Equal(start.Add(3*time.Second)) || got.Values["rewards/margins"] != -0.25 || !math.IsNaN(got.Values["loss"]) || len(got.Values) != 3 {
		t.Errorf("read %+v", got)
	}
	for _, name := range []string{"step", "time"} {
		if err := r.Log(3, map[string]float64{name: 1}); err == nil {
			t.Errorf("a metric called %s: no error", name)
		}
	}
}

func TestResume(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	for step := range 5 {
		log(t, r, step, map[string]float64{"loss": float64(step)})
	}
	r.Close()
	// The attempt was killed in mid-line, and a page of the file was lost with the power.
	f, err := os.OpenFile(filepath.Join(dir, HistoryFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(strings.Repeat("\x00", 100) + "\n" + `{"step":4,"time":"2026-`)
	f.Close()

	r = open(t, dir)
	if got := steps(t, r); !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
		t.Errorf("steps %v after the kill", got)
	}
	if err := r.Truncate(2); err != nil {
		t.Fatal(err)
	}
	log(t, r, 3, map[string]float64{"loss": 3.5})
	if got := steps(t, r); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("steps %v after the resume", got)
	}
	// TensorBoard sees the same.
	if got := scalarsOf(t, dir); !slices.Equal(got, []scalar{{0, "loss", 0}, {1, "loss", 1}, {2, "loss", 2}, {3, "loss", 3.5}}) {
		t.Errorf("TensorBoard has %v", got)
	}
	if err := r.Truncate(-1); err != nil {
		t.Fatal(err)
	}
	if got := steps(t, r); len(got) != 0 {
		t.Errorf("steps %v after Truncate(-1)", got)
	}
}

func TestConcurrentLogs(t *testing.T) {
	r := open(t, t.TempDir())
	done := make(chan error)
	for i := range 8 {
		go func() { done <- r.Log(i, map[string]float64{"loss": 1}) }()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	got := steps(t, r)
	slices.Sort(got)
	if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("steps %v", got)
	}
}

func FuzzRow(f *testing.F) {
	f.Add([]byte(`{"step":1,"time":"2026-01-02T03:04:05Z","loss":null,"a":1e300}`))
	f.Add([]byte(`{"step":1}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var row, again Row
		if row.UnmarshalJSON(b) != nil {
			return
		}
		line, err := row.MarshalJSON()
		if err != nil {
			t.Skip() // a time of a year that JSON cannot hold
		}
		if err := again.UnmarshalJSON(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if again.Step != row.Step || !again.Time.Equal(row.Time) || len(again.Values) != len(row.Values) {
			t.Fatalf("%+v became %+v", row, again)
		}
	})
}
