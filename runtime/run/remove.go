package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/metrics"
	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// errForeign is a folder that no stage has written.
var errForeign = errors.New("not a stage's folder, nothing is removed")

// Remove deletes a stage's folder with all of its runs, checkpoints and states. It follows no symbolic link
// and refuses, before it deletes anything, a folder that holds anything but runs; one that is not there is
// as good as removed. removed is told each folder that is gone. The folder is an absolute path, or a URI that open opens.
func Remove(ctx context.Context, folder string, open func(context.Context, string) (storage.Remote, error), removed func(path string)) runconfig.Result {
	result := runconfig.Result{ExitCode: runconfig.ExitDone, Reason: runconfig.ReasonSucceeded}
	var n int
	var err error
	if filepath.IsAbs(folder) {
		n, err = remove(folder, removed)
	} else {
		n, err = removeRemote(ctx, folder, open, removed)
	}
	switch {
	case errors.Is(err, errForeign):
		result.ExitCode, result.Reason = runconfig.ExitInvalid, runconfig.ReasonInvalidConfig
	case err != nil:
		result.ExitCode, result.Reason = runconfig.ExitError, runconfig.ReasonError
	}
	if result.Message = fmt.Sprintf("removed %s with %d runs", folder, n); err != nil {
		result.Message = fmt.Sprintf("remove %s: %v", folder, err)
	}
	return result
}

func remove(folder string, removed func(path string)) (n int, err error) {
	if !filepath.IsAbs(folder) || filepath.Clean(folder) != folder || filepath.Dir(folder) == folder {
		return 0, fmt.Errorf("%w: want an absolute path without . and ..", errForeign)
	}
	parent, err := openFolder(filepath.Dir(folder))
	if err != nil {
		return 0, absent(err)
	}
	defer parent.Close()
	name := filepath.Base(folder)
	stage, err := openIn(parent, name)
	if err != nil {
		return 0, absent(err)
	}
	defer stage.Close()
	runs, err := runsIn(stage)
	if err != nil {
		return 0, err
	}
	for _, run := range runs {
		// Under another name first: half a checkpoint must not be taken for one, and a removal that is
		// killed here finds a folder that it knows again.
		doomed := run
		if !storage.IsTemp(run) {
			doomed = storage.TempName(run)
			if err := stage.Rename(run, doomed); err != nil {
				return n, err
			}
		}
		if err := stage.RemoveAll(doomed); err != nil {
			return n, err
		}
		removed(filepath.Join(folder, run))
		n++
	}
	if err := parent.Remove(name); err != nil {
		return n, err
	}
	removed(folder)
	return n, nil
}

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// openFolder opens a folder by an absolute path of which no part is a symbolic link.
func openFolder(path string) (*os.Root, error) {
	root, err := os.OpenRoot("/")
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' }) {
		if err != nil {
			return nil, err
		}
		var next *os.Root
		next, err = openIn(root, name)
		root.Close()
		root = next
	}
	return root, err
}

// openIn opens a folder's own folder, and no link in its place: what is open must be what has the name.
func openIn(root *os.Root, name string) (*os.Root, error) {
	named, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !named.IsDir() {
		return nil, fmt.Errorf("%w: %q is a symbolic link or a file", errForeign, name)
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := dir.Stat(".")
	if err == nil && !os.SameFile(named, opened) {
		err = fmt.Errorf("%w: %q has become another folder meanwhile", errForeign, name)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// runFolder is the name of a run's folder, or of one whose removal was cut short.
var runFolder = regexp.MustCompile(`^(` + regexp.QuoteMeta(storage.TempName("")) + `)?[0-9a-f]{12}$`)

// runsIn are the runs of a stage, which must hold nothing else.
func runsIn(stage *os.Root) (runs []string, err error) {
	entries, err := fs.ReadDir(stage.FS(), ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || !runFolder.MatchString(e.Name()) {
			return nil, fmt.Errorf("%w: %q is no run", errForeign, e.Name())
		}
		if !storage.IsTemp(e.Name()) {
			if err := checkRun(stage, e.Name()); err != nil {
				return nil, err
			}
		}
		runs = append(runs, e.Name())
	}
	return runs, nil
}

// checkRun looks whether a run wrote a folder: it is published, or holds states, or nothing that a run does
// not write.
func checkRun(stage *os.Root, name string) error {
	dir, err := openIn(stage, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if st, err := dir.Lstat(checkpoint.ManifestFile); err == nil && st.Mode().IsRegular() {
		return nil
	}
	if st, err := dir.Lstat(checkpoint.StateFolder); err == nil && st.IsDir() {
		states, err := fs.ReadDir(dir.FS(), checkpoint.StateFolder)
		if err != nil {
			return err
		}
		for _, e := range states {
			if !checkpoint.IsState(e.Name()) {
				return fmt.Errorf("%w: %q is no state of a run", errForeign, filepath.Join(name, checkpoint.StateFolder, e.Name()))
			}
		}
		return nil
	}
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !storage.IsTemp(e.Name()) && !checkpoint.IsWeights(e.Name()) && !slices.Contains(written, e.Name()) {
			return fmt.Errorf("%w: no run has written %q", errForeign, filepath.Join(name, e.Name()))
		}
	}
	return nil
}

// written is what a run leaves beside its manifest, states and weights.
var written = append([]string{resultFile, reportFile, samplesFile, metrics.HistoryFile, metrics.TensorBoardFolder, storage.LockFile}, published...)
