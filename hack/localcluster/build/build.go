package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Program is one Go main package to compile.
type Program struct {
	Name    string
	Dir     string // folder of its sources
	LDFlags string
	Links   []string // further names that the program goes by, as symbolic links beside it
	Note    string   // said before it is compiled: how long that takes
}

// Builder compiles into Cache and tells Out about it.
type Builder struct {
	Cache string
	Out   io.Writer
	Now   func() time.Time
}

// Ensure returns the path of the compiled program, compiling it only when its sources, the Go version
// or the flags are new. Several processes may ask at once; one compiles, the others wait for it.
func (b *Builder) Ensure(ctx context.Context, p Program) (string, error) {
	digest, err := contentHash(ctx, p)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	dir := filepath.Join(b.Cache, p.Name+"-"+digest[:16])
	binary := filepath.Join(dir, p.Name)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	unlock, err := lock(filepath.Join(dir, ".lock"))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	defer unlock()
	if _, err := os.Stat(binary); err == nil {
		return binary, nil // another process was quicker
	}

	for _, link := range p.Links {
		if err := os.Symlink(p.Name, filepath.Join(dir, link)); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("build %s: %w", p.Name, err)
		}
	}
	partial := filepath.Join(dir, ".partial")
	if err := b.compile(ctx, p, partial); err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	if err := os.Rename(partial, binary); err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	return binary, nil
}

func (b *Builder) compile(ctx context.Context, p Program, out string) error {
	start := b.Now()
	fmt.Fprintf(b.Out, "building %s", p.Name)
	if p.Note != "" {
		fmt.Fprintf(b.Out, " (%s)", p.Note)
	}
	fmt.Fprintln(b.Out)

	list, err := goCommand(ctx, p, "list", "-deps", ".").Output()
	if err != nil {
		return fmt.Errorf("list packages: %w", withStderr(err))
	}
	total := strings.Count(string(list), "\n")

	// -v names every package as it is compiled; those still in Go's own cache are not named.
	command := goCommand(ctx, p, "build", "-v", "-trimpath", "-ldflags", p.LDFlags, "-o", out, ".")
	stderr, err := command.StderrPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	var compiled atomic.Int64
	done := make(chan struct{})
	ticking := make(chan struct{})
	go func() {
		defer close(ticking)
		b.tick(p.Name, start, total, &compiled, done)
	}()
	messages := countPackages(stderr, &compiled)
	err = command.Wait()
	close(done)
	<-ticking
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, messages)
	}
	fmt.Fprintf(b.Out, "built %s: %d of %d packages compiled, %s\n", p.Name, compiled.Load(), total, b.Now().Sub(start).Round(time.Second))
	return nil
}

// tick tells the progress every ten seconds.
func (b *Builder) tick(name string, start time.Time, total int, compiled *atomic.Int64, done <-chan struct{}) {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			fmt.Fprintf(b.Out, "building %s: %4d of at most %d packages, %s\n", name, compiled.Load(), total, b.Now().Sub(start).Round(time.Second))
		}
	}
}

// countPackages reads what go build -v says until it ends and returns the lines that name no package.
func countPackages(r io.Reader, compiled *atomic.Int64) string {
	var messages strings.Builder
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "go: downloading "):
		case line != "" && !strings.ContainsAny(line, " \t"):
			compiled.Add(1)
		default:
			messages.WriteString(line + "\n")
		}
	}
	return messages.String()
}

// goCommand runs go in the program's module, statically linked, and with the compiler's garbage collector
// idle until 3 GiB: a sixth less time for a program of a thousand packages.
func goCommand(ctx context.Context, p Program, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = p.Dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOGC=off", "GOMEMLIMIT=3GiB", "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off")
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	return command
}

func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}

func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return err
}
