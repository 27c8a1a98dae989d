package controllers_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/alignment-dev/alignment-operator/controllers"
)

func TestProgressReader(t *testing.T) {
	stop := make(chan struct{})
	mux := map[string]http.HandlerFunc{
		"good":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"step":3,"totalSteps":9}`)) },
		"html":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`<html>`)) },
		"NaN":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"epoch":NaN}`)) },
		"error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.com/", http.StatusFound)
		},
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"message":"` + strings.Repeat("x", 100<<10) + `"}`))
		},
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		},
	}
	for name, want := range map[string]string{
		"good": "", "html": "invalid character", "NaN": "invalid character", "error": "500", "redirect": "302", "huge": "more than 65536 bytes", "hangs": "imeout",
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(mux[name])
			defer srv.Close()
			u, err := url.Parse(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			port, err := strconv.Atoi(u.Port())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			p, err := controllers.NewProgressReader(port).Read(ctx, &corev1.Pod{Status: corev1.PodStatus{PodIP: u.Hostname()}})
			switch {
			case want == "" && (err != nil || p.Step != 3 || p.TotalSteps != 9):
				t.Errorf("got %+v, %v", p, err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("got %+v, %v, want an error with %q", p, err, want)
			}
		})
	}
	close(stop)
	if _, err := controllers.NewProgressReader(1).Read(t.Context(), &corev1.Pod{}); err == nil {
		t.Error("a pod without an address was asked")
	}
}
