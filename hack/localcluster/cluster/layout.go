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
	apiAddress   = "10.96.0.1" // the Service "kubernetes"
	cniFolder    = "/var/lib/cni"
	maxStatePath = 77 // so that the longest socket below it fits the kernel's 107
)

var network = machine.Network{
	Name:     "alignment-localcluster",
	Link:     "alignment0",
	Uplink:   "uplink0",
	Subnet:   netip.MustParsePrefix("10.88.7.0/24"),
	Host:     netip.MustParseAddr("10.88.7.2"),
	Gateway:  netip.MustParseAddr("10.88.7.1"),
	Services: netip.MustParsePrefix("10.96.0.0/16"),
}

// Layout names the files of a cluster, all in one folder.
type Layout string

func (l Layout) path(parts ...string) string {
	return filepath.Join(append([]string{string(l)}, parts...)...)
}

func (l Layout) config() string     { return l.path("cluster.json") }
func (l Layout) lock() string       { return l.path("lock") }
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
// which are wanted most when something went wrong, and the lock.
func (l Layout) contents() []string {
	return []string{
		l.path("etc"), l.path("pki"), l.path("nodes"), l.etcd(), l.volumes(), l.ipam(), l.Kubeconfig(), l.control(), l.config(),
	}
}

// node is the part of the layout that belongs to one kubelet.
type node struct {
	Layout
	Number int // from 1
}

func (l Layout) nodes(count int) []node {
	all := make([]node, count)
	for i := range all {
		all[i] = node{l, i + 1}
	}
	return all
}

func (n node) Name() string      { return fmt.Sprintf("localcluster-%d", n.Number) }
func (n node) Address() string   { return fmt.Sprintf("10.88.7.%d", 10+n.Number) }
func (n node) Cgroup() string    { return fmt.Sprintf("%s/node-%d", network.Name, n.Number) }
func (n node) Namespace() string { return fmt.Sprintf("/run/node-%d", n.Number) }
func (n node) Socket() string    { return n.dir("containerd.sock") }

func (n node) dir(name string) string  { return n.path("nodes", fmt.Sprint(n.Number), name) }
func (n node) file(name string) string { return n.etc(fmt.Sprintf("%s-%d", name, n.Number)) }

// program is the name of a component of this node, as in "kubelet-1".
func (n node) program(component string) string { return fmt.Sprintf("%s-%d", component, n.Number) }

// mount is a folder of the node that it sees under a fixed name.
type mount struct{ source, target string }

func (n node) mounts() []mount {
	return []mount{
		{n.dir("kubelet"), "/var/lib/kubelet"},
		{n.dir("pods"), "/var/log/pods"},
		{n.dir("containers"), "/var/log/containers"},
		{n.dir("cni"), cniFolder},
	}
}

func (l Layout) machine(nodes int) machine.Machine {
	m := machine.Machine{Dir: string(l), Network: network}
	for _, mount := range (node{}).mounts() {
		m.Mounts = append(m.Mounts, mount.target)
	}
	for _, n := range l.nodes(nodes) {
		m.Cgroups = append(m.Cgroups, n.Cgroup())
	}
	return m
}
