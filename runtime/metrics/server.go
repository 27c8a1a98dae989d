package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// closeTimeout bounds how long Close waits for answers that are under way.
const closeTimeout = time.Second

// Server answers GET /progress (a runconfig.Progress as JSON), /metrics (Prometheus) and
// /healthz.
type Server struct {
	listener net.Listener
	http     *http.Server
	gauges   *gauges
	progress atomic.Pointer[[]byte]
	served   chan error
}

// Serve listens on address, ":8080" or "127.0.0.1:0". The caller closes the Server.
func Serve(address string) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w", err)
	}
	s := &Server{listener: l, gauges: newGauges(), served: make(chan error, 1)}
	s.Update(runconfig.Progress{Phase: runconfig.PhaseLoading})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /progress", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(*s.progress.Load())
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.gauges.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() { s.served <- s.http.Serve(l) }()
	return s, nil
}

// Address is where the server listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Update replaces what /progress answers. Numbers that JSON cannot hold are left out. It
// also sets the gauges of progress and its metrics, those of each step and, after a resume, of the
// evaluation before it: only some steps are logged.
func (s *Server) Update(p runconfig.Progress) {
	for _, f := range []struct {
		name  string
		value *float64
	}{{"epoch", &p.Epoch}, {"percent", &p.Percent}, {"eta_seconds", &p.ETASeconds}, {"tokens_per_second", &p.TokensPerSecond}} {
		if !finite(*f.value) {
			*f.value = 0
		}
		s.gauges.set(f.name, *f.value)
	}
	s.gauges.set("step", float64(p.Step))
	s.gauges.set("total_steps", float64(p.TotalSteps))
	s.gauges.set("resumed_from", float64(p.ResumedFrom))
	for name, v := range p.Metrics {
		s.gauges.set(name, v)
	}
	p.Metrics = maps.Clone(p.Metrics)
	maps.DeleteFunc(p.Metrics, func(_ string, v float64) bool { return !finite(v) })
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // a Progress of finite numbers always has a JSON form
	}
	b = append(b, '\n')
	s.progress.Store(&b)
}

// Close stops the server; answers under way get a second to finish.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.http.Close()
	}
	if err := <-s.served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
