package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// Handler serves the group: GET /programs lists, POST /programs/NAME/stop kills as a crash would,
// POST /programs/NAME/start starts again.
func (g *Group) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /programs", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(g.List()) // an error here is the reader's, who sees it too
	})
	mux.HandleFunc("POST /programs/{name}/stop", func(w http.ResponseWriter, r *http.Request) {
		answer(w, g.Stop(r.PathValue("name"), syscall.SIGKILL))
	})
	mux.HandleFunc("POST /programs/{name}/start", func(w http.ResponseWriter, r *http.Request) {
		answer(w, g.Resume(r.PathValue("name")))
	})
	return mux
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

// Client talks to a group's handler.
type Client struct{ Socket string }

// List returns how every program is.
func (c Client) List(ctx context.Context) ([]Status, error) {
	body, err := c.do(ctx, http.MethodGet, "/programs")
	if err != nil {
		return nil, err
	}
	var list []Status
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("read answer of supervisor: %w", err)
	}
	return list, nil
}

// Stop kills a program and keeps it from being started again.
func (c Client) Stop(ctx context.Context, name string) error {
	_, err := c.do(ctx, http.MethodPost, "/programs/"+name+"/stop")
	return err
}

// Start starts a stopped program.
func (c Client) Start(ctx context.Context, name string) error {
	_, err := c.do(ctx, http.MethodPost, "/programs/"+name+"/start")
	return err
}

func (c Client) do(ctx context.Context, method, path string) ([]byte, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
		},
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask supervisor at %s: %w", c.Socket, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("ask supervisor at %s: %w", c.Socket, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("supervisor: %s", strings.TrimSpace(string(body)))
	}
	return body, nil
}
