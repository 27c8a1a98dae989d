package distributed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/distributed/c10d"
)

const (
	// meetTimeout is how long launchers wait for each other: pods start at different times.
	meetTimeout = 10 * time.Minute
	// beat is how often a launcher shows that its node is alive, and silence after how long it is given up.
	beat    = time.Second
	silence = 12 * time.Second
	// farewell is how long a launcher that ends waits for the store, and node 0's for the others to have left.
	farewell = 5 * time.Second
)

// meeting is what the launchers of a run share: node 0's store. With one node, it is the ranks' store alone.
type meeting struct {
	node, nodes, processes int
	store, address         string
	s                      *c10d.Store
	// failure has the first failure of another node.
	failure chan end
	stop    chan struct{} // closed to end watch, which then closes stopped
	stopped chan struct{}
}

// The keys of the store.
const (
	planKey   = "launcher/plan"
	failedKey = "launcher/failed"   // the end of a rank
	countKey  = "launcher/failures" // 1 once failedKey is set
	takenKey  = "launcher/taken"    // who adds the first 1 sets it
)

func nodeKey(what string, node int) string { return fmt.Sprintf("launcher/%s/%d", what, node) }

// meet opens or finds the store and waits for the launchers of all nodes.
func (l *Launcher) meet(ctx context.Context) (*meeting, error) {
	m := &meeting{node: l.Node, nodes: l.Nodes, processes: l.Processes, failure: make(chan end, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	at := l.Rendezvous
	if l.Nodes == 1 {
		at = "127.0.0.1:0"
	}
	var err error
	if m.address, err = l.reach(ctx, at); err != nil {
		return nil, fmt.Errorf("placement.rendezvous: %w", err)
	}
	if m.s, err = c10d.OpenStore(at, l.Node == 0, joinTimeout); err != nil {
		return nil, fmt.Errorf("placement.rendezvous: node %d, %s: %w", l.Node, at, err)
	}
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		return nil, fmt.Errorf("placement.rendezvous: %w", err)
	}
	m.store = net.JoinHostPort(host, strconv.Itoa(m.s.Port()))
	if l.Nodes == 1 {
		close(m.stopped)
		return m, nil
	}
	if err := m.join(ctx, l); err != nil {
		return nil, err
	}
	go m.watch()
	return m, nil
}

// reach waits until node 0 can be reached, and returns the address of this node on the way to it.
func (l *Launcher) reach(ctx context.Context, rendezvous string) (address string, err error) {
	host, port, err := net.SplitHostPort(rendezvous)
	if err != nil {
		return "", err
	}
	deadline := time.Now().Add(meetTimeout)
	network := "tcp"
	if l.Node == 0 {
		network, port = "udp", "9" // nothing is sent: a connected socket knows its address
	}
	for waiting := false; ; waiting = true {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, net.JoinHostPort(host, port))
		if err == nil {
			defer c.Close()
			address, _, err := net.SplitHostPort(c.LocalAddr().String())
			return address, err
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("node 0 is not to be reached: %w", err)
		}
		if !waiting {
			l.Log.Info("Waiting for node 0", "rendezvous", rendezvous, "err", err.Error())
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("interrupted before node 0 was reached: %w", ctx.Err())
		case <-time.After(beat):
		}
	}
}

// join says that this node is there, and waits for the others.
func (m *meeting) join(ctx context.Context, l *Launcher) error {
	plan := fmt.Sprintf("%d nodes of %d processes, run %.12s", l.Nodes, l.Processes, l.Plan)
	if m.node == 0 {
		if err := m.s.Set(planKey, []byte(plan)); err != nil {
			return err
		}
	}
	theirs, err := m.s.Get(planKey)
	if err != nil {
		return fmt.Errorf("node 0's plan: %w", err)
	}
	if string(theirs) != plan {
		return fmt.Errorf("placement: node %d is told of %s, node 0 of %s", m.node, plan, theirs)
	}
	if n, err := m.s.Add(nodeKey("there", m.node), 1); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("placement: there is another node %d already", m.node))
	}
	deadline := time.Now().Add(meetTimeout)
	for node := 0; node < m.nodes; {
		n, err := m.s.Add(nodeKey("there", node), 0)
		switch {
		case err != nil:
			return fmt.Errorf("wait for node %d: %w", node, err)
		case n > 0:
			node++
			continue
		case time.Now().After(deadline):
			return fmt.Errorf("node %d did not come within %v", node, meetTimeout)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("interrupted before node %d came: %w", node, ctx.Err())
		case <-time.After(beat / 4):
		}
	}
	return nil
}

