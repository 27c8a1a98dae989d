package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Machine is the one machine whose state lies in Dir.
type Machine struct{ Dir string }

// InitCommand is the argument with which Start calls this executable for the machine's first process; its main must
// then call Init with the arguments that follow.
const InitCommand = "machine-init"

// Running tells whether the machine's first process is there.
func (m Machine) Running() (bool, error) {
	r, err := m.readRecord()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return r.Init.alive()
}

// Start makes the machine and runs this executable inside it with args. The files become its descriptors 3
// and up. When that process ends, the machine does. The control groups are made below one named as the network. The
// caller sees to it that no machine runs, by Stop, and that nobody else takes the network.
func (m Machine) Start(ctx context.Context, network Network, cgroups, args []string, files []*os.File) error {
	r := record{Network: network, Settings: readSettings()}
	if err := m.writeRecord(r); err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	for _, group := range cgroups {
		if err := makeCgroup(filepath.Join(network.Name, group)); err != nil {
			return fmt.Errorf("start machine: make control group %s: %w", group, err)
		}
	}

	// The first process waits on this pipe until it is on record: were we killed before that, it would end.
	waiting, release, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	defer release.Close()
	defer waiting.Close()
	log, err := os.OpenFile(filepath.Join(m.Dir, "logs", "machine.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	defer log.Close()
	init := exec.Command("/proc/self/exe", append([]string{InitCommand}, args...)...)
	init.Stdout, init.Stderr = log, log
	// Nothing inside may be sent through the host's proxy, nor depend on the environment of whoever started it.
	init.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	init.ExtraFiles = append([]*os.File{waiting}, files...)
	init.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // an interrupt at the terminal is not meant for it
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
	}
	if err := init.Start(); err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	go init.Wait() // else it stays a zombie while we live
	if r.Init, err = identify(init.Process.Pid); err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	if err := m.writeRecord(r); err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	if err := network.connect(ctx, r.Init.PID); err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	_, err = release.Write([]byte{1})
	return err
}

// Stop ends the machine and undoes what was done outside of it, also after a crash or half a Start. It
// may be called when there is nothing to stop.
func (m Machine) Stop(ctx context.Context) error {
	r, err := m.readRecord()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := kill(ctx, r.Init); err != nil {
		return err
	}
	if err := errors.Join(r.Network.disconnect(ctx), removeCgroups(ctx, r.Network.Name)); err != nil {
		return fmt.Errorf("stop machine: %w", err)
	}
	others, err := r.Network.others()
	if err != nil {
		return fmt.Errorf("stop machine: %w", err)
	}
	if !others { // who also need, say, forwarding
		if err := restoreSettings(r.Settings); err != nil {
			return fmt.Errorf("stop machine: %w", err)
		}
	}
	return os.Remove(filepath.Join(m.Dir, recordName))
}

// kill ends the machine's first process. It is gone only when all others inside are: the kernel sees to that.
func kill(ctx context.Context, p Process) error {
	for {
		alive, err := p.alive()
		if err != nil || !alive {
			return err
		}
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill process %d: %w", p.PID, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", p.PID, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// run runs a program of the system and returns what it says in its error.
func run(ctx context.Context, name string, args ...string) error {
	output, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
