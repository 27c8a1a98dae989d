package metrics

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

const (
	// HistoryFile has one JSON object a line: {"step":1,"time":"...","loss":0.5,...}.
	HistoryFile = "metrics.jsonl"
	// TensorBoardFolder has the same as TensorBoard reads it.
	TensorBoardFolder = "tb"
)

// Row is one line of the history.
type Row struct {
	Step   int
	Time   time.Time
	Values map[string]float64
}

// Options of a Recorder.
type Options struct {
	// Dir is where HistoryFile and TensorBoardFolder go. It is made when missing.
	Dir string
	// Clock gives a row its time.
	Clock func() time.Time
	// Server shows the newest values; nil: they are only kept.
	Server *Server
}

// Recorder keeps a run's metrics. Its methods may be called concurrently.
type Recorder struct {
	opts Options

	mu     sync.Mutex
	file   *os.File
	events *eventFile
}

// New opens a run's metrics. What an earlier attempt recorded stays, without a last line
// that it did not finish. The caller closes the Recorder.
func New(opts Options) (*Recorder, error) {
	r := &Recorder{opts: opts}
	if err := os.MkdirAll(opts.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("open metrics: %w", err)
	}
	if err := r.Truncate(math.MaxInt); err != nil {
		return nil, err
	}
	return r, nil
}

// Log records the values of one step, under TRL's names: loss, eval_loss,
// rewards/accuracies. Steps need not be new; two calls make two rows. A value that is not
// finite is null in the history. Logging nothing does nothing.
func (r *Recorder) Log(step int, values map[string]float64) error {
	if len(values) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	row := Row{Step: step, Time: r.opts.Clock().UTC(), Values: values}
	line, err := row.MarshalJSON()
	if err != nil {
		return fmt.Errorf("log metrics: %w", err)
	}
	if s := r.opts.Server; s != nil {
		s.gauges.set("step", float64(step))
		for name, v := range values {
			s.gauges.set(name, v)
		}
	}
	if _, err := r.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("log metrics: %w", err)
	}
	if err := r.events.write(row); err != nil {
		return fmt.Errorf("log metrics: %w", err)
	}
	return nil
}

// Truncate forgets the rows beyond step, for a run that resumes from it and will record
// them again; -1 forgets all.
func (r *Recorder) Truncate(step int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	rows, err := readHistory(r.path())
	if err != nil {
		return err
	}
	if err := r.close(); err != nil {
		return fmt.Errorf("truncate metrics: %w", err)
	}
	kept := rows[:0]
	var b bytes.Buffer
	for _, row := range rows {
		if row.Step > step {
			continue
		}
		line, err := row.MarshalJSON()
		if err != nil {
			return fmt.Errorf("truncate metrics: %w", err)
		}
		kept = append(kept, row)
		b.Write(append(line, '\n'))
	}
	if err := storage.WriteFile(r.path(), b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("truncate metrics: %w", err)
	}
	if r.file, err = os.OpenFile(r.path(), os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return fmt.Errorf("truncate metrics: %w", err)
	}
	// TensorBoard's files cannot be shortened in the middle, so one with the kept rows takes
	// the place of all.
	r.events, err = newEventFile(filepath.Join(r.opts.Dir, TensorBoardFolder), r.opts.Clock())
	if err != nil {
		return fmt.Errorf("truncate metrics: %w", err)
	}
	if err := r.events.write(kept...); err != nil {
		return fmt.Errorf("truncate metrics: %w", err)
	}
	return nil
}

// History are all rows, of earlier attempts too, in the order they were logged.
func (r *Recorder) History() ([]Row, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return readHistory(r.path())
}

// Close closes the files.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.close()
}

func (r *Recorder) path() string { return filepath.Join(r.opts.Dir, HistoryFile) }

func (r *Recorder) close() error {
	var errs []error
	if r.file != nil {
		errs = append(errs, r.file.Close())
		r.file = nil
	}
	if r.events != nil {
		errs = append(errs, r.events.file.Close())
		r.events = nil
	}
	return errors.Join(errs...)
}

// readHistory reads the rows of a file; a missing one has none. What is not a row is left
// out: a kill or a loss of power may have torn a line, and curves are not worth a run.
func readHistory(path string) ([]Row, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer f.Close()
	var rows []Row
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read metrics %s: %w", path, err)
		}
		var row Row
		if json.Unmarshal(line, &row) == nil {
			rows = append(rows, row)
		}
	}
}

// MarshalJSON writes step and time first, then the values by name.
func (row Row) MarshalJSON() ([]byte, error) {
	values := make(map[string]*float64, len(row.Values))
	for name, v := range row.Values {
		if name == "step" || name == "time" {
			return nil, fmt.Errorf("%q cannot be a metric's name", name)
		}
		if values[name] = nil; !math.IsNaN(v) && !math.IsInf(v, 0) {
			values[name] = &v
		}
	}
	head, err := json.Marshal(struct {
		Step int       `json:"step"`
		Time time.Time `json:"time"`
	}{row.Step, row.Time})
	if err != nil || len(values) == 0 {
		return head, err
	}
	tail, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	head[len(head)-1] = ','
	return append(head, tail[1:]...), nil
}

// UnmarshalJSON reads what MarshalJSON writes; null becomes NaN.
func (row *Row) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	*row = Row{Values: make(map[string]float64, len(fields))}
	for _, f := range []struct {
		name string
		to   any
	}{{"step", &row.Step}, {"time", &row.Time}} {
		if err := json.Unmarshal(fields[f.name], f.to); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		delete(fields, f.name)
	}
	for name, raw := range fields {
		v := math.NaN()
		if strings.TrimSpace(string(raw)) != "null" {
			if err := json.Unmarshal(raw, &v); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		row.Values[name] = v
	}
	return nil
}
