package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"sync"
	"syscall"
	"time"
)

// pause between the end of a program and its next start.
const pause = time.Second

// Program is what to run under which name.
type Program struct {
	Name string
	Args []string // the first is the executable
}

// Status is how a program is.
type Status struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"` // 0: not running
	Restarts int    `json:"restarts"`
	Stopped  bool   `json:"stopped"`            // on request
	LastExit string `json:"lastExit,omitempty"` // how it ended the last time
}

// Group supervises programs. Their output goes to LogDir/NAME.log.
type Group struct {
	LogDir string

	mu       sync.Mutex
	programs map[string]*supervised
}

type supervised struct {
	program Program
	status  Status
	process *os.Process
	wake    chan struct{} // closed by Stop, so that a pause ends at once
	ended   chan struct{} // closed when its goroutine is done
}

// Start runs a program until Stop. A program of that name must not be running; one that was stopped may be started again.
func (g *Group) Start(program Program) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	restarts := 0
	if old, known := g.programs[program.Name]; known {
		if !old.status.Stopped {
			return fmt.Errorf("start %s: it is running", program.Name)
		}
		restarts = old.status.Restarts
	}
	s := &supervised{
		program: program,
		status:  Status{Name: program.Name, Restarts: restarts},
		wake:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
	command, err := g.launch(s)
	if err != nil {
		return err
	}
	if g.programs == nil {
		g.programs = map[string]*supervised{}
	}
	g.programs[program.Name] = s
	go g.keep(s, command)
	return nil
}

// launch starts the program's process; g.mu is held.
func (g *Group) launch(s *supervised) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(g.LogDir, s.program.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.program.Name, err)
	}
	defer log.Close() // the process has its own
	command := exec.Command(s.program.Args[0], s.program.Args[1:]...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.program.Name, err)
	}
	s.process, s.status.PID = command.Process, command.Process.Pid
	return command, nil
}

// keep waits for the process and starts the next one, until the program is stopped.
func (g *Group) keep(s *supervised, command *exec.Cmd) {
	defer close(s.ended)
	for {
		if command != nil {
			err := command.Wait() // also an ExitError is just how it ended
			g.mu.Lock()
			s.process, s.status.PID, s.status.LastExit = nil, 0, command.ProcessState.String()
			if command.ProcessState == nil {
				s.status.LastExit = err.Error()
			}
			g.mu.Unlock()
		}
		select {
		case <-s.wake:
			return
		case <-time.After(pause):
		}
		g.mu.Lock()
		if s.status.Stopped {
			g.mu.Unlock()
			return
		}
		var err error
		s.status.Restarts++
		if command, err = g.launch(s); err != nil {
			command, s.status.LastExit = nil, err.Error()
		}
		g.mu.Unlock()
	}
}

// Stop ends a program with signal and waits for that. A stopped program stays stopped.
func (g *Group) Stop(name string, signal syscall.Signal) error {
	g.mu.Lock()
	s, known := g.programs[name]
	if !known {
		g.mu.Unlock()
		return fmt.Errorf("stop %s: there is no such program", name)
	}
	if !s.status.Stopped {
		s.status.Stopped = true
		close(s.wake)
		if s.process != nil {
			// The process has not been waited for yet, so its id cannot be another's.
			if err := s.process.Signal(signal); err != nil {
				g.mu.Unlock()
				return fmt.Errorf("stop %s: %w", name, err)
			}
		}
	}
	g.mu.Unlock()
	<-s.ended
	return nil
}

// Resume starts a stopped program again.
func (g *Group) Resume(name string) error {
	g.mu.Lock()
	s, known := g.programs[name]
	g.mu.Unlock()
	if !known {
		return fmt.Errorf("start %s: there is no such program", name)
	}
	return g.Start(s.program)
}

// List returns how every program is, by name.
func (g *Group) List() []Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]Status, 0, len(g.programs))
	for _, s := range g.programs {
		list = append(list, s.status)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}
