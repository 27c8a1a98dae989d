package machine

import (
	"fmt"
	"os"
	"syscall"
)

// Init is the first process of the machine: it waits to be released, makes the mounts private, starts this executable
// again with args, and reaps orphans until that process ends. It returns that process's exit status. Nothing
// else may be waited for in this process, since it waits for every child there is.
//
// The files are those given to Start; descriptor 3 is the pipe that releases it.
func Init(args []string) (int, error) {
	if n, err := syscall.Read(3, make([]byte, 1)); n != 1 {
		return 1, fmt.Errorf("the starter went away (%v)", err)
	}
	syscall.Close(3)
	if err := mountOwn(); err != nil {
		return 1, err
	}
	process, err := os.StartProcess("/proc/self/exe", append([]string{os.Args[0]}, args...), &os.ProcAttr{
		Env:   os.Environ(),
		Files: append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, inherited()...),
	})
	if err != nil {
		return 1, fmt.Errorf("start %s: %w", args[0], err)
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 1, fmt.Errorf("wait for children: %w", err)
		}
		if pid == process.Pid {
			return status.ExitStatus(), nil
		}
	}
}

// inherited are the descriptors from 4 on that were given to Start. Those that Go's runtime opens for itself are
// marked to be closed at an exec.
func inherited() []*os.File {
	var files []*os.File
	for fd := 4; ; fd++ {
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
		if errno != 0 || flags&syscall.FD_CLOEXEC != 0 {
			return files
		}
		files = append(files, os.NewFile(uintptr(fd), fmt.Sprintf("inherited-%d", fd)))
	}
}

// mountOwn gives the machine its own /proc and /run, and keeps its mounts from the host.
func mountOwn() error {
	for _, mount := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"proc", "/proc", "proc", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC},
		{"tmpfs", "/run", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV},
	} {
		if err := syscall.Mount(mount.source, mount.target, mount.kind, mount.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", mount.target, err)
		}
	}
	return nil
}
