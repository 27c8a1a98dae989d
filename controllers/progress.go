package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

const (
	progressTimeout = 2 * time.Second
	progressLimit   = 64 << 10
)

// ProgressReader asks trainers for their progress. What answers may be anything: it is given
// little time and little room, and its redirects are not followed.
type ProgressReader struct {
	client *http.Client
	port   int
}

// NewProgressReader reads from a port of pods; runconfig.Port outside tests.
func NewProgressReader(port int) *ProgressReader {
	return &ProgressReader{
		port: port,
		client: &http.Client{
			Timeout:   progressTimeout,
			Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}
}

// Read is one GET /progress of a pod.
func (r *ProgressReader) Read(ctx context.Context, pod *corev1.Pod) (*runconfig.Progress, error) {
	if pod.Status.PodIP == "" {
		return nil, errors.New("read progress: the pod has no address yet")
	}
	url := "http://" + net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(r.port)) + "/progress"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("read progress: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read progress: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read progress: %s", resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, progressLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read progress: %w", err)
	}
	if len(b) > progressLimit {
		return nil, fmt.Errorf("read progress: more than %d bytes", progressLimit)
	}
	var p runconfig.Progress
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("read progress: %w", err)
	}
	return &p, nil
}
