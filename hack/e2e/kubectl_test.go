//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// kubectlPath is the cluster's kubectl.
var kubectlPath = "kubectl"

// kubectl runs kubectl and returns its output; the error has what it complained of.
func kubectl(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return command(ctx, stdin, kubectlPath, args...)
}

func command(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	var out, complaint bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Stdin, c.Stdout, c.Stderr = stdin, &out, &complaint
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}
