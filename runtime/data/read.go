package data

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// maxLine is the longest line in bytes: what a hostile or torn file can make us hold.
const maxLine = 16 << 20

// Read streams the examples of the file at path, which ds describes: JSON lines or a JSON array of
// objects, either of which may be compressed with gzip, or Parquet. What it is is seen from its first
// bytes. Blank lines, a byte order mark and CRLF are accepted. What is wrong with the contents is an
// *Error, and so is a file without an example; after a bad line or row it goes on if its caller does.
func Read(path string, ds runconfig.Dataset) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(Record{}, fmt.Errorf("read dataset: %w", err))
			return
		}
		defer f.Close()
		name := path
		if ds.URI != "" {
			name = ds.URI
		}
		records := read(f, name, ds)
		if isParquet(f) {
			p := parser{name: name, format: ds.Format, columns: ds.Columns}
			records = p.each(p.rows(f), "Parquet")
		}
		for r, err := range records {
			if !yield(r, err) {
				return
			}
		}
	}
}

// each makes records of objects that are not lines: their number takes the place of the line.
func (p *parser) each(objects iter.Seq2[[]byte, error], of string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		n := 0
		for b, err := range objects {
			if err != nil {
				yield(Record{}, &Error{File: p.name, Line: n, Message: fmt.Sprintf("broken %s after this: %v", of, err), Err: err})
				return
			}
			n++
			r, err := p.parse(n, b)
			if !yield(r, err) {
				return
			}
		}
		if n == 0 {
			yield(Record{}, &Error{File: p.name, Message: "has no examples"})
		}
	}
}

func read(in io.Reader, name string, ds runconfig.Dataset) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		p := parser{name: name, format: ds.Format, columns: ds.Columns}
		line := 0
		fail := func(at int, message string, err error) {
			yield(Record{}, &Error{File: name, Line: at, Message: message, Err: err})
		}
		in, source, err := decompress(in)
		if err != nil {
			fail(0, "broken gzip: "+err.Error(), err)
			return
		}
		if isArray(in) {
			for r, err := range p.each(items(in), "JSON array") {
				if !yield(r, err) {
					return
				}
			}
			return
		}
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, maxLine)
		empty := true
		for lines.Scan() {
			line++
			b := lines.Bytes()
			if b = bytes.TrimSpace(b); len(b) == 0 {
				continue
			}
			empty = false
			r, err := p.parse(line, b)
			if err != nil && source.err != nil {
				break // the line is broken because the rest could not be read
			}
			if !yield(r, err) {
				return
			}
		}
		switch err := cmp.Or(source.err, lines.Err()); {
		case errors.Is(err, bufio.ErrTooLong):
			fail(line+1, fmt.Sprintf("is longer than %d MiB", maxLine>>20), err)
		case isBroken(err):
			fail(line, "broken gzip at or after this line: "+err.Error(), err)
		case err != nil:
			yield(Record{}, fmt.Errorf("read dataset %s: line %d: %w", name, line, err))
		case empty:
			fail(0, "has no examples", nil)
		}
	}
}

// source remembers why reading failed. (What buffers it hands out the beginning of a line first.)
type source struct {
	io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func isBroken(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt)
}

// decompress reads gzip when in begins as gzip does, whatever the file is called.
func decompress(in io.Reader) (*bufio.Reader, *source, error) {
	b := bufio.NewReader(in)
	plain := &source{Reader: b}
	if magic, _ := b.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, err
		}
		plain.Reader = z
	}
	return bufio.NewReader(plain), plain, nil
}

// isArray says that what follows the white space, and a byte order mark, which it skips, is a JSON array.
func isArray(in *bufio.Reader) bool {
	if mark, _ := in.Peek(len(byteOrderMark)); string(mark) == byteOrderMark {
		_, _ = in.Discard(len(byteOrderMark)) // they are there
	}
	head, _ := in.Peek(in.Size())
	return bytes.HasPrefix(bytes.TrimSpace(head), []byte("["))
}

const byteOrderMark = "\ufeff"

// parser makes records of lines. Its format is settled by the first of them.
type parser struct {
	name    string
	format  string
	columns map[string]string // ours to the file's
}

// object is a line: the file's columns.
type object map[string]json.RawMessage

func (p *parser) parse(line int, b []byte) (Record, error) {
	r := Record{File: p.name, Line: line}
	if !utf8.Valid(b) {
		return Record{}, r.errorf("", "is not UTF-8")
	}
	var o object
	if err := json.Unmarshal(b, &o); err != nil || o == nil {
		e := &Error{File: p.name, Line: line, Message: "is not a JSON object", Err: err}
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			e.Message = fmt.Sprintf("broken JSON at byte %d: %v", syntax.Offset, err)
		}
		return Record{}, e
	}
	if p.format == "" || p.format == FormatAuto {
		format := p.recognise(o)
		if format == "" {
			return Record{}, r.errorf("", "has no known format: the columns are %s; want text; messages; conversations; prompt; prompt and completion, with label or without; instruction and output, with input or without; prompt, responses and ranks; chosen and rejected, with prompt or without; or info, summaries and choice (see columns)", columnNames(o))
		}
		p.format = format
	}
	r.Format = p.format
	if err := p.fill(&r, o); err != nil {
		return Record{}, err
	}
	return r, nil
}

func columnNames(o object) string {
	names := make([]string, 0, len(o))
	for name := range o {
		names = append(names, fmt.Sprintf("%q", name))
	}
	slices.Sort(names)
	return "[" + strings.Join(names, " ") + "]"
}

// recognise returns the format that o's columns mean; "" for none.
func (p *parser) recognise(o object) string {
	has := func(column string) bool { return !isNull(o[p.column(column)]) }
	switch {
	case has("chosen") && has("rejected"):
		if !has("prompt") && isHH(o[p.column("chosen")]) && isHH(o[p.column("rejected")]) {
			return FormatHH
		}
		return FormatPreference
	case has("prompt") && has("responses") && has("ranks"):
		return FormatRanked
	case has("prompt") && has("completion") && has("label"):
		return FormatUnpaired
	case has("prompt") && has("completion"):
		return FormatPromptCompletion
	case has("messages"):
		return FormatMessages
	case has("conversations"):
		return FormatShareGPT
	case has("instruction") && has("output"):
		return FormatAlpaca
	case has("info") && has("summaries") && has("choice"):
		return FormatTLDRComparison
	case has("text"):
		return FormatText
	case has("prompt") && !slices.ContainsFunc(answers, has): // else half of another format
		return FormatPrompt
	}
	return ""
}

// answers are the columns that prompts on their own do not have.
var answers = []string{"completion", "label", "chosen", "rejected", "responses", "ranks"}

func isHH(b json.RawMessage) bool {
	var s string
	return json.Unmarshal(b, &s) == nil && strings.HasPrefix(s, hhHuman) && strings.Contains(s, hhAssistant)
}

func isNull(b json.RawMessage) bool { return len(b) == 0 || string(b) == "null" }

// column returns the file's name of one of our columns.
func (p *parser) column(name string) string {
	if own, ok := p.columns[name]; ok {
		return own
	}
	return name
}
