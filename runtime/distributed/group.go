package distributed

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alignment-dev/alignment-operator/runtime/distributed/c10d"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Group is the ranks of a run. All of them call its collectives in the same order, inside tensor.Run; a collective
// that fails, since a rank is lost, panics with a *tensor.Error (see Lost). A nil Group is a run of one process:
// its collectives do nothing.
type Group struct {
	rank, world int
	c           *c10d.Group
}

// collectiveTimeout bounds the wait for ranks that are slow. One that is lost ends it at once.
const collectiveTimeout = 2 * time.Hour

// Join makes the group of a process that a Launcher has started; it waits for all others to do so. device is where the
// rank computes.
func Join(p Process, device tensor.Device) (*Group, error) {
	s, err := c10d.OpenStore(p.Store, false, joinTimeout)
	if err != nil {
		return nil, fmt.Errorf("join the ranks' store at %s: %w", p.Store, err)
	}
	cuda := -1
	if name, ok := strings.CutPrefix(string(device), "cuda"); ok {
		cuda = 0
		if _, err := fmt.Sscanf(name, ":%d", &cuda); name != "" && err != nil {
			return nil, fmt.Errorf("join the ranks: device %q: %w", device, err)
		}
	}
	g, err := c10d.NewGroup(s, fmt.Sprintf("ranks/%d", joined.Add(1)), p.Rank, p.World, p.Address, cuda, collectiveTimeout)
	if err != nil {
		return nil, fmt.Errorf("join the ranks: %w", err)
	}
	return &Group{rank: p.Rank, world: p.World, c: g}, nil
}

// joined counts the groups of this process: ranks make them in the same order.
var joined atomic.Int64

// joinTimeout is how long a process waits for the store, which the launcher has opened before.
const joinTimeout = time.Minute

// Rank counts from 0 to below World.
func (g *Group) Rank() int {
	if g == nil {
		return 0
	}
	return g.rank
}

// World is the number of ranks.
func (g *Group) World() int {
	if g == nil {
		return 1
	}
	return g.world
}

// First says that this is rank 0, which writes what the run writes.
func (g *Group) First() bool { return g.Rank() == 0 }

// Sum replaces t, which must be dense, by the sum over all ranks; it has the same bits on all of them.
func (g *Group) Sum(t *tensor.Tensor) {
	if g.World() > 1 {
		g.check("all_reduce", g.c.AllReduce(t.Handle()))
	}
}

// Broadcast replaces t, which must be dense, by rank 0's.
func (g *Group) Broadcast(t *tensor.Tensor) {
	if g.World() > 1 {
		g.check("broadcast", g.c.Broadcast(t.Handle(), 0))
	}
}

// AllGather fills out, dense and of World times as many elements, with the ranks' in, in the order of ranks.
func (g *Group) AllGather(out, in *tensor.Tensor) {
	g.check("all_gather", g.c.AllGather(out.Handle(), in.Handle()))
}

// ReduceScatter adds up in, which is dense, over all ranks; out gets this rank's part of World equal ones.
func (g *Group) ReduceScatter(out, in *tensor.Tensor) {
	g.check("reduce_scatter", g.c.ReduceScatter(out.Handle(), in.Handle()))
}

// Turns deals n pieces of work out, every World-th to this rank. All ranks have equally many turns, since
// the forward of a sharded model is a meeting of all: in an idle one a rank does work, piece 0, that must not count.
func (g *Group) Turns(n int) iter.Seq2[int, bool] {
	return func(yield func(piece int, idle bool) bool) {
		for first := 0; first < n; first += g.World() {
			piece, idle := first+g.Rank(), false
			if piece >= n {
				piece, idle = 0, true
			}
			if !yield(piece, idle) {
				return
			}
		}
	}
}

// Gather returns every rank's v, in the order of ranks.
func Gather[T any](g *Group, v T) []T {
	if g.World() == 1 {
		return []T{v}
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(&v); err != nil {
		panic(err) // plain data only
	}
	out := make([]T, g.World())
	for rank, raw := range g.gather(b.Bytes()) {
		if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&out[rank]); err != nil {
			g.fail("gather", fmt.Sprintf("what rank %d sent is not readable: %v", rank, err))
		}
	}
	return out
}

// SumOf adds up the ranks' values, item by item, in the order of ranks: every rank has the same sum.
func (g *Group) SumOf(values []float64) []float64 {
	sum := make([]float64, len(values))
	for _, of := range Gather(g, values) {
		for i, v := range of {
			sum[i] += v
		}
	}
	return sum
}

// Any says whether any rank says yes.
func (g *Group) Any(yes bool) bool {
	for _, v := range Gather(g, yes) {
		yes = yes || v
	}
	return yes
}

// gather is of slices of any length.
func (g *Group) gather(b []byte) [][]byte {
	const size = 8
	all := g.gatherBytes(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
	sizes, most := make([]int, g.world), 0
	for rank := range sizes {
		sizes[rank] = int(binary.LittleEndian.Uint64(all[rank*size:]))
		most = max(most, sizes[rank])
	}
	padded := make([]byte, most)
	copy(padded, b)
	all = g.gatherBytes(padded)
	out := make([][]byte, g.world)
	for rank, n := range sizes {
		out[rank] = all[rank*most:][:n]
	}
	return out
}

func (g *Group) gatherBytes(in []byte) []byte {
	out, err := g.c.AllGatherBytes(in)
	g.check("all_gather", err)
	return out
}

func (g *Group) check(op string, err error) {
	if err != nil {
		g.fail(op, err.Error())
	}
}

func (g *Group) fail(op, message string) {
	panic(&tensor.Error{Op: opPrefix + op, Message: fmt.Sprintf("rank %d of %d: %s", g.rank, g.world, message)})
}

const opPrefix = "c10d::"

// Lost says that err is of a collective: another rank is gone, or out of step.
func Lost(err error) bool {
	var e *tensor.Error
	return errors.As(err, &e) && strings.HasPrefix(e.Op, opPrefix)
}
