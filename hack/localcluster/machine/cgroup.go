package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// hierarchy is one mounted tree of control groups: version 1 has a tree per controller, version 2 one for all.
// On a hybrid host the version 2 tree is there too, without controllers.
type hierarchy struct {
	dir     string
	version int
	cpuset  bool // of version 1: groups need processors before they can hold processes
}

func hierarchies() ([]hierarchy, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	found := parseHierarchies(string(mounts))
	if len(found) == 0 {
		return nil, errors.New("no control groups are mounted")
	}
	return found, nil
}

// parseHierarchies picks the control group trees out of /proc/PID/mounts, see fstab(5) for its fields.
func parseHierarchies(mounts string) []hierarchy {
	var found []hierarchy
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		switch dir, kind, options := fields[1], fields[2], strings.Split(fields[3], ","); kind {
		case "cgroup":
			h := hierarchy{dir: dir, version: 1}
			for _, option := range options {
				h.cpuset = h.cpuset || option == "cpuset"
			}
			found = append(found, h)
		case "cgroup2":
			found = append(found, hierarchy{dir: dir, version: 2})
		}
	}
	return found
}

// makeCgroup makes the control group, such as "cluster/node-1", in every hierarchy, ready to have groups below it.
func makeCgroup(group string) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	for _, tree := range trees {
		parent := tree.dir
		if tree.version == 2 {
			if err := delegate(parent); err != nil {
				return err
			}
		}
		for name := range strings.SplitSeq(group, "/") {
			dir := filepath.Join(parent, name)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if tree.cpuset {
				err = inheritCPUs(parent, dir)
			} else if tree.version == 2 {
				err = delegate(dir)
			}
			if err != nil {
				return err
			}
			parent = dir
		}
	}
	return nil
}

// inheritCPUs gives a new version 1 group the processors and memory nodes of its parent.
func inheritCPUs(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// delegate lets the groups below dir use every controller that dir has (version 2). The root of a container is not
// the real root and refuses while it holds processes itself; they are then moved down into a group "init",
// which is where they may as well stay.
func delegate(dir string) error {
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(controllers)) {
		enable := func() error {
			return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
		}
		err := enable()
		if errors.Is(err, syscall.EBUSY) {
			if err := moveProcesses(dir, filepath.Join(dir, "init")); err != nil {
				return err
			}
			err = enable()
		}
		// Some controllers are threaded, or in use by version 1; the kubelet says which it misses.
		if err != nil && !errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.ENOENT) {
			return err
		}
	}
	return nil
}

func moveProcesses(from, to string) error {
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	pids, err := os.ReadFile(filepath.Join(from, "cgroup.procs"))
	if err != nil {
		return err
	}
	for pid := range strings.FieldsSeq(string(pids)) {
		err := os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(pid), 0o644)
		if err != nil && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.EINVAL) { // gone, or the kernel's own
			return err
		}
	}
	return nil
}

// removeCgroups removes the group and all below it from every hierarchy. Their processes are dead, but
// the kernel may need a moment to see that.
func removeCgroups(ctx context.Context, group string) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, tree := range trees {
		for {
			err := removeTree(filepath.Join(tree.dir, group))
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("remove control group: %w", err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// removeTree removes folders innermost first; the files in them belong to the kernel and go with them.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}
