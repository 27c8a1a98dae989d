package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/alignment-dev/alignment-operator/hack/demo/corpus"
)

//go:embed manifests
var manifests embed.FS

// heldOut is the fraction of the examples that no stage trains on.
const heldOut = 0.05

// datasetFiles are what the manifests read, and, where a folder of the user's may lack a file, the one that
// is taken for it: preferences can be ranked, and have prompts.
var datasetFiles = []struct{ name, otherwise string }{
	{corpus.SFTTrain, ""}, {corpus.SFTEval, ""},
	{corpus.DPOTrain, ""}, {corpus.DPOEval, ""},
	{corpus.RMTrain, corpus.DPOTrain}, {corpus.RMEval, corpus.DPOEval},
	{corpus.PPOTrain, corpus.DPOTrain}, {corpus.PPOEval, corpus.DPOEval},
}

// prepareData fills the run's data folder: from the Go toolchain, or from the user's files.
func (d *demo) prepareData() error {
	if d.data == "" {
		return d.console.step("Data: the Go toolchain's declarations and their comments", d.makeCorpus)
	}
	return d.console.step("Data: "+d.data, func() error {
		if err := os.MkdirAll(d.path("data"), 0o755); err != nil {
			return err
		}
		info, err := os.Stat(d.data)
		switch {
		case err != nil:
			return err
		case info.IsDir():
			return d.copyFolder()
		}
		return d.splitFile()
	})
}

func (d *demo) makeCorpus() error {
	root, err := output(exec.Command("go", "env", "GOROOT"))
	if err != nil {
		return err
	}
	goroot := strings.TrimSpace(string(root))
	declarations, err := corpus.Collect(os.DirFS(filepath.Join(goroot, "src")))
	if err != nil {
		return err
	}
	// Distributions keep the licence elsewhere; then the folder goes without a copy.
	license, err := os.ReadFile(filepath.Join(goroot, "LICENSE"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	set := corpus.Make(declarations, heldOut, d.seed)
	d.console.printf("    %d declarations: %d + %d demonstrations, %d + %d preferences and as many rankings (training + held out)\n",
		len(declarations), len(set.SFTTrain), len(set.SFTEval), len(set.DPOTrain), len(set.DPOEval))
	return set.Write(d.path("data"), license)
}

// copyFolder takes the files, unpacked when they are .gz.
func (d *demo) copyFolder() error {
	for _, f := range datasetFiles {
		in, err := d.openOwn(f.name)
		if errors.Is(err, fs.ErrNotExist) && f.otherwise != "" {
			in, err = d.openOwn(f.otherwise)
		}
		if err != nil {
			return err
		}
		err = writeFile(d.path("data", f.name), in)
		if err := errors.Join(err, in.Close()); err != nil {
			return err
		}
	}
	return nil
}

// openOwn opens a file of the user's folder, or the same with .gz.
func (d *demo) openOwn(name string) (io.ReadCloser, error) {
	in, err := open(filepath.Join(d.data, name))
	if errors.Is(err, fs.ErrNotExist) {
		return open(filepath.Join(d.data, name+".gz"))
	}
	return in, err
}

// splitFile takes one file of preferences for all stages: of a pair, the SFTJob learns the chosen response,
// the PPOJob takes the prompt. Equal lines are on one side.
func (d *demo) splitFile() error {
	in, err := open(d.data)
	if err != nil {
		return err
	}
	defer in.Close()
	var train, eval bytes.Buffer
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			h := fnv.New64a()
			h.Write(bytes.TrimSpace(line))
			to := &train
			if h.Sum64()%1000 < heldOut*1000 {
				to = &eval
			}
			to.Write(append(bytes.TrimSpace(line), '\n'))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.data, err)
		}
	}
	if train.Len() == 0 || eval.Len() == 0 {
		return fmt.Errorf("%s: has too few lines to hold some out", d.data)
	}
	for i, f := range datasetFiles {
		if err := os.WriteFile(d.path("data", f.name), []*bytes.Buffer{&train, &eval}[i%2].Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

type unpacked struct {
	io.Reader
	io.Closer
}

// open opens a file, and unpacks it when its name ends with .gz.
func open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil || !strings.HasSuffix(path, ".gz") {
		return f, err
	}
	r, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return unpacked{r, f}, nil
}

func writeFile(path string, in io.Reader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}

// uploadData makes the run's namespace and claim, and puts data and base model on the claim.
func (d *demo) uploadData(ctx context.Context) error {
	return d.console.step("Namespace "+d.namespace+" with the data on a claim", func() error {
		if _, err := d.runKubectl(ctx, nil, "create", "namespace", d.namespace); err != nil {
			return err
		}
		claim, err := manifests.ReadFile("manifests/claim.yaml")
		if err != nil {
			return err
		}
		pod, err := manifests.ReadFile("manifests/files.yaml")
		if err != nil {
			return err
		}
		pod = bytes.Replace(pod, []byte("TRAINER_IMAGE"), []byte(d.trainerImage), 1)
		if _, err := d.runKubectl(ctx, bytes.NewReader(bytes.Join([][]byte{claim, pod}, []byte("---\n"))), "--namespace="+d.namespace, "apply", "--filename=-"); err != nil {
			return err
		}
		d.console.progress("waiting for the pod that has the claim")
		if _, err := d.runKubectl(ctx, nil, "--namespace="+d.namespace, "wait", "--for=condition=Ready", "pod/files", "--timeout=3m"); err != nil {
			return err
		}
		d.console.progress("copying the data")
		if err := d.upload(ctx, d.path("data"), "data"); err != nil {
			return err
		}
		if d.base == "" {
			return nil
		}
		d.console.progress("copying %s", d.base)
		return d.upload(ctx, d.base, "base")
	})
}

// claimRoot is where the pod "files" has the claim.
const claimRoot = "/mnt/claims/demo/"

// upload copies a folder to the claim.
func (d *demo) upload(ctx context.Context, from, to string) error {
	return through(func(w io.Writer) error {
		archive := tar.NewWriter(w)
		return errors.Join(archive.AddFS(os.DirFS(from)), archive.Close())
	}, func(r io.Reader) error {
		return d.exec(ctx, r, nil, "data", "import", claimRoot+to)
	})
}

// download copies a folder of the claim.
func (d *demo) download(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	return through(func(w io.Writer) error {
		return d.exec(ctx, nil, w, "data", "export", claimRoot+from)
	}, func(r io.Reader) error { return unpack(root, r) })
}

func unpack(root *os.Root, in io.Reader) error {
	archive := tar.NewReader(in)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := root.MkdirAll(name, 0o755); err != nil {
				return err
			}
			continue
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		f, err := root.Create(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, archive)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
}
