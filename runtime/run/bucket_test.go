package run_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/data/inspect"
	"github.com/alignment-dev/alignment-operator/runtime/run"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
	"github.com/alignment-dev/alignment-operator/runtime/storage/remote"
	"github.com/alignment-dev/alignment-operator/runtime/storage/storagetest"
)

// lab is an object store's server with a bucket of that name, the data of a small language in it, and a proxy before it.
type lab struct {
	*testing.T
	server *storagetest.Store
	uri    string
	proxy  *storagetest.Proxy
	cache  string
	log    logr.Logger
}

func newLab(t *testing.T, scheme string) *lab {
	server := storagetest.Start(t, scheme, "lab")
	l := &lab{t, server, scheme + "://lab", storagetest.NewProxy(t, server.URL), t.TempDir(), testr.New(t)}
	storagetest.Setenv(t, server.Env(l.proxy.URL))
	t.Setenv("AWS_MAX_ATTEMPTS", "1") // what fails here is not mended by trying again
	data := t.TempDir()
	words(t, data)
	if err := storage.Upload(t.Context(), l.open(l.uri+"/data").(storage.Bucket), data, []string{"sft.jsonl", "pairs.jsonl", "ranked.jsonl", "prompts.jsonl"}, "", storage.Retry{}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) open(uri string) storage.Remote {
	l.Helper()
	r, err := l.env().Open(l.Context(), uri)
	if err != nil {
		l.Fatal(err)
	}
	return r
}

// path is where the server of S3 keeps an object.
func (l *lab) path(key string) string { return filepath.Join(l.server.Dir, "lab", key) }

// copied is a copy of what is below a URI.
func (l *lab) copied(uri string) (dir string) {
	l.Helper()
	r, dir := l.open(uri), l.TempDir()
	objects, err := r.List(l.Context())
	if err == nil {
		err = storage.Download(l.Context(), r, objects, dir, storage.Retry{})
	}
	if err != nil {
		l.Fatal(err)
	}
	return dir
}

func (l *lab) env() run.Environment {
	return run.Environment{
		Now: time.Now, Log: l.log, Version: "test", Open: remote.Opener{Getenv: os.Getenv}.Open,
		Retry: storage.Retry{Attempts: 2, First: time.Millisecond},
	}
}

// sft is a run from the store to the store.
func (l *lab) sft(out string) *runconfig.RunConfig {
	c := sftConfig("", "")
	c.Data.Train[0].URI = l.uri + "/data/sft.jsonl"
	c.Output.URI = l.uri + "/" + out
	c.Placement.Cache = l.cache
	return c
}

func (l *lab) run(ctx context.Context, c *runconfig.RunConfig, progress func(runconfig.Progress)) runconfig.Result {
	l.Helper()
	if err := c.Validate(); err != nil {
		l.Fatal(err)
	}
	env := l.env()
	env.Progress = progress
	return run.Run(ctx, c, env)
}

func (l *lab) publishes(c *runconfig.RunConfig) runconfig.Result {
	l.Helper()
	r := l.run(l.Context(), c, nil)
	if r.ExitCode != runconfig.ExitDone || r.Output == nil {
		l.Fatalf("got exit code %d (%s): %s", r.ExitCode, r.Reason, r.Message)
	}
	if _, err := checkpoint.Verify(l.copied(c.Output.URI), r.Output.Digest); err != nil {
		l.Fatal(err)
	}
	return r
}

// TestStores trains SFT from data in a store to the store, and gets what it gets of files. Run again, it adopts that.
func TestStores(t *testing.T) {
	for _, scheme := range storagetest.Schemes {
		t.Run(scheme, func(t *testing.T) {
			l := newLab(t, scheme)
			dir := t.TempDir()
			mustPublish(t, sftConfig(filepath.Join(l.copied(l.uri+"/data"), "sft.jsonl"), dir+"/sft"))

			sft := l.publishes(l.sft("out/sft"))
			out := l.copied(l.uri + "/out/sft")
			if got, want := digestOfWeights(t, out), digestOfWeights(t, dir+"/sft"); got != want {
				t.Errorf("the weights are %s, those of the same run on files %s", got, want)
			}
			for _, name := range []string{"result.json", "report.html", "metrics.jsonl", "samples.jsonl"} {
				if _, err := os.Stat(filepath.Join(out, name)); err != nil {
					t.Error(err)
				}
			}
			if left, err := os.ReadDir(filepath.Join(out, "state")); err == nil && len(left) > 0 {
				t.Errorf("states are left: %v", left)
			}
			if left, err := filepath.Glob(l.cache + "/run-*"); err != nil || len(left) > 0 {
				t.Errorf("the folders that runs worked in are left: %v", left)
			}
			again := l.publishes(l.sft("out/sft"))
			if !again.Adopted || again.Output.Digest != sft.Output.Digest || again.Step != sft.Step {
				t.Errorf("run again: %+v, want the first one's checkpoint adopted", again)
			}
		})
	}
}

// TestBucketChain trains DPO from SFT's checkpoint in a store.
func TestBucketChain(t *testing.T) {
	l := newLab(t, "s3")
	sft := l.publishes(l.sft("out/sft"))
	dpo := l.sft("out/dpo")
	dpo.Method, dpo.Objective = runconfig.DPO, &runconfig.Objective{Type: "DPO"}
	dpo.Model = runconfig.Model{Source: runconfig.Source{URI: "s3://lab/out/sft", Digest: sft.Output.Digest}}
	dpo.Data.Train[0].URI = "s3://lab/data/pair*.jsonl"
	dpo.Training.LearningRate = 1e-3
	dpo.SetDefaults()
	result := l.publishes(dpo)
	if !slices.ContainsFunc(result.Inputs, func(a runconfig.Artifact) bool { return a.Role == "model" && a.Digest == sft.Output.Digest }) {
		t.Errorf("the inputs are %+v, want the SFT's checkpoint among them", result.Inputs)
	}

	// What is fetched by digest is not asked for again, and is verified.
	model, err := filepath.Glob(filepath.Join(l.cache, storage.DigestKey(sft.Output.Digest), "files/model.safetensors"))
	if err != nil || len(model) != 1 {
		t.Fatalf("the cache has %v of the model, %v", model, err)
	}
	if err := os.WriteFile(model[0], []byte("torn"), 0o644); err != nil {
		t.Fatal(err)
	}
	dpo.Seed = 2
	dpo.Output.URI = "s3://lab/out/dpo2"
	l.publishes(dpo)

	// Another's bytes under the promised digest are refused.
	if err := os.WriteFile(model[0], []byte("torn"), 0o644); err != nil {
		t.Fatal(err)
	}
	other := l.sft("out/sft")
	other.Output.URI = "s3://lab/out/other"
	other.Model.Init["hidden_size"] = 16
	l.publishes(other)
	b, err := os.ReadFile(l.path("out/other/model.safetensors"))
	if err == nil {
		err = os.WriteFile(l.path("out/sft/model.safetensors"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	dpo.Seed = 3
	dpo.Output.URI = "s3://lab/out/dpo3"
	if r := l.run(t.Context(), dpo, nil); r.ExitCode != runconfig.ExitInvalid || r.Reason != runconfig.ReasonDigestMismatch {
		t.Errorf("other weights: exit code %d (%s): %s, want a digest mismatch", r.ExitCode, r.Reason, r.Message)
	}
}

func digestOfWeights(t *testing.T, dir string) string {
	t.Helper()
	d, err := storage.DigestFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestBucketResume loses the machine after a state, and one write into the next.
func TestBucketResume(t *testing.T) {
	l := newLab(t, "s3")
	want := l.publishes(l.sft("out/whole")).Output.Digest
	for _, c := range []struct {
		name    string
		object  string // at whose write everything ends
		resumed int
	}{
		{"first file of a state", "state/step-6/policy.safetensors", 3},
		{"manifest of a state", "state/step-6/manifest.json", 3},
		{"manifest of a later state", "state/step-9/manifest.json", 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &lab{t, l.server, l.uri, l.proxy, t.TempDir(), testr.New(t)}
			out := "out/" + strings.ReplaceAll(c.name, " ", "-")
			down := false
			l.proxy.Set(func(r *http.Request) storagetest.Fault {
				down = down || r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, c.object)
				return storagetest.Fault{Refuse: down}
			})
			if r := l.run(t.Context(), l.sft(out), nil); r.ExitCode != runconfig.ExitError || !down {
				t.Fatalf("got exit code %d (%s): %s, want %d", r.ExitCode, r.Reason, r.Message, runconfig.ExitError)
			}
			l.proxy.Set(func(*http.Request) storagetest.Fault { return storagetest.Fault{} })
			// Another machine: nothing of the first one is there.
			l.cache = t.TempDir()
			first := -1
			r := l.run(t.Context(), l.sft(out), func(p runconfig.Progress) {
				if first < 0 && p.Phase == runconfig.PhaseTraining {
					first = p.Step
				}
			})
			if r.Output == nil || r.Output.Digest != want {
				t.Errorf("resumed, it publishes %+v (%s), want %s as undisturbed", r.Output, r.Message, want)
			}
			if first < c.resumed || first > c.resumed+1 {
				t.Errorf("it went on from step %d, want %d", first, c.resumed)
			}
			history, err := os.ReadFile(l.path(out + "/metrics.jsonl"))
			if n := strings.Count(string(history), `"step":1,`); err != nil || n != 1 {
				t.Errorf("the metrics have step 1 %d times, %v", n, err)
			}
		})
	}
}

// TestBucketPublishIsAllOrNothing ends a publication at each of its writes in turn, before the store has it and after, as
// when the trainer is killed there. No reader sees a checkpoint until the last write, which is the manifest's, and the
// next attempt publishes what an undisturbed one does.
func TestBucketPublishIsAllOrNothing(t *testing.T) {
	for _, scheme := range []string{"s3", "gs"} {
		t.Run(scheme, func(t *testing.T) { newLab(t, scheme).publishesAllOrNothing() })
	}
}

func (l *lab) publishesAllOrNothing() {
	t := l.T
	short := func(out string) *runconfig.RunConfig {
		c := l.sft(out)
		c.Training.MaxSteps, c.Checkpoint.EverySteps, c.Evaluation.Samples, c.Evaluation.EverySteps = 1, 0, 0, 0
		c.Data.EvalFraction = 0
		return c
	}
	want := l.publishes(short("out/whole")).Output.Digest
	for _, lose := range []bool{false, true} {
		for n := 1; ; n++ {
			out := fmt.Sprintf("out/%v-%d", lose, n)
			writes, wrote := 0, ""
			l.proxy.Set(func(r *http.Request) storagetest.Fault {
				if r.Method == http.MethodPut || r.Method == http.MethodPost {
					writes++
				}
				switch {
				case writes < n:
					return storagetest.Fault{}
				case writes == n && wrote == "":
					wrote = cmp.Or(r.URL.Query().Get("name"), r.URL.Path) // an object, as Google and as the others have it
					return storagetest.Fault{Refuse: !lose, Lose: lose}
				}
				return storagetest.Fault{Refuse: true}
			})
			result := l.run(t.Context(), short(out), nil)
			l.proxy.Set(func(*http.Request) storagetest.Fault { return storagetest.Fault{} })
			if result.ExitCode == runconfig.ExitDone {
				if n <= 7 {
					t.Errorf("a run that could make %d writes has published", n-1)
				}
				break
			}
			seen := run.Lookup(t.Context(), short(out), l.env())
			manifest := strings.HasSuffix(wrote, checkpoint.ManifestFile)
			switch {
			case manifest && lose: // it is published, whatever the trainer has heard of it
				if seen.Output == nil || seen.Output.Digest != want {
					t.Errorf("after write %d, of the manifest, a reader sees %+v: %s", n, seen.Output, seen.Message)
				}
			case seen.Output != nil || seen.ExitCode != runconfig.ExitDone:
				t.Errorf("after write %d, of %s, a reader sees %+v (exit code %d: %s)", n, wrote, seen.Output, seen.ExitCode, seen.Message)
			}
			if r := l.run(t.Context(), short(out), nil); r.Output == nil || r.Output.Digest != want {
				t.Errorf("after write %d, the next attempt publishes %+v (%s), want %s", n, r.Output, r.Message, want)
			}
		}
	}
}

// TestBucketRefusals are errors that name the field and say what is missing, and none of them has a secret in it.
func TestBucketRefusals(t *testing.T) {
	l := newLab(t, "s3")
	for name, c := range map[string]struct {
		change func(*runconfig.RunConfig)
		env    map[string]string
		reason string
		says   []string
	}{
		"no credentials": {func(*runconfig.RunConfig) {}, map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
			runconfig.ReasonInvalidConfig, []string{"data.train[0].uri", "s3://lab/data/sft.jsonl", "spec.storage.secretName"}},
		"no such file": {func(c *runconfig.RunConfig) { c.Data.Train[0].URI = "s3://lab/data/none.jsonl" }, nil,
			runconfig.ReasonInvalidData, []string{"data.train[0].uri", "s3://lab/data/none.jsonl", "does not exist"}},
		"no such bucket": {func(c *runconfig.RunConfig) { c.Data.Train[0].URI = "s3://none/data/none.jsonl" }, nil,
			runconfig.ReasonInvalidData, []string{"data.train[0].uri", "does not exist"}},
		"another file": {func(c *runconfig.RunConfig) { c.Data.Train[0].Digest = storage.Digest(nil) }, nil,
			runconfig.ReasonDigestMismatch, []string{"data.train[0].uri", "digest mismatch"}},
		"a cache that is too small": {func(c *runconfig.RunConfig) { c.Placement.CacheLimit = 10 }, nil,
			runconfig.ReasonDiskFull, []string{"data.train[0].uri", "limit"}},
		"no cache": {func(c *runconfig.RunConfig) { c.Placement.Cache = "" }, nil,
			runconfig.ReasonInvalidConfig, []string{"placement.cache"}},
	} {
		t.Run(name, func(t *testing.T) {
			storagetest.Setenv(t, c.env)
			config := l.sft("out/refused")
			c.change(config)
			r := l.run(t.Context(), config, nil)
			if r.ExitCode != runconfig.ExitInvalid || r.Reason != c.reason {
				t.Errorf("exit code %d (%s): %s, want %s", r.ExitCode, r.Reason, r.Message, c.reason)
			}
			for _, s := range c.says {
				if !strings.Contains(r.Message, s) {
					t.Errorf("the message is %q, want %q in it", r.Message, s)
				}
			}
			if strings.Contains(r.Message, storagetest.SecretKey) {
				t.Errorf("the message has a secret in it: %s", r.Message)
			}
		})
	}
	// What is refused once training has begun may be a session that has ended: the next pod has new credentials.
	l.proxy.Set(func(r *http.Request) storagetest.Fault {
		if r.Method == http.MethodPut {
			return storagetest.Fault{Status: 400, Body: "<Error><Code>ExpiredToken</Code></Error>"}
		}
		return storagetest.Fault{}
	})
	if r := l.run(t.Context(), l.sft("out/expired"), nil); r.ExitCode != runconfig.ExitError || !strings.Contains(r.Message, "secretName") {
		t.Errorf("a session that ends while training: exit code %d (%s): %s, want %d", r.ExitCode, r.Reason, r.Message, runconfig.ExitError)
	}
}

// TestHubRun trains on a hub's dataset and records the commit.
func TestHubRun(t *testing.T) {
	hub := storagetest.NewHub(t)
	t.Setenv("HF_ENDPOINT", hub.URL)
	t.Setenv("HF_TOKEN", hub.Token)
	dir := t.TempDir()
	f := words(t, dir)
	mustPublish(t, sftConfig(f.sft, dir+"/base"))
	repo := func(from string, names ...string) storagetest.Repo {
		files := map[string][]byte{}
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(from, name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = b
		}
		return storagetest.Repo{Commits: map[string]map[string][]byte{storagetest.Commit("x"): files}, Branches: map[string]string{"v1": storagetest.Commit("x")}, Gated: true}
	}
	hub.Repos["datasets/lab/words"] = repo(dir, "pairs.jsonl")
	// As the hub has most models: without a manifest, with files of other frameworks.
	hub.Repos["models/lab/base"] = repo(dir+"/base", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
	hub.Repos["models/lab/base"].Commits[storagetest.Commit("x")]["pytorch_model.bin"] = storagetest.Random(5000, 1)
	c := dpoConfig("", "", dir+"/dpo")
	c.Model.URI = "hf://lab/base@v1"
	c.Data.Train[0].URI = "hf://datasets/lab/words@v1/pairs.jsonl"
	c.Placement.Cache = dir + "/cache"
	l := &lab{T: t, log: testr.New(t)}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Placement.Address = port.Addr().String()
	port.Close()
	served := "" // while the model is fetched
	r := l.run(t.Context(), c, func(p runconfig.Progress) {
		if served == "" && strings.HasPrefix(p.Message, "Fetching hf://lab/base") {
			if answer, err := http.Get("http://" + c.Placement.Address + "/progress"); err == nil {
				b, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				served = string(b)
			}
		}
	})
	if r.Output == nil {
		t.Fatalf("exit code %d (%s): %s", r.ExitCode, r.Reason, r.Message)
	}
	if !strings.Contains(served, `"phase":"Loading"`) {
		t.Errorf("while it fetches, it answers %q", served)
	}
	c.Placement.Address = ""
	inspected := dpoConfig("", "", dir+"/dpo")
	inspected.Model.URI, inspected.Data.Train[0].URI, inspected.Placement.Cache = c.Model.URI, c.Data.Train[0].URI, t.TempDir()
	report, err := run.Inspect(t.Context(), inspected, l.env(), inspect.Options{})
	if err != nil || report.Lists[0].Examples != 200 {
		t.Errorf("inspected: %+v, %v", report, err)
	}
	if weights, _ := filepath.Glob(inspected.Placement.Cache + "/*/files/*.safetensors"); len(weights) > 0 {
		t.Errorf("%v was fetched to look at data", weights)
	}
	m, _, err := checkpoint.ReadManifest(dir + "/dpo")
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range m.Inputs {
		if in.Commit != storagetest.Commit("x") || in.Digest == "" {
			t.Errorf("the manifest's input is %+v, want commit and digest", in)
		}
	}
	if left, _ := filepath.Glob(dir + "/cache/*/files/pytorch_model.bin"); len(left) > 0 {
		t.Errorf("%v was fetched, which nothing loads", left)
	}
	// An adapter goes on the commit that it was trained on, wherever the branch is by then.
	adapter := withLoRA(sftConfig(dir+"/sft.jsonl", dir+"/adapter"), runconfig.LoRA{Rank: 2, Publish: runconfig.PublishAdapter})
	adapter.Model = runconfig.Model{Source: runconfig.Source{URI: "hf://lab/base@v1"}}
	adapter.Placement.Cache = dir + "/cache"
	trained := l.run(t.Context(), adapter, nil)
	if trained.Output == nil {
		t.Fatalf("exit code %d (%s): %s", trained.ExitCode, trained.Reason, trained.Message)
	}
	moved := hub.Repos["models/lab/base"]
	moved.Commits[storagetest.Commit("y")] = map[string][]byte{"config.json": []byte("{}")}
	moved.Branches["v1"] = storagetest.Commit("y")
	onAdapter := dpoConfig(dir+"/adapter", dir+"/pairs.jsonl", dir+"/aligned")
	onAdapter.Placement.Cache = dir + "/cache"
	for _, base := range []*runconfig.Source{nil, {URI: "hf://lab/base@v1", Digest: trained.Inputs[0].Digest}} { // the latter is the operator's
		onAdapter.Model.Base = base
		if r := l.run(t.Context(), onAdapter, nil); r.Output == nil || r.Inputs[1].Role != "modelBase" || r.Inputs[1].Digest != trained.Inputs[0].Digest {
			t.Errorf("from the adapter: exit code %d (%s): %s; inputs %+v", r.ExitCode, r.Reason, r.Message, r.Inputs)
		}
		onAdapter.Output.URI += "-again"
	}
	// The digest that a run has seen may be asked for.
	moved.Branches["v1"] = storagetest.Commit("x")
	c.Model.Digest, c.Output.URI = trained.Inputs[0].Digest, "file://"+dir+"/pinned"
	if r := l.run(t.Context(), c, nil); r.Output == nil {
		t.Errorf("with the folder's digest: exit code %d (%s): %s", r.ExitCode, r.Reason, r.Message)
	}
	moved.Branches["v1"] = storagetest.Commit("y")
	c.Output.URI += "-moved"
	if r := l.run(t.Context(), c, nil); r.Reason != runconfig.ReasonDigestMismatch || !strings.Contains(r.Message, "model.digest") {
		t.Errorf("with the digest of another commit: exit code %d (%s): %s", r.ExitCode, r.Reason, r.Message)
	}
	// Nothing but a reader.
	c.Output.URI = "hf://lab/out"
	if err := c.Validate(); err == nil {
		t.Error("a hub is taken for an output")
	}
}

func TestRemoveFromBucket(t *testing.T) {
	l := newLab(t, "s3")
	open := l.env().Open
	tree(t, l.path(""), "ns/stage/0123456789ab/manifest.json", "ns/stage/0123456789ab/notes", "ns/stage/aaaaaaaaaaaa/state/step-3/trainer.json",
		"ns/stage/bbbbbbbbbbbb/metrics.jsonl", "ns/stage-2/0123456789ab/manifest.json", "ns/bad/0123456789ab/precious", "ns/worse/precious", "ns/worse/0123456789ab/manifest.json")
	for folder, exit := range map[string]int{
		"s3://lab/ns": runconfig.ExitInvalid, "s3://lab": runconfig.ExitInvalid, "s3://lab/": runconfig.ExitInvalid, "s3://lab/ns/bad": runconfig.ExitInvalid,
		"s3://lab/ns/worse": runconfig.ExitInvalid, "s3://lab/ns/stage/": runconfig.ExitInvalid, "hf://lab/ns/stage": runconfig.ExitInvalid, "s3://none/ns/stage": runconfig.ExitInvalid,
		"s3://lab/ns/never": runconfig.ExitDone,
	} {
		r := run.Remove(t.Context(), folder, open, func(path string) {
			if exit != runconfig.ExitDone {
				t.Errorf("%s: removed %s", folder, path)
			}
		})
		if r.ExitCode != exit {
			t.Errorf("%s: exit code %d: %s, want %d", folder, r.ExitCode, r.Message, exit)
		}
	}
	if r := run.Remove(t.Context(), "s3://lab/ns/stage", open, func(string) {}); r.ExitCode != runconfig.ExitDone {
		t.Fatal(r.Message)
	}
	var left []string
	for _, name := range list(t, l.path("ns")) {
		if st, err := os.Stat(l.path("ns/" + name)); err == nil && st.Mode().IsRegular() {
			left = append(left, name)
		}
	}
	if got, want := strings.Join(left, " "), "bad/0123456789ab/precious stage-2/0123456789ab/manifest.json worse/0123456789ab/manifest.json worse/precious"; got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
}
