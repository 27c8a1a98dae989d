package metrics

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestMaskedCRC(t *testing.T) {
	for _, c := range []struct {
		data []byte
		want uint32
	}{
		// RFC 3720, B.4: the CRC-32C of 32 zero bytes is 0x8a9136aa; rotated right by 15
		// 0x6d551522, plus 0xa282ead8 is 0x0fd7fffa.
		{make([]byte, 32), 0x0fd7fffa},
		// No bytes: 0 + 0xa282ead8.
		{nil, 0xa282ead8},
	} {
		if got := maskedCRC(c.data); got != c.want {
			t.Errorf("maskedCRC(%v) = %#x, want %#x", c.data, got, c.want)
		}
	}
}

// The record is what tensorboard 2.21's RecordWriter makes of
//
//	Event(wall_time=1700000000.5, step=3, summary=Summary(value=[
//	    Summary.Value(tag="eval_loss", simple_value=nan),
//	    Summary.Value(tag="rewards/margins", simple_value=-0.25)]))
func TestRecordIsTensorBoards(t *testing.T) {
	const want = "3700000000000000e7e8ca590900002040fc54d94110032a2a0a100a096576616c5f6c6f7373150000c07f" +
		"0a160a0f726577617264732f6d617267696e7315000080be4a654738"
	row := Row{Step: 3, Time: time.Unix(1700000000, 5e8), Values: map[string]float64{"rewards/margins": -0.25, "eval_loss": math.NaN()}}
	if got := hex.EncodeToString(appendRecord(nil, scalars(row))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

type scalar struct {
	step  int
	tag   string
	value float32
}

// scalarsOf reads the only event file below dir, checking every checksum.
func scalarsOf(t *testing.T, dir string) []scalar {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, TensorBoardFolder, "*tfevents*"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("event files %q, %v; want one", paths, err)
	}
	b, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	var out []scalar
	for first := true; len(b) > 0; first = false {
		n := binary.LittleEndian.Uint64(b)
		data, sum := b[12:12+n], binary.LittleEndian.Uint32(b[12+n:])
		if binary.LittleEndian.Uint32(b[8:]) != maskedCRC(b[:8]) || sum != maskedCRC(data) {
			t.Fatal("a checksum is wrong")
		}
		b = b[16+n:]
		event := fields(t, data)
		if first {
			if got := string(event[3][0]); got != "brain.Event:2" {
				t.Fatalf("the first event's version is %q", got)
			}
			continue
		}
		step, _ := protowire.ConsumeVarint(event[2][0])
		for _, raw := range fields(t, event[5][0])[1] {
			value := fields(t, raw)
			out = append(out, scalar{int(step), string(value[1][0]), math.Float32frombits(binary.LittleEndian.Uint32(value[2][0]))})
		}
	}
	return out
}

// fields are a protobuf message's fields by number; of bytes without their length.
func fields(t *testing.T, b []byte) map[protowire.Number][][]byte {
	t.Helper()
	out := map[protowire.Number][][]byte{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		value := b[:n]
		if typ == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		out[num] = append(out[num], value)
		b = b[n:]
	}
	return out
}
