package cluster

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"text/template"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").
	Option("missingkey=error").
	Funcs(template.FuncMap{"base64": base64.StdEncoding.EncodeToString, "join": strings.Join}).
	ParseFS(templateFiles, "templates/*"))

const pauseTag = "localhost/pause:1"

func render(name string, data map[string]any) ([]byte, error) {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name, data); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// Tools are programs of the host that components are told the place of.
type Tools struct {
	Runc       string
	CNIPlugins string // folder
}

// configFiles renders the configuration of every component, by path. Nameservers are the host's.
func (l Layout) configFiles(config Config, tools Tools, nameservers []string) (map[string][]byte, error) {
	network := config.network()
	files := map[string][]byte{
		l.etc("resolv.conf"): resolvConf(nameservers),
	}
	add := func(path, template string, data map[string]any) error {
		content, err := render(template, data)
		files[path] = content
		return err
	}
	if err := add(l.etc("cni/localcluster.conflist"), "cni.conflist", map[string]any{
		"Bridge": bridge, "IPAM": l.ipam(), "Subnet": network.Subnet, "Gateway": network.Gateway, "Host": network.Host, "Services": network.Services,
		"FirstPod": hostNumber(network.Subnet, 32),
	}); err != nil {
		return nil, err
	}
	if err := add(l.etc("kube-proxy.yaml"), "kube-proxy.yaml", map[string]any{
		"Kubeconfig": l.etc("kube-proxy.kubeconfig"), "NodeName": l.nodes(config)[0].Name(),
	}); err != nil {
		return nil, err
	}
	if err := add(l.etc("Corefile"), "Corefile", map[string]any{
		"Gateway": network.Gateway, "Kubeconfig": l.etc("admin.kubeconfig"), "Nameservers": nameservers,
	}); err != nil {
		return nil, err
	}
	if err := add(l.etc("storage.yaml"), "storage.yaml", nil); err != nil {
		return nil, err
	}
	for _, n := range l.nodes(config) {
		if err := add(n.config("containerd.toml"), "containerd.toml", map[string]any{
			"Node": n, "ContainerdRoot": n.dir("containerd"), "PauseImage": pauseTag,
			"CNIPlugins": tools.CNIPlugins, "CNIConfig": l.etc("cni"), "Runc": tools.Runc,
		}); err != nil {
			return nil, err
		}
		if err := add(n.config("kubelet.yaml"), "kubelet.yaml", map[string]any{
			"Node": n, "CA": l.pki("ca.crt"), "ServingCert": l.pki(n.program("kubelet") + ".crt"), "ServingKey": l.pki(n.program("kubelet") + ".key"),
			"Gateway": network.Gateway, "ResolvConf": l.etc("resolv.conf"),
		}); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func resolvConf(nameservers []string) []byte {
	var out bytes.Buffer
	for _, server := range nameservers {
		fmt.Fprintf(&out, "nameserver %s\n", server)
	}
	return out.Bytes()
}

// hostNameservers are the name servers of the host that can be reached from the machine too, which those on
// the host's loopback interface cannot.
func hostNameservers() ([]string, error) {
	content, err := os.ReadFile("/etc/resolv.conf")
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseNameservers(string(content)), nil
}

func parseNameservers(resolvConf string) []string {
	var servers []string
	for line := range strings.Lines(resolvConf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(fields[1]); err == nil && !address.IsLoopback() && address.Is4() {
			servers = append(servers, fields[1])
		}
	}
	return servers
}
