package storagetest

import (
	"bytes"
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// The servers' only user; Google's knows none.
const (
	AccessKey = "tester"
	SecretKey = "keep-this-out-of-every-message"
)

// Store is a running server of an object store.
type Store struct {
	Scheme string
	URL    *url.URL
	// Dir has S3's buckets as folders, and their objects as files.
	Dir string
	env func(address *url.URL) map[string]string
}

// Schemes are those of all object stores.
var Schemes = []string{"s3", "gs", "azblob"}

// Start starts the server of a scheme, with buckets.
func Start(t testing.TB, scheme string, buckets ...string) *Store {
	t.Helper()
	switch scheme {
	case "s3":
		return StartS3(t, buckets...)
	case "gs":
		return startGoogle(t, buckets...)
	case "azblob":
		return startAzure(t, buckets...)
	}
	t.Fatalf("there is no server of %s://", scheme)
	return nil
}

// StartS3 starts the server that S3_SERVER names, as make test does, with buckets.
func StartS3(t testing.TB, buckets ...string) *Store {
	t.Helper()
	return StartS3At(t, "127.0.0.1", buckets...)
}

// StartS3At is StartS3 on an address of this machine.
func StartS3At(t testing.TB, host string, buckets ...string) *Store {
	t.Helper()
	program := required(t, "S3_SERVER")
	dir := folders(t, buckets)
	return &Store{
		Scheme: "s3", Dir: dir,
		URL: serve(t, host, nil, func(port string) []string {
			// Beside the files, their attributes: not every file system has extended ones.
			return []string{program, "--port", net.JoinHostPort(host, port), "--access", AccessKey, "--secret", SecretKey, "--quiet", "posix", "--sidecar", t.TempDir(), dir}
		}),
		env: func(address *url.URL) map[string]string {
			return map[string]string{
				"AWS_ENDPOINT_URL": address.String(), "AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey, "AWS_REGION": "us-east-1",
				"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
			}
		},
	}
}

// startGoogle starts the server that GCS_SERVER names, as make test does.
func startGoogle(t testing.TB, buckets ...string) *Store {
	t.Helper()
	program, host := required(t, "GCS_SERVER"), "127.0.0.1"
	dir := folders(t, buckets)
	return &Store{
		Scheme: "gs",
		URL: serve(t, host, nil, func(port string) []string {
			return []string{program, "-scheme", "http", "-host", host, "-port", port, "-public-host", host, "-filesystem-root", dir, "-log-level", "error"}
		}),
		env: func(address *url.URL) map[string]string {
			return map[string]string{"STORAGE_EMULATOR_HOST": address.Host}
		},
	}
}

// startAzure starts the server that AZURE_SERVER names: azurite-blob, which needs Node.
func startAzure(t testing.TB, buckets ...string) *Store {
	t.Helper()
	program, host := os.Getenv("AZURE_SERVER"), "127.0.0.1"
	if program == "" {
		t.Skip("AZURE_SERVER is not set to the path of azurite-blob")
	}
	key := base64.StdEncoding.EncodeToString([]byte(SecretKey))
	s := &Store{
		Scheme: "azblob",
		URL: serve(t, host, []string{"AZURITE_ACCOUNTS=" + AccessKey + ":" + key}, func(port string) []string {
			return []string{program, "--blobHost", host, "--blobPort", port, "--location", t.TempDir(), "--skipApiVersionCheck", "--silent"}
		}),
		env: func(address *url.URL) map[string]string {
			return map[string]string{
				"AZURE_STORAGE_ACCOUNT": AccessKey, "AZURE_STORAGE_KEY": key,
				"AZURE_STORAGE_DOMAIN": address.Host, "AZURE_STORAGE_PROTOCOL": "http", "AZURE_STORAGE_IS_LOCAL_EMULATOR": "true",
			}
		},
	}
	for _, b := range buckets {
		credential, err := container.NewSharedKeyCredential(AccessKey, key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := container.NewClientWithSharedKeyCredential(s.URL.JoinPath(AccessKey, b).String(), credential, nil)
		if err == nil {
			_, err = c.Create(context.Background(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// required is a program that make test builds.
func required(t testing.TB, variable string) string {
	t.Helper()
	program := os.Getenv(variable)
	if program == "" && os.Getenv("CI") == "true" {
		t.Fatalf("%s is not set, and CI is: these tests must run", variable)
	}
	if program == "" {
		t.Skipf("%s is not set: `make test` sets it", variable)
	}
	return program
}

// folders are where a server has its buckets.
func folders(t testing.TB, buckets []string) string {
	t.Helper()
	dir := t.TempDir()
	for _, b := range buckets {
		if err := os.Mkdir(filepath.Join(dir, b), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// serve starts a server and waits until it answers.
func serve(t testing.TB, host string, environ []string, command func(port string) []string) *url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	address := &url.URL{Scheme: "http", Host: listener.Addr().String()}
	listener.Close()
	args := command(address.Port())
	var log bytes.Buffer
	c := exec.Command(args[0], args[1:]...)
	c.Env = append(os.Environ(), environ...)
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
		if r, err := http.Get(address.String()); err == nil {
			r.Body.Close()
			return address
		}
		select {
		case <-ended:
			t.Fatalf("%s has ended: %v\n%s", args[0], c.ProcessState, log.Bytes())
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen", args[0])
	return nil
}

// Env is the environment of a client of the server at an address, which may be a proxy's.
func (s *Store) Env(address string) map[string]string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return s.env(u)
}

// Setenv sets the process's environment, which the clients of AWS and Azure read.
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
