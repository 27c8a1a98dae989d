package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/image"
	"github.com/alignment-dev/alignment-operator/hack/localcluster/machine"
	"github.com/alignment-dev/alignment-operator/hack/localcluster/supervise"
)

// BootCommand is the argument with which this executable is called inside the machine; its main must then call Boot
// with descriptor 3 as report and 4 as listener.
const BootCommand = "machine-boot"

// healthTimeout is how long a cluster that runs may take to prove that it is well.
const healthTimeout = 30 * time.Second

// Launcher brings the cluster of one state folder up and down.
type Launcher struct {
	Layout Layout
	Out    io.Writer // progress, for people
	Now    func() time.Time
}

// Up brings the cluster up, or verifies that the one that runs is well. Remains of a crash are cleared first.
func (u Launcher) Up(ctx context.Context, config Config) error {
	if err := config.Validate(); err != nil {
		return err
	}
	if err := u.checkFolder(config); err != nil {
		return err
	}
	unlock, err := u.lock()
	if err != nil {
		return err
	}
	defer unlock()

	running, err := u.Layout.Running()
	if err != nil {
		return err
	}
	if running {
		return u.verify(ctx, config)
	}
	if err := u.clear(ctx); err != nil {
		return err
	}
	start := u.Now()
	if err := u.start(ctx, config, start); err != nil {
		// The logs tell why; all else goes. A cancelled ctx must not keep that from being done.
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
		defer cancel()
		return errors.Join(err, u.clear(cleaning))
	}
	fmt.Fprintf(u.Out, "cluster is up after %.1f s; export KUBECONFIG=%s\n", u.Now().Sub(start).Seconds(), u.Layout.Kubeconfig())
	return nil
}

