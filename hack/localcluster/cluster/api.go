package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// api asks the API server the few things that the launcher itself wants to know. client-go would
// be twenty times the launcher's size.
type api struct {
	server string // "https://host:port"
	client *http.Client
}

func (l Layout) api(server string) (*api, error) {
	authority, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	pair, err := tls.LoadX509KeyPair(l.pki("admin.crt"), l.pki("admin.key"))
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}
	return &api{server: server, client: &http.Client{Transport: transport, Timeout: 10 * time.Second}}, nil
}

// The API server has one address for the machine and one for the host.

func (c Config) insideServer() string  { return "https://" + c.insideAddress() }
func (c Config) insideAddress() string { return fmt.Sprintf("%s:%d", c.network().Gateway, apiPort) }
func (c Config) hostServer() string    { return fmt.Sprintf("https://127.0.0.1:%d", c.Port) }

// do sends body, which may be nil, and decodes the answer into result, which may be nil too.
func (a *api) do(ctx context.Context, method, path string, body []byte, result any) error {
	request, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/yaml")
	request.Header.Set("Accept", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return &statusError{path, response.StatusCode, answer}
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer, result)
}

type statusError struct {
	path string
	code int
	body []byte
}

func (e *statusError) Error() string {
	return fmt.Sprintf("API server: %s: %d %s", e.path, e.code, bytes.TrimSpace(e.body))
}

func (a *api) ready(ctx context.Context) error {
	return a.do(ctx, http.MethodGet, "/readyz", nil, nil)
}

// NodeStatus is how a node is.
type NodeStatus struct {
	Name  string
	Ready bool
	GPUs  int // that may be asked for
}

func (a *api) nodes(ctx context.Context) ([]NodeStatus, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions  []struct{ Type, Status string }
				Allocatable map[string]string
			}
		}
	}
	if err := a.do(ctx, http.MethodGet, "/api/v1/nodes", nil, &list); err != nil {
		return nil, err
	}
	var nodes []NodeStatus
	for _, item := range list.Items {
		status := NodeStatus{Name: item.Metadata.Name}
		for _, condition := range item.Status.Conditions {
			status.Ready = status.Ready || condition.Type == "Ready" && condition.Status == "True"
		}
		if gpus, found := item.Status.Allocatable["nvidia.com/gpu"]; found {
			count, err := strconv.Atoi(gpus)
			if err != nil {
				return nil, fmt.Errorf("node %s: nvidia.com/gpu: %w", status.Name, err)
			}
			status.GPUs = count
		}
		nodes = append(nodes, status)
	}
	return nodes, nil
}

// missing says what a cluster of this configuration still lacks to be of use, or "".
func (a *api) missing(ctx context.Context, config Config) (string, error) {
	if err := a.ready(ctx); err != nil {
		return "", err
	}
	nodes, err := a.nodes(ctx)
	if err != nil {
		return "", err
	}
	if len(nodes) < config.Nodes {
		return fmt.Sprintf("%d of %d nodes have registered", len(nodes), config.Nodes), nil
	}
	for _, node := range nodes {
		if !node.Ready {
			return fmt.Sprintf("node %s is not ready", node.Name), nil
		}
		if node.GPUs < config.GPUs {
			return fmt.Sprintf("node %s offers %d of %d GPUs", node.Name, node.GPUs, config.GPUs), nil
		}
	}
	err = a.do(ctx, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", nil, nil)
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusNotFound {
		return "the default service account is missing", nil
	}
	return "", err
}

// createStorageClasses makes storage classes from YAML documents; one that exists is left as it is.
func (a *api) createStorageClasses(ctx context.Context, documents []byte) error {
	for document := range bytes.SplitSeq(documents, []byte("\n---\n")) {
		err := a.do(ctx, http.MethodPost, "/apis/storage.k8s.io/v1/storageclasses", document, nil)
		var status *statusError
		if err != nil && !(errors.As(err, &status) && status.code == http.StatusConflict) {
			return err
		}
	}
	return nil
}
