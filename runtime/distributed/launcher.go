package distributed

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/go-logr/logr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// Launcher starts the ranks of one node, its Processes, and ends them together. There is one on each node of a run.
type Launcher struct {
	Node, Nodes, Processes int
	// Rendezvous is host:port of node 0, where its launcher listens; empty for a run of one node.
	Rendezvous string
	// Plan is what all launchers of a run must have alike: its hash.
	Plan string
	// Command is a rank's, without its environment and its connection to the launcher.
	Command func() *exec.Cmd
	// Environ is the launcher's environment.
	Environ []string
	Log     logr.Logger
}

// The launcher's patience.
const (
	// agreed is for ranks to end by themselves after the first has said how it ended: they do so together, and
	// rank 0 may still be writing.
	agreed = 10 * time.Second
	// together is for the ends that follow from one: which was first is not seen in the order of their notices.
	together = 300 * time.Millisecond
)

// end is how a rank, or all there is of another node, has ended.
type end struct {
	who    string
	rank   int
	result runconfig.Result
	kind   kind
}

// kind orders ends by what they say of a failure's cause, the least first.
type kind int

const (
	done     kind = iota // published, or adopted
	lost                 // for want of another rank
	aborted              // by SIGABRT, as libraries do when a peer is gone
	reported             // with a result of its own
	killed               // by a signal, or without a word
	gone                 // a node from which nothing is heard
)

// Run starts the ranks and returns how the run has ended. When ctx ends they are told to save and end. When one dies
// the others are killed, on all nodes, and the result names it.
func (l *Launcher) Run(ctx context.Context) runconfig.Result {
	m, err := l.meet(ctx)
	if err != nil {
		code, reason := runconfig.ExitError, runconfig.ReasonRankLost
		if ctx.Err() != nil {
			code, reason = runconfig.ExitTerminated, runconfig.ReasonInterrupted
		}
		return runconfig.Result{ExitCode: code, Reason: reason, Message: err.Error()}
	}
	defer m.leave()
	ranks, ends, err := l.start(ctx, m)
	if err != nil {
		for _, r := range ranks {
			_ = r.Process.Kill()
		}
		e := end{who: "the launcher", kind: killed, result: failed(err.Error())}
		m.tell(e)
		return e.result
	}
	return l.wait(ctx, ranks, ends, m)
}

func failed(message string) runconfig.Result {
	return runconfig.Result{ExitCode: runconfig.ExitError, Reason: runconfig.ReasonRankLost, Message: message}
}

// start starts the node's ranks, each of which sends one end. Those that have started are returned with an error, too.
func (l *Launcher) start(ctx context.Context, m *meeting) (ranks []*exec.Cmd, ends chan end, err error) {
	ends = make(chan end, l.Processes)
	for local := range l.Processes {
		p := Process{Rank: l.Node*l.Processes + local, World: l.Nodes * l.Processes, Node: l.Node, Local: local, Store: m.store, Address: m.address}
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return ranks, ends, fmt.Errorf("start %v: %w", p, err)
		}
		ours, theirs := os.NewFile(uintptr(pair[0]), "rank"), os.NewFile(uintptr(pair[1]), "launcher")
		c := l.Command()
		c.Env, c.ExtraFiles = p.environment(l.Environ), []*os.File{theirs} // the first is linkFile
		err = c.Start()
		theirs.Close()
		if err != nil {
			ours.Close()
			return ranks, ends, fmt.Errorf("start %v: %w", p, err)
		}
		ranks = append(ranks, c)
		go func() { ends <- follow(ctx, p, c, ours) }()
	}
	return ranks, ends, nil
}

