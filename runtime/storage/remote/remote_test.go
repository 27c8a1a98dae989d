package remote_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
	"github.com/alignment-dev/alignment-operator/runtime/storage/remote"
	"github.com/alignment-dev/alignment-operator/runtime/storage/storagetest"
)

// quick tries again as often as the trainer, sooner.
var quick = storage.Retry{First: time.Millisecond}

func open(t *testing.T, uri string) (storage.Remote, error) {
	t.Helper()
	return remote.Opener{Getenv: os.Getenv}.Open(t.Context(), uri)
}

func mustOpen(t *testing.T, uri string) storage.Remote {
	t.Helper()
	r, err := open(t, uri)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func bucket(t *testing.T, uri string) storage.Bucket {
	t.Helper()
	return mustOpen(t, uri).(storage.Bucket)
}

// lab is a bucket of a store, with a proxy before it and the environment of a client.
type lab struct {
	uri   string
	proxy *storagetest.Proxy
}

func newLab(t *testing.T, scheme string) lab {
	server := storagetest.Start(t, scheme, "lab")
	proxy := storagetest.NewProxy(t, server.URL)
	storagetest.Setenv(t, server.Env(proxy.URL))
	return lab{scheme + "://lab", proxy}
}

// stores runs a test for each of them that has a server here.
func stores(t *testing.T, test func(*testing.T, lab)) {
	for _, scheme := range storagetest.Schemes {
		t.Run(scheme, func(t *testing.T) { test(t, newLab(t, scheme)) })
	}
}

// heal makes the network a good one.
func (l lab) heal() {
	l.proxy.Set(func(*http.Request) storagetest.Fault { return storagetest.Fault{} })
}

func put(b storage.Bucket, name string, content []byte) error {
	return b.Put(context.Background(), name, bytes.NewReader(content), int64(len(content)), false)
}

func mustPut(t *testing.T, b storage.Bucket, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		if err := put(b, name, content); err != nil {
			t.Fatal(err)
		}
	}
}

func cache(t *testing.T) *storage.Cache {
	return &storage.Cache{Dir: t.TempDir(), Retry: quick, Waiting: func(string) {}, Progress: func(string, int64, int64) {}}
}

// get fetches all of a URI and returns where it is.
func get(t *testing.T, c *storage.Cache, uri string) (string, error) {
	t.Helper()
	r, err := open(t, uri)
	if err != nil {
		return "", err
	}
	list, err := r.List(t.Context())
	if err != nil {
		return "", err
	}
	dir, files, err := c.Get(t.Context(), storage.Key(uri, list), func() (storage.Remote, []storage.Object, error) { return r, list, nil })
	return storage.Path(dir, files), err
}

func holds(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want the %d that were written", name, len(got), err, len(want))
		}
	}
}

// large has two whole pieces and a part of one.
var large = storagetest.Random(70<<20, 1)

func TestStores(t *testing.T) {
	stores(t, testStore)
}

