package data

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// parquetMagic is what a Parquet file begins and ends with.
const parquetMagic = "PAR1"

// batchRows are decoded together.
const batchRows = 256

func isParquet(f io.ReaderAt) bool {
	magic := make([]byte, len(parquetMagic))
	_, err := f.ReadAt(magic, 0)
	return err == nil && string(magic) == parquetMagic
}

// rows yields a Parquet file's rows as JSON objects: the columns that a dataset may have, each a JSON value as
// it would be in JSON lines. Of a broken file it yields an error.
func (p *parser) rows(f *os.File) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var ours bool // it is the caller's panic
		defer func() {
			if r := recover(); r != nil {
				if ours {
					panic(r)
				}
				yield(nil, fmt.Errorf("%v", r)) // the library panics on some broken files
			}
		}()
		r, err := file.NewParquetReader(f)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		a, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: batchRows}, memory.DefaultAllocator)
		if err != nil {
			yield(nil, err)
			return
		}
		batches, err := a.GetRecordReader(context.Background(), p.leaves(r), nil)
		if err != nil {
			yield(nil, err)
			return
		}
		defer batches.Release()
		var text bytes.Buffer
		for batches.Next() {
			text.Reset()
			if err := array.RecordToJSON(batches.RecordBatch(), &text); err != nil {
				yield(nil, err)
				return
			}
			for line := range bytes.Lines(text.Bytes()) {
				ours = true
				if !yield(line, nil) {
					return
				}
				ours = false
			}
		}
		if err := batches.Err(); err != nil && !errors.Is(err, io.EOF) {
			yield(nil, err)
		}
	}
}

// leaves are the stored columns of what a dataset may have; all, which an error then lists, when there is none.
func (p *parser) leaves(r *file.Reader) (leaves []int) {
	known := []string{"info", "summaries", "choice"}
	for _, name := range runconfig.ColumnNames {
		known = append(known, p.column(name))
	}
	schema := r.MetaData().Schema
	for i := range schema.NumColumns() {
		if slices.Contains(known, schema.ColumnRoot(i).Name()) {
			leaves = append(leaves, i)
		}
	}
	return leaves
}

// items yields the elements of a JSON array, of which in is the beginning.
func items(in *bufio.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		d := json.NewDecoder(in)
		if _, err := d.Token(); err != nil {
			yield(nil, err)
			return
		}
		for d.More() {
			var item json.RawMessage
			if err := d.Decode(&item); err != nil {
				yield(nil, err)
				return
			}
			if !yield(item, nil) {
				return
			}
		}
		if _, err := d.Token(); err != nil {
			yield(nil, err)
		}
	}
}
