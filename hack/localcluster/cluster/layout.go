package cluster

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/machine"
)

const (
	// MaxNodes is as many kubelets as there are addresses set aside for them.
	MaxNodes = 9

	bridge       = "cluster0"
	apiPort      = 6443
	maxStatePath = 77 // so that the longest socket below it fits the kernel's 107
)

// Layout names the files of a cluster, all in one folder.
type Layout string

func (l Layout) path(parts ...string) string {
	return filepath.Join(append([]string{string(l)}, parts...)...)
}

func (l Layout) config() string     { return l.path("cluster.json") }
func (l Layout) control() string    { return l.path("control.sock") }
func (l Layout) logs() string       { return l.path("logs") }
func (l Layout) etcd() string       { return l.path("etcd") }
func (l Layout) volumes() string    { return l.path("volumes") }
func (l Layout) ipam() string       { return l.path("ipam") }
func (l Layout) pauseImage() string { return l.path("etc", "pause.tar") }

// Kubeconfig is the administrator's, for use from the host.
func (l Layout) Kubeconfig() string { return l.path("kubeconfig") }

// Log is where a component's output goes.
func (l Layout) Log(component string) string { return l.path("logs", component+".log") }

func (l Layout) etc(name string) string { return l.path("etc", name) }
func (l Layout) pki(name string) string { return l.path("pki", name) }

// contents are the entries that a cluster makes in its folder and Down removes: all but the logs,
// which are wanted most when something went wrong.
func (l Layout) contents() []string {
	return []string{
		l.path("etc"), l.path("pki"), l.path("nodes"), l.etcd(), l.volumes(), l.ipam(), l.Kubeconfig(), l.control(), l.config(),
	}
}

// node is the part of the layout that belongs to one kubelet.
type node struct {
	Layout
	Number  int // from 1
	Network machine.Network
}

func (l Layout) nodes(config Config) []node {
	all := make([]node, config.Nodes)
	for i := range all {
		all[i] = node{l, i + 1, config.network()}
	}
	return all
}

func (n node) Name() string   { return fmt.Sprintf("localcluster-%d", n.Number) }
func (n node) Socket() string { return n.dir("containerd.sock") }
func (n node) Cgroup() string { return n.Network.Name + "/" + n.cgroup() }

func (n node) Address() netip.Addr { return hostNumber(n.Network.Subnet, 10+n.Number) }

func (n node) cgroup() string         { return fmt.Sprintf("node-%d", n.Number) }
func (n node) dir(name string) string { return n.path("nodes", fmt.Sprint(n.Number), name) }

// config is a file of the node's own among all configuration.
func (n node) config(name string) string { return n.etc(fmt.Sprintf("node-%d/%s", n.Number, name)) }

// program is the name of a component of this node, as in "kubelet-1".
func (n node) program(component string) string { return fmt.Sprintf("%s-%d", component, n.Number) }

// hiddenFolders are those of the host that a node does not see: it has empty ones in memory instead.
var hiddenFolders = []string{"/run", "/var/lib", "/var/log"}

// mount is a folder of the node that it sees under a fixed name, below a hidden one.
type mount struct{ source, target string }

func (n node) mounts() []mount {
	return []mount{
		{n.dir("kubelet"), "/var/lib/kubelet"},
		{n.dir("pods"), "/var/log/pods"},
	}
}
