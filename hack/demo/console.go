package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// plainInterval is how often progress is printed where a line cannot be rewritten.
const plainInterval = 10 * time.Second

// console prints steps with their times and, under the running one, a line of progress: rewritten on
// a terminal, printed now and then elsewhere.
type console struct {
	out   *os.File
	width int // of the terminal; 0 when there is none
	now   func() time.Time

	mu       sync.Mutex
	line     string    // progress of the running step
	printed  time.Time // when it was last printed, not on a terminal
	rewrites bool      // a progress line is on the screen
	silent   bool      // the running step shows its own progress
}

func newConsole(out *os.File, now func() time.Time) *console {
	c := &console{out: out, now: now}
	if term.IsTerminal(int(out.Fd())) {
		c.width = 100
		if w, _, err := term.GetSize(int(out.Fd())); err == nil && w > 20 {
			c.width = w
		}
	}
	return c
}

// step runs f under a title; f may say how far it is with progress.
func (c *console) step(title string, f func() error) error {
	start := c.now()
	c.printf("==> %s\n", title)
	c.mu.Lock()
	c.line, c.printed, c.silent = "", start, false
	c.mu.Unlock()
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticks := time.NewTicker(time.Second)
		defer ticks.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticks.C:
				c.tick(start)
			}
		}
	}()
	err := f()
	close(done)
	<-stopped
	if err == nil {
		c.printf("    %s\n", c.now().Sub(start).Round(100*time.Millisecond))
	}
	return err
}

// progress sets the running step's line.
func (c *console) progress(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line = fmt.Sprintf(format, args...)
}

// leave leaves the screen to a program that shows its own progress, until the step ends.
func (c *console) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = true
}

func (c *console) tick(start time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent {
		return
	}
	elapsed := c.now().Sub(start)
	text := strings.TrimSpace(fmt.Sprintf("%s  %s", clock(elapsed), c.line))
	switch {
	case c.width > 0:
		runes := []rune("    " + text)
		fmt.Fprintf(c.out, "\r\x1b[K%s", string(runes[:min(len(runes), c.width-1)]))
		c.rewrites = true
	case c.now().Sub(c.printed) >= plainInterval:
		fmt.Fprintf(c.out, "    %s\n", text)
		c.printed = c.now()
	}
}

// printf prints lines that stay.
func (c *console) printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rewrites {
		io.WriteString(c.out, "\r\x1b[K")
		c.rewrites = false
	}
	fmt.Fprintf(c.out, format, args...)
}

// clock writes a duration as 1:05.
func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