func testStore(t *testing.T, l lab) {
	files := map[string][]byte{"a.jsonl": []byte("{}\n"), "sub/b c?.bin": storagetest.Random(1<<20, 2), "empty": {}, "large": large}
	b := bucket(t, l.uri+"/some/folder")
	mustPut(t, b, files)
	mustPut(t, bucket(t, l.uri+"/some"), map[string][]byte{"folder-not": []byte("x")})
	list, err := b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range list {
		names = append(names, fmt.Sprint(o.Path, " ", o.Size))
	}
	if got, want := strings.Join(names, ", "), "a.jsonl 3, empty 0, large 73400320, sub/b c?.bin 1048576"; got != want {
		t.Errorf("the folder holds %s, want %s", got, want)
	}
	c := cache(t)
	dir, err := get(t, c, l.uri+"/some/folder")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, dir, files)
	file, err := get(t, c, l.uri+"/some/folder/a.jsonl")
	if b, _ := os.ReadFile(file); err != nil || string(b) != "{}\n" || filepath.Base(file) != "a.jsonl" {
		t.Errorf("a file is fetched to %s with %q, %v", file, b, err)
	}
	// What is written once stays what it is.
	if err := b.Put(t.Context(), "a.jsonl", strings.NewReader("other"), 5, true); !errors.Is(err, storage.ErrExists) {
		t.Errorf("made over a file that is there: %v, want ErrExists", err)
	}
	// A file of another size than it had is not written.
	for _, size := range []int64{4, 6, 0} {
		if err := b.Put(t.Context(), "sizes", strings.NewReader("other"), size, false); !errors.Is(err, storage.ErrChanged) {
			t.Errorf("5 bytes of %d: %v, want ErrChanged", size, err)
		}
		if list, err := bucket(t, l.uri+"/some/folder/sizes").List(t.Context()); err != nil || len(list) > 0 {
			t.Errorf("5 bytes of %d: it is there: %v, %v", size, list, err)
		}
	}
	for range 2 {
		if err := b.Delete(t.Context(), "a.jsonl"); err != nil {
			t.Error(err)
		}
	}
	if err := b.Put(t.Context(), "a.jsonl", strings.NewReader("other"), 5, true); err != nil {
		t.Error(err)
	}
	if r, err := bucket(t, l.uri+"/none").List(t.Context()); err != nil || len(r) != 0 {
		t.Errorf("an empty folder: %v, %v", r, err)
	}
	if _, err := bucket(t, strings.Replace(l.uri, "lab", "nobucket", 1)+"/x").List(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no bucket: %v, want fs.ErrNotExist", err)
	}
}

// TestFaults fetches and writes over a network that fails in one way at a time.
func TestFaults(t *testing.T) {
	stores(t, testFaults)
}