// follow waits for a rank to end.
func follow(ctx context.Context, p Process, c *exec.Cmd, link *os.File) end {
	defer link.Close()
	var r runconfig.Result
	err := json.NewDecoder(link).Decode(&r) // returns when the process ends, at the latest
	_ = c.Wait()                            // what it says is in ProcessState
	if status := c.ProcessState.Sys().(syscall.WaitStatus); err != nil || status.Signaled() {
		how := fmt.Sprintf("ended with code %d and said nothing", c.ProcessState.ExitCode())
		e := end{rank: p.Rank, who: p.String(), kind: killed}
		switch {
		case status.Signaled() && status.Signal() == syscall.SIGTERM && ctx.Err() != nil: // before it could see to it
			e.kind, e.result = reported, runconfig.Result{ExitCode: runconfig.ExitTerminated, Reason: runconfig.ReasonInterrupted, Message: "interrupted before training began"}
			return e
		case status.Signaled():
			how = fmt.Sprintf("was killed by signal %d (%v)", status.Signal(), status.Signal())
			if status.Signal() == syscall.SIGABRT {
				e.kind = aborted
			}
		}
		e.result = failed(fmt.Sprintf("%v %s", p, how))
		return e
	}
	e := end{rank: p.Rank, who: p.String(), kind: reported, result: r}
	switch {
	case r.ExitCode == runconfig.ExitDone:
		e.kind = done
	case r.Reason == runconfig.ReasonRankLost: // another's
		e.kind = lost
	}
	return e
}

// wait returns the result once all ranks of the node have ended, which it sees to after the first that fails.
func (l *Launcher) wait(ctx context.Context, ranks []*exec.Cmd, ends <-chan end, m *meeting) runconfig.Result {
	var all []end
	left, told := len(ranks), ctx.Done()
	var deadline <-chan time.Time
	kill := func() {
		for _, r := range ranks {
			_ = r.Process.Kill() // one that has ended takes no notice
		}
	}
	add := func(e end) {
		all = append(all, e)
		switch {
		case e.kind == done && e.rank == 0: // published, or adopted before the others were met
			deadline = time.After(together)
		case e.kind == done:
		case e.kind > reported || e.kind == aborted:
			deadline = time.After(together)
		case deadline == nil:
			deadline = time.After(agreed)
		}
	}
	elsewhere := m.failure
	for left > 0 {
		select {
		case <-told:
			told = nil
			for _, r := range ranks {
				_ = r.Process.Signal(syscall.SIGTERM)
			}
		case e := <-ends:
			left--
			add(e)
		case e := <-elsewhere:
			elsewhere = nil
			add(e)
		case <-deadline:
			deadline = nil
			kill()
			all = append(all, l.drain(ends, &left)...)
		}
	}
	return l.verdict(all, elsewhere, m)
}

// drain takes the ends of ranks that were killed; these say nothing.
func (l *Launcher) drain(ends <-chan end, left *int) (late []end) {
	for ; *left > 0; *left-- {
		if e := <-ends; e.kind != killed {
			late = append(late, e)
		}
	}
	return late
}

// verdict is the result that all ends together give. Where a rank here has only lost others, that of another node is
// waited for.
func (l *Launcher) verdict(all []end, elsewhere <-chan end, m *meeting) runconfig.Result {
	worst := func() end {
		slices.SortStableFunc(all, func(a, b end) int {
			if a.kind != b.kind {
				return int(b.kind - a.kind)
			}
			if a.kind == reported { // the one of rank 0, which has written it, if it has one
				return a.rank - b.rank
			}
			return 0
		})
		return all[0]
	}
	w := worst()
	if w.kind == lost && elsewhere != nil {
		select {
		case e := <-elsewhere:
			all = append(all, e)
			w = worst()
		case <-time.After(agreed):
		}
	}
	if w.kind == done {
		for _, e := range all {
			if e.rank == 0 && l.Node == 0 {
				m.tell(e)
				return e.result
			}
		}
		return runconfig.Result{Reason: runconfig.ReasonSucceeded, Message: fmt.Sprintf("the ranks of node %d are done; rank 0, of node 0, has the result", l.Node)}
	}
	if w.kind <= reported && w.rank != 0 {
		w.result.Message = w.who + ": " + w.result.Message
	}
	m.tell(w)
	return w.result
}