// Down stops the cluster and leaves nothing of it but the logs. It may be called when there is none.
func (u Launcher) Down(ctx context.Context) error {
	if _, err := os.Stat(string(u.Layout)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := u.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return u.clear(ctx)
}

func (u Launcher) clear(ctx context.Context) error {
	if err := (machine.Machine{Dir: string(u.Layout)}).Stop(ctx); err != nil {
		return err
	}
	if err := u.Layout.remove(); err != nil {
		return fmt.Errorf("remove state: %w", err)
	}
	return nil
}

func (u Launcher) checkFolder(config Config) error {
	dir := string(u.Layout)
	if len(dir) > maxStatePath {
		return fmt.Errorf("state folder %s: its path is too long for Unix sockets below it (%d bytes, at most %d)", dir, len(dir), maxStatePath)
	}
	for _, hidden := range append(hiddenFolders, "/var/run", "/proc") {
		for _, path := range []string{dir, config.Binaries.Kubernetes} {
			if path == hidden || strings.HasPrefix(path, hidden+"/") {
				return fmt.Errorf("%s: nodes do not see what is in %s; choose another folder with --state or --cache", path, hidden)
			}
		}
	}
	return os.MkdirAll(u.Layout.logs(), 0o755)
}

// lock keeps two launchers from working on one folder at a time.
func (u Launcher) lock() (unlock func(), err error) {
	if err := os.MkdirAll(string(u.Layout), 0o755); err != nil {
		return nil, err
	}
	return lockPath(string(u.Layout))
}

// verify checks a running cluster against what was asked for.
func (u Launcher) verify(ctx context.Context, config Config) error {
	actual, err := u.Layout.readConfig()
	if err != nil {
		return err
	}
	if !actual.satisfies(config) {
		return fmt.Errorf("a cluster of %s is up, not of %s: take it down first", actual, config)
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	api, err := u.Layout.api(actual.hostServer())
	if err != nil {
		return err
	}
	for {
		missing, err := api.missing(ctx, actual)
		if err == nil && missing == "" {
			fmt.Fprintf(u.Out, "cluster is already up and well; export KUBECONFIG=%s\n", u.Layout.Kubeconfig())
			return nil
		}
		if err == nil {
			err = errors.New(missing)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster is up but not well: %w (see %s)", err, u.Layout.logs())
		case <-time.After(poll):
		}
	}
}

// start makes everything from nothing.
func (u Launcher) start(ctx context.Context, config Config, start time.Time) error {
	if err := u.Layout.clearLogs(); err != nil {
		return err
	}
	reading, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reading.Close()
	err = u.startMachine(ctx, config, report)
	report.Close()
	if err != nil {
		return err
	}
	// Closing wakes the reader below when ctx ends.
	stop := context.AfterFunc(ctx, func() { reading.Close() })
	defer stop()
	return u.follow(ctx, reading, start)
}

// startMachine chooses a network, writes all files and starts the machine.
func (u Launcher) startMachine(ctx context.Context, config Config, report *os.File) error {
	unlock, err := lockHost()
	if err != nil {
		return err
	}
	defer unlock() // the network is taken once the machine has started
	if config.Slot, err = firstFreeSlot(); err != nil {
		return err
	}
	if config.Port == 0 {
		config.Port = defaultPort + config.Slot
	}
	listener, err := listen(config.Port)
	if err != nil {
		return err
	}
	defer listener.Close()
	listening, err := listener.File()
	if err != nil {
		return err
	}
	defer listening.Close()

	if err := u.Layout.claim(config); err != nil {
		return err
	}
	if err := u.writeFiles(config); err != nil {
		return err
	}
	var cgroups []string
	for _, n := range u.Layout.nodes(config) {
		cgroups = append(cgroups, n.cgroup())
	}
	m := machine.Machine{Dir: string(u.Layout)}
	return m.Start(ctx, config.network(), cgroups, []string{BootCommand, string(u.Layout)}, []*os.File{report, listening})
}

func (u Launcher) writeFiles(config Config) error {
	tools, err := findTools()
	if err != nil {
		return err
	}
	nameservers, err := hostNameservers()
	if err != nil {
		return err
	}
	files, err := u.Layout.identityFiles(config, u.Now())
	if err != nil {
		return err
	}
	configs, err := u.Layout.configFiles(config, tools, nameservers)
	if err != nil {
		return err
	}
	for path, content := range configs {
		files[path] = content
	}
	if err := u.Layout.write(config, files); err != nil {
		return err
	}
	return u.Layout.savePauseImage(config.Binaries.Pause)
}

func (l Layout) savePauseImage(binary string) error {
	layer, err := image.LayerCache{Dir: l.etc("layers")}.Layer([]image.File{{Path: "/pause", Source: binary, Mode: 0o755}})
	if err != nil {
		return err
	}
	_, err = image.Image{Tag: pauseTag, Entrypoint: []string{"/pause"}, User: "65535:65535", Layers: []image.Layer{layer}}.Save(l.pauseImage())
	return err
}

// follow passes on what Boot reports until the cluster is ready or broken.
func (u Launcher) follow(ctx context.Context, report io.Reader, start time.Time) error {
	lines := bufio.NewScanner(report)
	for lines.Scan() {
		line := lines.Text()
		if line == "ready" {
			return nil
		}
		if message, failed := strings.CutPrefix(line, "error: "); failed {
			return fmt.Errorf("%s (logs are in %s)", message, u.Layout.logs())
		}
		fmt.Fprintf(u.Out, "%5.1f s  %s\n", u.Now().Sub(start).Seconds(), line)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("the machine ended: see %s", u.Layout.Log("machine"))
}

func (l Layout) clearLogs() error {
	old, err := filepath.Glob(l.path("logs", "*.log"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// Programs talks to the supervisor of a running cluster.
func (l Layout) Programs() supervise.Client { return supervise.Client{Socket: l.control()} }

// Running tells whether the cluster's machine is there.
func (l Layout) Running() (bool, error) { return machine.Machine{Dir: string(l)}.Running() }
