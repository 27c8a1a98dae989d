package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// NodeCommand is the argument with which this executable is called to make a node's mounts; its main must then call
// MountNode with the arguments that follow.
const NodeCommand = "node-mounts"

// makeNamespace makes the mount namespace that all programs of the node share, so that what the kubelet mounts
// for a pod is there for containerd, and so that every node has its own /run and /var/lib/kubelet.
// It stays as long as the file n.Namespace() is mounted.
func (n node) makeNamespace() error {
	command := exec.Command("/proc/self/exe", NodeCommand, string(n.Layout), strconv.Itoa(n.Number))
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	var stderr strings.Builder
	command.Stderr = &stderr
	hold, err := command.StdinPipe()
	if err != nil {
		return err
	}
	mounted, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("make namespace of %s: %w", n.Name(), err)
	}
	defer command.Wait() // it ends when hold is closed
	defer hold.Close()
	if answer, err := io.ReadAll(io.LimitReader(mounted, 1)); err != nil || len(answer) != 1 {
		return fmt.Errorf("make namespace of %s: %s", n.Name(), stderr.String())
	}
	if err := os.WriteFile(n.Namespace(), nil, 0o644); err != nil {
		return fmt.Errorf("make namespace of %s: %w", n.Name(), err)
	}
	source := fmt.Sprintf("/proc/%d/ns/mnt", command.Process.Pid)
	if err := syscall.Mount(source, n.Namespace(), "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("keep namespace of %s: %w", n.Name(), err)
	}
	return nil
}

// MountNode runs in a new mount namespace, makes the mounts of a node, says so, and waits until it is no longer needed.
func MountNode(l Layout, number int) error {
	n := node{l, number}
	// Mounts of the machine (volumes) come in; those of the node stay in it, but are shared with pods that ask for that.
	for _, propagation := range []uintptr{syscall.MS_SLAVE, syscall.MS_SHARED} {
		if err := syscall.Mount("", "/", "", syscall.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("set propagation: %w", err)
		}
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, mount := range n.mounts() {
		if err := syscall.Mount(mount.source, mount.target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s at %s: %w", mount.source, mount.target, err)
		}
		if err := syscall.Mount("", mount.target, "", syscall.MS_SHARED, ""); err != nil {
			return fmt.Errorf("share %s: %w", mount.target, err)
		}
	}
	if _, err := os.Stdout.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// load gives an image archive to the node's containerd.
func (n node) load(ctx context.Context, archive string) error {
	output, err := exec.CommandContext(ctx, "ctr", "--address", n.Socket(), "--namespace", "k8s.io", "images", "import", archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("load %s into %s: %w: %s", archive, n.Name(), err, strings.TrimSpace(string(output)))
	}
	return nil
}
