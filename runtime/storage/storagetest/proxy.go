package storagetest

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// Fault is what a Proxy does to a request.
type Fault struct {
	// Refuse cuts the connection before the request reaches the server.
	Refuse bool
	// Lose cuts it after the server has done what was asked, so that its answer is lost.
	Lose bool
	// Cut cuts it after so many bytes of the answer's content; 0 does not.
	Cut int64
	// Short ends the answer, in good order, after so many bytes; 0 does not.
	Short int64
	// Status and Body answer in the server's place; 0 does not.
	Status int
	Body   string
}

// Proxy stands before a server.
type Proxy struct {
	*httptest.Server
	mu    sync.Mutex
	fault func(*http.Request) Fault
	faced int
}

// NewProxy starts a proxy before target, which does nothing to it yet.
func NewProxy(t testing.TB, target *url.URL) *Proxy { return NewProxyAt(t, "127.0.0.1", target) }

// NewProxyAt is NewProxy on an address of this machine.
func NewProxyAt(t testing.TB, host string, target *url.URL) *Proxy {
	t.Helper()
	p := &Proxy{fault: func(*http.Request) Fault { return Fault{} }}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorLog: log.New(io.Discard, "", 0),
		ModifyResponse: func(r *http.Response) error {
			if f, _ := r.Request.Context().Value(faultKey{}).(Fault); f.Short > 0 && r.ContentLength > f.Short {
				r.Body = struct {
					io.Reader
					io.Closer
				}{io.LimitReader(r.Body, f.Short), r.Body}
				r.ContentLength = -1
				r.Header.Del("Content-Length")
			}
			return nil
		},
	}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		f := p.fault(r)
		if f != (Fault{}) {
			p.faced++
		}
		p.mu.Unlock()
		switch {
		case f.Refuse:
			panic(http.ErrAbortHandler)
		case f.Status != 0:
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(f.Status)
			io.WriteString(w, f.Body)
			return
		case f.Lose:
			forward.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case f.Cut > 0:
			w = &cutWriter{w, f.Cut}
		}
		forward.ServeHTTP(w, r.WithContext(withFault(r.Context(), f)))
	}))
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	p.Listener.Close()
	p.Listener = listener
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.Start()
	t.Cleanup(p.Close)
	return p
}

// Set says what is done from now on. fault is called for one request at a time.
func (p *Proxy) Set(fault func(*http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.faced = fault, 0
}

// Faced is how many requests had a fault since Set.
func (p *Proxy) Faced() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faced
}

// cutWriter cuts the connection after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (w *cutWriter) Write(b []byte) (int, error) {
	if int64(len(b)) > w.left {
		w.ResponseWriter.Write(b[:w.left])
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	w.left -= int64(len(b))
	return w.ResponseWriter.Write(b)
}

type faultKey struct{}

func withFault(ctx context.Context, f Fault) context.Context {
	return context.WithValue(ctx, faultKey{}, f)
}