func testFaults(t *testing.T, l lab) {
	files := map[string][]byte{"large": large, "small": []byte("small")}
	mustPut(t, bucket(t, l.uri+"/in"), files)
	every := func(n int, f storagetest.Fault) func(*http.Request) storagetest.Fault {
		i := 0
		return func(*http.Request) storagetest.Fault {
			if i++; i%n == 0 {
				return f
			}
			return storagetest.Fault{}
		}
	}
	lose := every(3, storagetest.Fault{Lose: true})
	for name, f := range map[string]func(*http.Request) storagetest.Fault{
		"cut before": every(3, storagetest.Fault{Refuse: true}),
		"cut after": func(r *http.Request) storagetest.Fault {
			if r.URL.Query().Has("upload_id") {
				return storagetest.Fault{} // the test's server of gs:// appends a chunk that comes again, which Google's does not
			}
			return lose(r)
		},
		"cut amid": every(2, storagetest.Fault{Cut: 9 << 20}),
		"short":    every(2, storagetest.Fault{Short: 9 << 20}),
		"503":      every(5, storagetest.Fault{Status: 503, Body: "<Error><Code>SlowDown</Code></Error>"}),
		"500 in a row": func() func(*http.Request) storagetest.Fault {
			left := 9 // more than any client tries by itself
			if strings.HasPrefix(l.uri, "gs:") {
				left = 7 // it is asked once in each of the eight attempts
			}
			return func(*http.Request) storagetest.Fault {
				if left--; left >= 0 {
					return storagetest.Fault{Status: 500}
				}
				return storagetest.Fault{}
			}
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			var list []storage.Object
			remote := mustOpen(t, l.uri+"/in")
			l.proxy.Set(f)
			err := quick.Do(t.Context(), func() (_ bool, err error) {
				list, err = remote.List(t.Context())
				return false, err
			})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err = storage.Download(t.Context(), remote, list, dir, quick); err != nil {
				t.Fatal(err)
			}
			holds(t, dir, files)
			if err := storage.Upload(t.Context(), bucket(t, l.uri+"/out"), dir, []string{"large", "small"}, "", quick); err != nil {
				t.Fatal(err)
			}
			if l.proxy.Faced() == 0 {
				t.Error("no request met a fault")
			}
			l.heal()
			if dir, err = get(t, cache(t), l.uri+"/out"); err != nil {
				t.Fatal(err)
			}
			holds(t, dir, files)
			for name := range files {
				if err := bucket(t, l.uri+"/out").Delete(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	l.proxy.Set(func(*http.Request) storagetest.Fault { return storagetest.Fault{Status: 503} })
	if _, err := get(t, cache(t), l.uri+"/in"); err == nil {
		t.Error("a server that never answers was read")
	}
}

// TestAttempts: a client tries by itself only as often as its own variable says, Google's not at all.
func TestAttempts(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	for _, scheme := range []string{"s3", "gs"} {
		t.Run(scheme, func(t *testing.T) {
			l := newLab(t, scheme)
			b := bucket(t, l.uri)
			once := func(what string, err error) {
				t.Helper()
				if err == nil || l.proxy.Faced() != 1 {
					t.Errorf("%s with %d requests, %v; want 1 that fails", what, l.proxy.Faced(), err)
				}
				l.proxy.Set(func(*http.Request) storagetest.Fault { return storagetest.Fault{Status: 503} })
			}
			l.proxy.Set(func(*http.Request) storagetest.Fault { return storagetest.Fault{Status: 503} })
			_, err := b.List(t.Context())
			once("listed", err)
			once("written", put(b, "x", []byte("x")))
			once("created", b.Put(t.Context(), "x", strings.NewReader("x"), 1, true))
			once("deleted", b.Delete(t.Context(), "x"))
			_, err = b.Read(t.Context(), storage.Object{Path: "x", Size: 1}, 0, 1)
			once("read", err)
		})
	}
}

// TestAccess is refused in every way that a store has. Neither messages nor types give a secret away.
func TestAccess(t *testing.T) {
	answers := func(status int, code string) func(*http.Request) storagetest.Fault {
		return func(*http.Request) storagetest.Fault {
			return storagetest.Fault{Status: status, Body: "<Error><Code>" + code + "</Code></Error>"}
		}
	}
	wrong := base64.StdEncoding.EncodeToString([]byte("wrong-" + storagetest.SecretKey))
	type refusal struct {
		name  string
		env   map[string]string
		fault func(*http.Request) storagetest.Fault
		says  string
	}
	refuses := func(t *testing.T, l lab, refusals []refusal) {
		for _, c := range refusals {
			t.Run(c.name, func(t *testing.T) {
				storagetest.Setenv(t, c.env)
				if c.fault != nil {
					l.proxy.Set(c.fault)
					defer l.heal()
				}
				_, err := get(t, cache(t), l.uri)
				var access *storage.AccessError
				if !errors.As(err, &access) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want an AccessError that names %s", err, c.says)
				}
				if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, storagetest.SecretKey) || strings.Contains(text, wrong) {
					t.Errorf("the message has a secret in it: %v", err)
				}
			})
		}
	}
	for scheme, refusals := range map[string][]refusal{
		"s3": {
			{"expired", nil, answers(400, "ExpiredToken"), "spec.storage.secretName"},
			{"forbidden", nil, answers(403, "AccessDenied"), "AWS_ACCESS_KEY_ID"},
			{"a wrong key", map[string]string{"AWS_SECRET_ACCESS_KEY": "wrong-" + storagetest.SecretKey}, nil, "AWS_SECRET_ACCESS_KEY"},
			{"no key", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, nil, "spec.storage.secretName"},
		},
		"gs": {
			{"expired", nil, answers(401, "AuthenticationRequired"), "spec.storage.secretName"},
			{"forbidden", nil, answers(403, "AccessDenied"), "GOOGLE_CREDENTIALS_JSON"},
			{"a broken key", map[string]string{
				"STORAGE_EMULATOR_HOST": "", "GOOGLE_CREDENTIALS_JSON": `{"type": "service_account", "client_email": "x@y", "private_key": "` + storagetest.SecretKey + `"}`,
			}, nil, "GOOGLE_CREDENTIALS_JSON"},
		},
		"azblob": {
			{"forbidden", nil, answers(403, "AuthorizationFailure"), "AZURE_STORAGE_ACCOUNT"},
			{"a wrong key", map[string]string{"AZURE_STORAGE_KEY": wrong}, nil, "AZURE_STORAGE_KEY"},
		},
	} {
		t.Run(scheme, func(t *testing.T) {
			l := newLab(t, scheme)
			mustPut(t, bucket(t, l.uri), map[string][]byte{"x": []byte("x")})
			refuses(t, l, refusals)
		})
	}
	hub := storagetest.NewHub(t)
	hub.Repos["models/lab/gated"] = storagetest.Repo{Branches: map[string]string{"main": storagetest.Commit("a")}, Gated: true}
	t.Setenv("HF_ENDPOINT", hub.URL)
	refuses(t, lab{uri: "hf://lab/gated"}, []refusal{
		{"gated", nil, nil, "HF_TOKEN"},
		{"a wrong token", map[string]string{"HF_TOKEN": storagetest.SecretKey}, nil, "HF_TOKEN"},
	})
	refuses(t, lab{uri: "azblob://lab"}, []refusal{{"azure without an account", nil, nil, "AZURE_STORAGE_ACCOUNT"}})
}

func TestChanged(t *testing.T) {
	stores(t, func(t *testing.T, l lab) {
		b := bucket(t, l.uri)
		mustPut(t, b, map[string][]byte{"x": []byte("one")})
		list, err := b.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // what all of them tell apart
		mustPut(t, b, map[string][]byte{"x": []byte("two")})
		if err := storage.Download(t.Context(), b, list, t.TempDir(), quick); !errors.Is(err, storage.ErrChanged) {
			t.Errorf("got %v, want ErrChanged", err)
		}
	})
}

func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	l := newLab(t, "s3")
	mustPut(t, bucket(t, l.uri), map[string][]byte{"small": storagetest.Random(300<<10, 1), "other": storagetest.Random(300<<10, 2), "large": storagetest.Random(2<<20, 3)})
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("this machine cannot mount a tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	fill := func() *storage.Cache {
		c := cache(t)
		c.Dir = dir
		return c
	}
	if _, err := get(t, fill(), l.uri+"/large"); !storage.IsDiskFull(err) {
		t.Errorf("got %v, want a full disk", err)
	}
	if _, err := get(t, fill(), l.uri+"/small"); err != nil {
		t.Fatal(err)
	}
	// It also fills while something is written that nobody had counted.
	list, err := mustOpen(t, l.uri+"/large").List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := storage.Download(t.Context(), mustOpen(t, l.uri+"/large"), list, dir, quick); !storage.IsDiskFull(err) {
		t.Errorf("got %v, want a full disk", err)
	}
}

func TestHub(t *testing.T) {
	hub := storagetest.NewHub(t)
	proxy := storagetest.NewProxy(t, mustURL(t, hub.CDN.URL))
	hub.CDN.URL = proxy.URL // what the hub redirects to
	t.Setenv("HF_ENDPOINT", hub.URL)
	t.Setenv("HF_TOKEN", hub.Token)
	one, two := storagetest.Commit("one"), storagetest.Commit("two")
	files := map[string][]byte{"config.json": []byte(`{"a": 1}`), "model.safetensors": large, "sub/x/data.jsonl": []byte("{}\n"), "empty": {}}
	hub.Repos["models/lab/words"] = storagetest.Repo{
		Commits:  map[string]map[string][]byte{one: files, two: {"config.json": []byte("{}")}},
		Branches: map[string]string{"main": one, "refs/pr/1": two}, Gated: true,
	}
	hub.Repos["datasets/lab/pairs"] = hub.Repos["models/lab/words"]
	proxy.Set(func() func(*http.Request) storagetest.Fault {
		n := 0
		return func(*http.Request) storagetest.Fault {
			if n++; n%2 == 1 {
				return storagetest.Fault{Cut: 7 << 20}
			}
			return storagetest.Fault{}
		}
	}())
	c := cache(t)
	dir, err := get(t, c, "hf://lab/words@main")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, dir, files)
	if proxy.Faced() == 0 {
		t.Error("no connection was cut")
	}
	if hub.Leaked {
		t.Error("the token went to another host")
	}
	for uri, want := range map[string]string{
		"hf://lab/words":                                `{"a": 1}`,
		"hf://lab/words@" + two:                         "{}",
		"hf://lab/words@refs%2Fpr%2F1":                  "{}",
		"hf://lab/words@refs%2Fpr%2F1/config.json":      "{}",
		"hf://datasets/lab/pairs@main/sub/x/data.jsonl": "{}\n",
		"hf://datasets/lab/pairs/sub":                   "",
		"hf://lab/words/sub/x":                          "",
	} {
		path, err := get(t, c, uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		switch {
		case strings.HasSuffix(uri, "sub"):
			holds(t, path, map[string][]byte{"x/data.jsonl": []byte("{}\n")})
			continue
		case strings.HasSuffix(uri, "sub/x"):
			holds(t, path, map[string][]byte{"data.jsonl": []byte("{}\n")})
			continue
		}
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			path = filepath.Join(path, "config.json")
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v; want %q", uri, b, err, want)
		}
	}
	r := mustOpen(t, "hf://lab/words").(interface{ Commit() string })
	if r.Commit() != one {
		t.Errorf("main is commit %s, want %s", r.Commit(), one)
	}
	for _, uri := range []string{"hf://lab/none", "hf://lab/words@none", "hf://lab/words@main/none/x"} {
		if path, err := get(t, c, uri); err == nil {
			if entries, _ := os.ReadDir(path); len(entries) > 0 {
				t.Errorf("%s is fetched to %s", uri, path)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", uri, err)
		}
	}
	for _, uri := range []string{"hf://words", "hf://lab", "hf://lab/words@", "hf://lab/words@main/../x", "hf://user@lab/words", "hf://lab:1/words", "hf://lab/words?x=1"} {
		if _, err := open(t, uri); !errors.Is(err, storage.ErrURI) {
			t.Errorf("%s: %v, want ErrURI", uri, err)
		}
	}
	// A branch that moves on does not mix two commits: what was opened stays at its own.
	opened := mustOpen(t, "hf://lab/words")
	hub.Repos["models/lab/words"].Branches["main"] = two
	if list, err := opened.List(t.Context()); err != nil || len(list) != len(files) {
		t.Errorf("after the branch moved, %d files, %v; want the %d of the commit", len(list), err, len(files))
	}
}

// TestHubLies serves other bytes than the tree promises, small ones and large ones.
func TestHubLies(t *testing.T) {
	hub := storagetest.NewHub(t)
	t.Setenv("HF_ENDPOINT", hub.URL)
	for _, size := range []int{10, 5000} {
		commit := storagetest.Commit(fmt.Sprint(size))
		files := map[string][]byte{"x": storagetest.Random(size, 1)}
		hub.Repos["models/lab/words"] = storagetest.Repo{Commits: map[string]map[string][]byte{commit: files}}
		r := mustOpen(t, "hf://lab/words@"+commit)
		list, err := r.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		files["x"] = storagetest.Random(size, 2)
		_, _, err = cache(t).Get(t.Context(), "k", func() (storage.Remote, []storage.Object, error) { return r, list, nil })
		var digest *storage.DigestError
		if !errors.As(err, &digest) {
			t.Errorf("%d bytes: %v, want a DigestError", size, err)
		}
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
