package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// command is a program in a process group of its own: an interrupt of the terminal reaches it through ctx
// alone, so that what cleans up is not interrupted as well.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, program, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	return c
}

// output runs a command; its error has the end of what the command said.
func output(c *exec.Cmd) ([]byte, error) {
	var said, out bytes.Buffer
	c.Stderr = &said
	if c.Stdout == nil {
		c.Stdout = &out
	}
	if err := c.Run(); err != nil {
		text := lastLines(said.String(), 15)
		if text == "" {
			text = lastLines(out.String(), 15)
		}
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, text)
	}
	return out.Bytes(), nil
}

// kubectlCommand is kubectl on the demo's cluster.
func (d *demo) kubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	return command(ctx, d.kubectl[0], slices.Concat(d.kubectl[1:], args)...)
}

func (d *demo) runKubectl(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	c := d.kubectlCommand(ctx, args...)
	c.Stdin = stdin
	return output(c)
}

// exec runs the trainer in the pod that has the claim's files.
func (d *demo) exec(ctx context.Context, stdin io.Reader, out io.Writer, args ...string) error {
	c := d.kubectlCommand(ctx, append([]string{"--namespace=" + d.namespace, "exec", "--stdin", "files", "--", "/trainer"}, args...)...)
	c.Stdin, c.Stdout = stdin, out
	_, err := output(c)
	return err
}

// through gives read what write writes, at the same time.
func through(write func(io.Writer) error, read func(io.Reader) error) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		written <- err
	}()
	err := read(r)
	r.CloseWithError(err)
	if writeErr := <-written; writeErr != nil && !errors.Is(writeErr, io.ErrClosedPipe) {
		return writeErr
	}
	return err
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
