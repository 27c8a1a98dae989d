package metrics

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// eventFile is a TensorBoard event file: TFRecords, each a tensorflow.Event of scalars.
type eventFile struct{ file *os.File }

// newEventFile begins an event file and removes those that the folder has.
func newEventFile(dir string, now time.Time) (*eventFile, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	old, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	if err != nil {
		return nil, err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(dir, fmt.Sprintf("events.out.tfevents.%010d.trainer", now.Unix()))
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	// The first event names the format: Event.file_version is field 3.
	event := eventHeader(now, 0)
	event = protowire.AppendTag(event, 3, protowire.BytesType)
	event = protowire.AppendString(event, "brain.Event:2")
	if _, err := f.Write(appendRecord(nil, event)); err != nil {
		f.Close()
		return nil, err
	}
	return &eventFile{f}, nil
}

// write appends rows in one write, so that a kill tears at most the last record.
func (e *eventFile) write(rows ...Row) error {
	var b []byte
	for _, row := range rows {
		b = appendRecord(b, scalars(row))
	}
	_, err := e.file.Write(b)
	return err
}

// eventHeader is Event.wall_time (1) and Event.step (2).
func eventHeader(t time.Time, step int) []byte {
	b := protowire.AppendTag(nil, 1, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, math.Float64bits(float64(t.UnixNano())/1e9))
	b = protowire.AppendTag(b, 2, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(step))
}

// scalars is an Event whose Summary (5) has a Value (1) of tag (1) and simple_value (2)
// for each metric.
func scalars(row Row) []byte {
	var summary []byte
	for _, name := range slices.Sorted(maps.Keys(row.Values)) {
		value := protowire.AppendTag(nil, 1, protowire.BytesType)
		value = protowire.AppendString(value, name)
		value = protowire.AppendTag(value, 2, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(row.Values[name])))
		summary = protowire.AppendTag(summary, 1, protowire.BytesType)
		summary = protowire.AppendBytes(summary, value)
	}
	b := protowire.AppendTag(eventHeader(row.Time, row.Step), 5, protowire.BytesType)
	return protowire.AppendBytes(b, summary)
}

// appendRecord frames data as a TFRecord: length, its checksum, data, its checksum.
func appendRecord(b, data []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b[start:]))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, maskedCRC(data))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is CRC-32C, rotated and shifted, so that the checksum of data that has
// checksums inside stays sound (TensorFlow, core/lib/hash/crc32c.h).
func maskedCRC(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