// watch shows that this node is alive, and looks whether the others are.
func (m *meeting) watch() {
	defer close(m.stopped)
	heard := make([]time.Time, m.nodes)
	beats, left := make([]int64, m.nodes), make([]bool, m.nodes)
	for i := range heard {
		heard[i] = time.Now()
	}
	round := make(chan error, 1)
	for {
		go func() { round <- m.look(heard, beats, left) }()
		var err error
		select {
		case err = <-round:
		case <-time.After(silence):
			err = fmt.Errorf("its store has not answered for %v", silence)
		}
		if err != nil {
			if !left[0] {
				m.give(end{kind: gone, who: "node 0", result: failed(fmt.Sprintf("node 0 (%s) is lost: %v", m.ranks(0), err))})
			}
			return
		}
		for node := range heard {
			if quiet := time.Since(heard[node]); node != m.node && !left[node] && quiet > silence {
				m.give(end{kind: gone, who: fmt.Sprintf("node %d", node), result: failed(fmt.Sprintf("node %d (%s) is lost: nothing was heard of it for %v", node, m.ranks(node), silence))})
			}
		}
		select {
		case <-m.stop:
			return
		case <-time.After(beat):
		}
	}
}

// look is one round of watch.
func (m *meeting) look(heard []time.Time, beats []int64, left []bool) error {
	if _, err := m.s.Add(nodeKey("beat", m.node), 1); err != nil {
		return err
	}
	for node := range heard {
		n, err := m.s.Add(nodeKey("left", node), 0)
		if err != nil {
			return err
		}
		left[node] = n > 0
		if n, err = m.s.Add(nodeKey("beat", node), 0); err != nil {
			return err
		}
		if n != beats[node] {
			beats[node], heard[node] = n, time.Now()
		}
	}
	n, err := m.s.Add(countKey, 0)
	if err != nil || n == 0 {
		return err
	}
	b, err := m.s.Get(failedKey)
	if err != nil {
		return err
	}
	var f failureOf
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	m.give(end{kind: f.Kind, rank: f.Rank, who: f.Who, result: f.Result})
	return nil
}

// failureOf is an end as the store holds it.
type failureOf struct {
	Kind   kind
	Rank   int
	Who    string
	Result runconfig.Result
}

// give hands over the first failure.
func (m *meeting) give(e end) {
	select {
	case m.failure <- e:
	default:
	}
}

// tell tells the other nodes why this one ends, if none has told before.
func (m *meeting) tell(e end) {
	if m.nodes == 1 || e.kind == gone {
		return
	}
	e.result.Metrics = nil // which may hold what JSON has not
	b, err := json.Marshal(failureOf{e.kind, e.rank, e.who, e.result})
	if err != nil {
		panic(err)
	}
	m.within(func() error {
		n, err := m.s.Add(takenKey, 1)
		if err != nil || n > 1 {
			return err
		}
		if err := m.s.Set(failedKey, b); err != nil {
			return err
		}
		_, err = m.s.Add(countKey, 1)
		return err
	})
}

// leave ends the meeting. Node 0, whose store the others look at, is the last to go.
func (m *meeting) leave() {
	if m.nodes == 1 {
		return
	}
	m.within(func() error {
		if _, err := m.s.Add(nodeKey("left", m.node), 1); err != nil || m.node != 0 {
			return err
		}
		for node := 0; node < m.nodes; {
			n, err := m.s.Add(nodeKey("left", node), 0)
			if err != nil {
				return err
			}
			if n > 0 {
				node++
				continue
			}
			time.Sleep(beat / 4)
		}
		return nil
	})
	close(m.stop)
}

// within gives a talk with the store some time; what comes of it no longer matters.
func (m *meeting) within(f func() error) {
	ended := make(chan struct{})
	go func() {
		_ = f()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(farewell):
	}
}

// ranks names a node's.
func (m *meeting) ranks(node int) string {
	first, last := node*m.processes, (node+1)*m.processes-1
	if first == last {
		return fmt.Sprintf("rank %d", first)
	}
	return fmt.Sprintf("ranks %d to %d", first, last)
}
