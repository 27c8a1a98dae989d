package storagetest

import (
	"bytes"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The S3 server's only user.
const (
	AccessKey = "tester"
	SecretKey = "keep-this-out-of-every-message"
)

// S3 is a running server; a bucket is a folder of Dir.
type S3 struct {
	Dir string
	URL *url.URL
}

// StartS3 starts the server that S3_SERVER names, as make test does, with buckets.
func StartS3(t testing.TB, buckets ...string) *S3 {
	t.Helper()
	return StartS3At(t, "127.0.0.1", buckets...)
}

// StartS3At is StartS3 on an address of this machine.
func StartS3At(t testing.TB, host string, buckets ...string) *S3 {
	t.Helper()
	program := os.Getenv("S3_SERVER")
	if program == "" && os.Getenv("CI") == "true" {
		t.Fatal("S3_SERVER is not set, and CI is: these tests must run")
	}
	if program == "" {
		t.Skip("S3_SERVER is not set: `make test` sets it")
	}
	s := &S3{Dir: t.TempDir()}
	for _, b := range buckets {
		if err := os.Mkdir(filepath.Join(s.Dir, b), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	s.URL = &url.URL{Scheme: "http", Host: address}
	var log bytes.Buffer
	// Beside the files, their attributes: not every file system has extended ones.
	c := exec.Command(program, "--port", address, "--access", AccessKey, "--secret", SecretKey, "--quiet", "posix", "--sidecar", t.TempDir(), s.Dir)
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-ended
	})
	for range 600 {
		if r, err := http.Get(s.URL.String()); err == nil {
			r.Body.Close()
			return s
		}
		select {
		case <-ended:
			t.Fatalf("%s has ended: %v\n%s", program, c.ProcessState, log.Bytes())
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen", program)
	return nil
}

// Env is the environment of a client of the server at an address, which may be a proxy's.
func (s *S3) Env(address string) map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey, "AWS_REGION": "us-east-1",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	}
}

// Setenv sets the process's environment, which the client of AWS reads.
func Setenv(t testing.TB, env map[string]string) {
	t.Helper()
	for k, v := range env {
		t.Setenv(k, v)
	}
}

// Random are n bytes that follow from a seed and that no compression makes fewer.
func Random(n int, seed uint64) []byte {
	b := make([]byte, n)
	for i := range b {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		b[i] = byte(seed)
	}
	return b
}
