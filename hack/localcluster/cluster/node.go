package cluster

import (
	"context"
	"errors"
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
// It lasts as long as the file is open. (Mounting it somewhere, as unshare does, would be more usual, but Linux 6.18 now and
// then refuses that: it takes a namespace made on another processor for an older one.)
func (n node) makeNamespace() (*os.File, error) {
	command := exec.Command("/proc/self/exe", NodeCommand, string(n.Layout), strconv.Itoa(n.Number))
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	var stderr strings.Builder
	command.Stderr = &stderr
	hold, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	mounted, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("make namespace of %s: %w", n.Name(), err)
	}
	answer, readErr := io.ReadAll(io.LimitReader(mounted, 1))
	file, openErr := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", command.Process.Pid))
	hold.Close() // now it ends
	waitErr := command.Wait()
	if err := errors.Join(readErr, openErr, waitErr); err != nil || len(answer) != 1 {
		return nil, fmt.Errorf("make namespace of %s: %w %s", n.Name(), err, strings.TrimSpace(stderr.String()))
	}
	return file, nil
}

// MountNode runs in a new mount namespace, makes the mounts of a node, says so, and waits until it is no longer needed.
func MountNode(l Layout, number int) error {
	n := node{Layout: l, Number: number}
	// Mounts of the machine (volumes) come in; those of the node stay in it, but are shared with pods that ask for that.
	for _, propagation := range []uintptr{syscall.MS_SLAVE, syscall.MS_SHARED} {
		if err := syscall.Mount("", "/", "", syscall.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("set propagation: %w", err)
		}
	}
	for _, dir := range hiddenFolders {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for _, mount := range n.mounts() {
		if err := os.Mkdir(mount.target, 0o755); err != nil {
			return err
		}
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
