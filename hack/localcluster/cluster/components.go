package cluster

import (
	"fmt"
	"os"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/supervise"
)

// Binaries are the paths of the built programs.
type Binaries struct {
	Kubernetes string `json:"kubernetes"`
	CoreDNS    string `json:"coredns"`
	Pause      string `json:"pause"`
}

const etcdURL, etcdPeerURL = "http://127.0.0.1:2379", "http://127.0.0.1:2380"

// Ports other than the API server's are the components' defaults: the machine's network is its own.

func (l Layout) etcdProgram(b Binaries) supervise.Program {
	return supervise.Program{Name: "etcd", Args: []string{
		b.Kubernetes, "etcd", "--name=localcluster", "--data-dir=" + l.etcd(),
		"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=" + etcdPeerURL, "--initial-advertise-peer-urls=" + etcdPeerURL,
		"--initial-cluster=localcluster=" + etcdPeerURL,
		"--unsafe-no-fsync", // the cluster does not outlive the host's page cache
		"--log-level=warn",
	}}
}

func (l Layout) apiserver(config Config) supervise.Program {
	return supervise.Program{Name: "kube-apiserver", Args: []string{
		config.Binaries.Kubernetes, "kube-apiserver", "--etcd-servers=" + etcdURL,
		fmt.Sprintf("--secure-port=%d", apiPort), "--advertise-address=" + config.network().Gateway.String(),
		"--tls-cert-file=" + l.pki("kube-apiserver.crt"), "--tls-private-key-file=" + l.pki("kube-apiserver.key"),
		"--client-ca-file=" + l.pki("ca.crt"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + config.network().Services.String(), "--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + l.pki("service-accounts.pub"),
		"--service-account-signing-key-file=" + l.pki("service-accounts.key"),
		"--kubelet-certificate-authority=" + l.pki("ca.crt"),
		"--kubelet-client-certificate=" + l.pki("kubelet-client.crt"), "--kubelet-client-key=" + l.pki("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP", "--profiling=false",
	}}
}

func (l Layout) controllerManager(b Binaries) supervise.Program {
	kubeconfig := l.etc("kube-controller-manager.kubeconfig")
	return supervise.Program{Name: "kube-controller-manager", Args: []string{
		b.Kubernetes, "kube-controller-manager",
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--service-account-private-key-file=" + l.pki("service-accounts.key"), "--use-service-account-credentials=true",
		"--root-ca-file=" + l.pki("ca.crt"),
		"--cluster-signing-cert-file=" + l.pki("ca.crt"), "--cluster-signing-key-file=" + l.pki("ca.key"),
		"--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false",
	}}
}

func (l Layout) scheduler(b Binaries) supervise.Program {
	kubeconfig := l.etc("kube-scheduler.kubeconfig")
	return supervise.Program{Name: "kube-scheduler", Args: []string{
		b.Kubernetes, "kube-scheduler",
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false",
	}}
}

func (l Layout) proxy(b Binaries) supervise.Program {
	return supervise.Program{Name: "kube-proxy", Args: []string{b.Kubernetes, "kube-proxy", "--config=" + l.etc("kube-proxy.yaml")}}
}

func (l Layout) dns(b Binaries) supervise.Program {
	return supervise.Program{Name: "coredns", Args: []string{b.CoreDNS, "-conf", l.etc("Corefile")}}
}

func (l Layout) provisioner(b Binaries) supervise.Program {
	return supervise.Program{Name: "provisioner", Args: []string{
		b.Kubernetes, "provisioner", "--kubeconfig=" + l.etc("admin.kubeconfig"), "--dir=" + l.volumes(),
	}}
}

// namespace is a node with the file of its mount namespace open.
type namespace struct {
	node
	file *os.File
}

// inside runs a program where the node's folders are mounted.
func (n namespace) inside(name string, args ...string) supervise.Program {
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
	return supervise.Program{Name: n.program(name), Args: append([]string{"nsenter", "--mount=" + path}, args...)}
}

func (n namespace) containerd() supervise.Program {
	return n.inside("containerd", "containerd", "--config", n.config("containerd.toml"))
}

func (n namespace) kubelet(b Binaries) supervise.Program {
	return n.inside("kubelet", b.Kubernetes, "kubelet",
		"--config="+n.config("kubelet.yaml"), "--kubeconfig="+n.config("kubelet.kubeconfig"),
		"--hostname-override="+n.Name(), "--node-ip="+n.Address().String())
}

func (n namespace) fakeGPU(b Binaries, count int) supervise.Program {
	return n.inside("fakegpu", b.Kubernetes, "fakegpu", fmt.Sprintf("--count=%d", count))
}
