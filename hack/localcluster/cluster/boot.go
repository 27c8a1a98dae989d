package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/machine"
	"github.com/alignment-dev/alignment-operator/hack/localcluster/supervise"
)

// poll is how often something is looked at until it is there.
const poll = 50 * time.Millisecond

// bootTimeout is for a machine under heavy load; without it, booting takes less than ten seconds.
const bootTimeout = 3 * time.Minute

// Boot starts everything inside the machine and keeps it running until ctx ends. It writes a line to report when
// a part is up, and at last either "ready" or a line that begins with "error: ". Connections
// to listener, which is on the host's loopback interface, are passed to the API server.
func Boot(ctx context.Context, l Layout, listener net.Listener, report io.WriteCloser) error {
	config, err := l.readConfig()
	if err != nil {
		return err
	}
	group := &supervise.Group{LogDir: l.logs()}
	control, err := net.Listen("unix", l.control())
	if err != nil {
		return err
	}
	go http.Serve(control, group.Handler())
	go forward(listener, config.insideAddress())

	booting, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	boot := booter{Layout: l, config: config, group: group, report: report}
	if err := boot.run(booting); err != nil {
		fmt.Fprintf(report, "error: %v\n", err)
		return err
	}
	fmt.Fprintln(report, "ready")
	report.Close()
	<-ctx.Done()
	runtime.KeepAlive(boot) // with it, the nodes' namespaces, which programs that are started again enter
	return nil
}

type booter struct {
	Layout
	config Config
	group  *supervise.Group
	report io.Writer
	nodes  []namespace
}

func (b *booter) run(ctx context.Context) error {
	if err := b.connect(ctx); err != nil {
		return err
	}
	if err := b.shareVolumes(); err != nil {
		return err
	}
	for _, n := range b.Layout.nodes(b.config) {
		file, err := n.makeNamespace()
		if err != nil {
			return err
		}
		b.nodes = append(b.nodes, namespace{n, file})
	}
	// The control plane takes longest; the nodes' runtimes get ready beside it.
	if err := errors.Join(b.group.Start(b.etcdProgram(b.config.Binaries)), b.group.Start(b.apiserver(b.config))); err != nil {
		return err
	}
	runtimes := make(chan error, 1)
	go func() { runtimes <- b.startRuntimes(ctx) }()
	api, err := b.api(b.config.insideServer())
	if err != nil {
		return err
	}
	// Only a ready API server has the roles without which the controller manager gives up.
	if err := b.until(ctx, "API server", func(ctx context.Context) error { return api.ready(ctx) }); err != nil {
		return err
	}
	fmt.Fprintln(b.report, "API server is ready")
	if err := <-runtimes; err != nil {
		return err
	}

	programs := []supervise.Program{
		b.controllerManager(b.config.Binaries), b.scheduler(b.config.Binaries),
		b.proxy(b.config.Binaries), b.dns(b.config.Binaries), b.provisioner(b.config.Binaries),
	}
	for _, n := range b.nodes {
		programs = append(programs, n.kubelet(b.config.Binaries))
		if b.config.GPUs > 0 {
			programs = append(programs, n.fakeGPU(b.config.Binaries, b.config.GPUs))
		}
	}
	for _, program := range programs {
		if err := b.group.Start(program); err != nil {
			return err
		}
	}
	storage, err := os.ReadFile(b.etc("storage.yaml"))
	if err != nil {
		return err
	}
	if err := api.createStorageClasses(ctx, storage); err != nil {
		return err
	}
	if err := b.until(ctx, "cluster", func(ctx context.Context) error {
		missing, err := api.missing(ctx, b.config)
		if err == nil && missing != "" {
			err = errors.New(missing)
		}
		return err
	}); err != nil {
		return err
	}
	fmt.Fprintln(b.report, "nodes are ready")
	return b.until(ctx, "cluster DNS", dnsReady)
}

func dnsReady(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:8181/ready", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("cluster DNS: %s", response.Status)
	}
	return nil
}

// connect puts the cable to the host on the bridge that the pods will be on, and the nodes' addresses.
func (b *booter) connect(ctx context.Context) error {
	network := b.config.network()
	address := func(ip netip.Addr) []string {
		return []string{"address", "add", netip.PrefixFrom(ip, network.Subnet.Bits()).String(), "dev", bridge}
	}
	commands := [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", bridge, "type", "bridge"},
		{"link", "set", machine.Uplink, "master", bridge},
		{"link", "set", machine.Uplink, "up"},
		{"link", "set", bridge, "up"},
		address(network.Gateway),
	}
	for _, n := range b.Layout.nodes(b.config) {
		commands = append(commands, address(n.Address()))
	}
	commands = append(commands, []string{"route", "add", "default", "via", network.Host.String(), "dev", bridge})
	for _, args := range commands {
		if output, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(output)))
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

// shareVolumes lets the nodes see what the provisioner will mount among the volumes.
func (b *booter) shareVolumes() error {
	if err := syscall.Mount(b.volumes(), b.volumes(), "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", b.volumes(), err)
	}
	if err := syscall.Mount("", b.volumes(), "", syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share %s: %w", b.volumes(), err)
	}
	return nil
}

// startRuntimes starts every node's containerd and gives it the image of pod sandboxes.
func (b *booter) startRuntimes(ctx context.Context) error {
	errs := make(chan error, len(b.nodes))
	for _, n := range b.nodes {
		go func() { errs <- b.startRuntime(ctx, n) }()
	}
	var all []error
	for range b.nodes {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func (b *booter) startRuntime(ctx context.Context, n namespace) error {
	if err := b.group.Start(n.containerd()); err != nil {
		return err
	}
	if err := b.until(ctx, n.program("containerd"), func(context.Context) error {
		connection, err := net.Dial("unix", n.Socket())
		if err == nil {
			connection.Close()
		}
		return err
	}); err != nil {
		return err
	}
	return b.until(ctx, n.program("containerd"), func(ctx context.Context) error { return n.load(ctx, b.pauseImage()) })
}

// until tries until it succeeds. When time runs out, the error also names the components that did not stay up.
func (b *booter) until(ctx context.Context, what string, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w%s", what, err, b.crashed())
		case <-time.After(poll):
		}
	}
}

func (b *booter) crashed() string {
	var text strings.Builder
	for _, status := range b.group.List() {
		if status.Restarts > 0 {
			fmt.Fprintf(&text, "; %s ended %d times (%s), see %s", status.Name, status.Restarts, status.LastExit, b.Log(status.Name))
		}
	}
	return text.String()
}
