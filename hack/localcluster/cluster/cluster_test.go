package cluster

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

// The rendered configuration of two nodes in the second network, all files in one golden.
func TestConfigFiles(t *testing.T) {
	l := Layout("/state")
	tools := Tools{Runc: "/usr/sbin/runc", CNIPlugins: "/usr/lib/cni"}
	files, err := l.configFiles(Config{Nodes: 2, Slot: 1, Port: 16444}, tools, []string{"192.0.2.53"})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for path := range files {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	var all strings.Builder
	for _, path := range paths {
		all.WriteString("-- " + path + " --\n" + string(files[path]))
	}
	const golden = "testdata/config.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if all.String() != string(want) {
		t.Errorf("configuration differs from %s; read the difference, then run with -update:\n%s", golden, all.String())
	}
}

func TestIdentityFiles(t *testing.T) {
	l := Layout("/state")
	files, err := l.identityFiles(Config{Nodes: 2, Port: 16443}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	for path, server := range map[string]string{
		l.Kubeconfig():                              "https://127.0.0.1:16443",
		l.etc("kube-scheduler.kubeconfig"):          "https://10.88.7.1:6443",
		l.etc("node-2/kubelet.kubeconfig"):          "https://10.88.7.1:6443",
		l.etc("kube-proxy.kubeconfig"):              "https://10.88.7.1:6443",
		l.etc("admin.kubeconfig"):                   "https://10.88.7.1:6443",
		l.etc("node-1/kubelet.kubeconfig"):          "https://10.88.7.1:6443",
		l.etc("kube-controller-manager.kubeconfig"): "https://10.88.7.1:6443",
	} {
		if !strings.Contains(string(files[path]), `server: "`+server+`"`) {
			t.Errorf("%s does not name %s:\n%s", path, server, files[path])
		}
	}
	for _, name := range []string{"ca.crt", "kube-apiserver.crt", "kubelet-client.crt", "service-accounts.pub", "kubelet-1.crt", "kubelet-2.key", "node-2.crt"} {
		if len(files[l.pki(name)]) == 0 {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestSlots(t *testing.T) {
	for a := range maxSlots {
		for b := range a {
			x, y := slotNetwork(a), slotNetwork(b)
			if x.Subnet.Overlaps(y.Subnet) || x.Services.Overlaps(y.Services) || x.Link == y.Link || x.Name == y.Name {
				t.Errorf("slots %d and %d share something: %+v, %+v", a, b, x, y)
			}
		}
		if network := slotNetwork(a); !network.Subnet.Contains(network.Host) || !network.Subnet.Contains(network.Gateway) || len(network.Link) > 15 {
			t.Errorf("slot %d: %+v", a, network)
		}
	}
	config := Config{Nodes: MaxNodes, Slot: 2}
	if got := config.apiService().String(); got != "10.98.0.1" {
		t.Errorf("Service kubernetes is %s", got)
	}
	nodes := Layout("/s").nodes(config)
	if last := nodes[MaxNodes-1]; last.Address().String() != "10.88.9.19" || last.Name() != "localcluster-9" {
		t.Errorf("last node is %s at %s", last.Name(), last.Address())
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		config Config
		valid  bool
	}{
		{Config{Nodes: 1}, true},
		{Config{Nodes: MaxNodes, GPUs: 8, Port: 65535}, true},
		{Config{Nodes: 0}, false},
		{Config{Nodes: MaxNodes + 1}, false},
		{Config{Nodes: 1, GPUs: -1}, false},
		{Config{Nodes: 1, Port: 65536}, false},
	} {
		if err := test.config.Validate(); (err == nil) != test.valid {
			t.Errorf("%+v: %v, want valid %t", test.config, err, test.valid)
		}
	}
}

// Down removes what is in the state folder, so a folder with anything else in it must be refused, and survive.
func TestClaim(t *testing.T) {
	l := Layout(t.TempDir())
	foreign := l.path("thesis.txt")
	if err := os.WriteFile(foreign, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := l.claim(Config{Nodes: 1}); err == nil {
		t.Error("a folder with other files was claimed")
	}
	if err := l.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("another's file is gone: %v", err)
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}

	if err := os.Mkdir(l.logs(), 0o755); err != nil {
		t.Fatal(err)
	}
	config := Config{Nodes: 2, GPUs: 1, Port: 3, Slot: 4, Binaries: Binaries{"k", "c", "p"}}
	if err := l.claim(config); err != nil {
		t.Fatal(err)
	}
	if got, err := l.readConfig(); err != nil || got != config {
		t.Errorf("configuration = %+v, %v", got, err)
	}
	if err := l.write(config, map[string][]byte{l.pki("ca.key"): []byte("secret")}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(l.pki("ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key is %v, %v", info, err)
	}
	if err := l.remove(); err != nil {
		t.Fatal(err)
	}
	entries, err := filepath.Glob(l.path("*"))
	if err != nil || !reflect.DeepEqual(entries, []string{l.logs()}) {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestCheckFolder(t *testing.T) {
	good := t.TempDir()
	for _, test := range []struct {
		dir, binary string
		valid       bool
	}{
		{filepath.Join(good, "s"), "/root/kubernetes", true},
		{filepath.Join(good, strings.Repeat("x", maxStatePath)), "/root/kubernetes", false},
		{"/run/user/0/s", "/root/kubernetes", false},
		{"/var/lib/s", "/root/kubernetes", false},
		{filepath.Join(good, "s"), "/var/lib/jenkins/kubernetes", false},
	} {
		err := Launcher{Layout: Layout(test.dir)}.checkFolder(Config{Binaries: Binaries{Kubernetes: test.binary}})
		if (err == nil) != test.valid {
			t.Errorf("%s, %s: %v, want valid %t", test.dir, test.binary, err, test.valid)
		}
	}
}

func TestParseNameservers(t *testing.T) {
	const file = "# comment\nsearch example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 192.0.2.2 # two\nnameserver\n"
	if got, want := parseNameservers(file), []string{"192.0.2.1", "192.0.2.2"}; !reflect.DeepEqual(got, want) {
		t.Errorf("parseNameservers = %v, want %v", got, want)
	}
}

// Both directions pass, and the end of one does not cut off the other.
func TestForward(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		connection, err := server.Accept()
		if err != nil {
			return
		}
		question, _ := io.ReadAll(connection) // until the client is done
		io.WriteString(connection, "heard "+string(question))
		connection.Close()
	}()
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	go forward(door, server.Addr().String())

	client, err := net.Dial("tcp", door.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := io.WriteString(client, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(client); err != nil || string(answer) != "heard hello" {
		t.Errorf("answer %q, %v", answer, err)
	}
}

func TestFollow(t *testing.T) {
	follow := func(report string) (said string, err error) {
		var out strings.Builder
		launcher := Launcher{Layout: "/s", Out: &out, Now: func() time.Time { return time.Unix(3, 0) }}
		err = launcher.follow(context.Background(), strings.NewReader(report), time.Unix(1, 0))
		return out.String(), err
	}
	if said, err := follow("API server is ready\nready\n"); err != nil || said != "  2.0 s  API server is ready\n" {
		t.Errorf("said %q, %v", said, err)
	}
	if _, err := follow("error: no luck\n"); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("error = %v", err)
	}
	if _, err := follow("API server is ready\n"); err == nil {
		t.Error("a report that breaks off counts as success")
	}
}

func TestUseWithoutCluster(t *testing.T) {
	l := Layout(t.TempDir())
	_, err := l.Status(context.Background())
	for name, err := range map[string]error{
		"Status":   err,
		"Load":     l.Load(context.Background(), []string{"x.tar"}),
		"StopNode": l.StopNode(context.Background(), 1),
	} {
		if !errors.Is(err, ErrDown) {
			t.Errorf("%s: %v, want ErrDown", name, err)
		}
	}
	if err := (Launcher{Layout: l, Out: io.Discard}).Down(context.Background()); err != nil {
		t.Errorf("Down: %v", err)
	}
}

func TestAPIMissing(t *testing.T) {
	const (
		readyNode = `{"metadata":{"name":"n1"},"status":{"conditions":[{"type":"Ready","status":"True"}],"allocatable":{"nvidia.com/gpu":"2"}}}`
		newNode   = `{"metadata":{"name":"n1"},"status":{"conditions":[{"type":"Ready","status":"False"}]}}`
	)
	for _, test := range []struct {
		name, nodes    string
		serviceAccount int
		config         Config
		want           string
	}{
		{"all there", readyNode, 200, Config{Nodes: 1, GPUs: 2}, ""},
		{"no node", "", 200, Config{Nodes: 1}, "0 of 1 nodes have registered"},
		{"not ready", newNode, 200, Config{Nodes: 1}, "node n1 is not ready"},
		{"too few GPUs", readyNode, 200, Config{Nodes: 1, GPUs: 4}, "node n1 offers 2 of 4 GPUs"},
		{"no account", readyNode, 404, Config{Nodes: 1}, "the default service account is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := apiServer(t, test.nodes, test.serviceAccount)
			got, err := server.missing(context.Background(), test.config)
			if err != nil || got != test.want {
				t.Errorf("missing = %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

// apiServer plays the API server with the given nodes (JSON) and status of the default service account.
func apiServer(t *testing.T, nodes string, serviceAccount int) *api {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /api/v1/nodes", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"items":[`+nodes+`]}`)
	})
	mux.HandleFunc("GET /api/v1/namespaces/default/serviceaccounts/default", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(serviceAccount)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &api{server: server.URL, client: server.Client()}
}
