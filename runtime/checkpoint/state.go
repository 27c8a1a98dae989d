package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// StateFolder is where resume states live below a run's output, a folder step-N each.
const StateFolder = "state"

const (
	stepPrefix = "step-"
	// ReferenceName is of what is kept beside the states: what a run has computed of its reference.
	ReferenceName = "reference"
)

// SaveState saves what a run needs to go on after step as <out>/state/step-N. write fills
// an empty folder; it appears under its name only when whole and on the disk. States older
// than the keepLast newest are then removed. When anything fails, the older states are
// untouched and nothing is left of the new one.
//
// A complete state of the same step is kept and write is not called: two runs of one hash
// have the same states.
func SaveState(out string, step, keepLast int, write func(dir string) error) error {
	if step < 0 || keepLast < 1 {
		return fmt.Errorf("save state: step %d, keepLast %d", step, keepLast)
	}
	root := filepath.Join(out, StateFolder)
	name := stepPrefix + strconv.Itoa(step)
	dir, temp := filepath.Join(root, name), filepath.Join(root, storage.TempName(name))
	if ok, err := complete(dir); err != nil || ok {
		return err
	}
	if err := writeState(root, dir, temp, write); err != nil {
		return fmt.Errorf("save state %s: %w", dir, err)
	}
	steps, err := savedSteps(out)
	if err != nil {
		return fmt.Errorf("prune states: %w", err)
	}
	// Later steps than this one are torn, or the run would have begun there.
	steps = slices.DeleteFunc(steps, func(s int) bool { return s > step })
	for _, s := range steps[min(keepLast, len(steps)):] {
		if err := os.RemoveAll(filepath.Join(root, stepPrefix+strconv.Itoa(s))); err != nil {
			return fmt.Errorf("prune states: %w", err)
		}
	}
	return nil
}

// SaveReference saves what a run has computed of its reference as <out>/state/reference, as SaveState does a state. One
// that is there is replaced.
func SaveReference(out string, write func(dir string) error) error {
	root := filepath.Join(out, StateFolder)
	dir := filepath.Join(root, ReferenceName)
	if err := writeState(root, dir, filepath.Join(root, storage.TempName(ReferenceName)), write); err != nil {
		return fmt.Errorf("save %s: %w", dir, err)
	}
	return nil
}

// FindReference is the folder that SaveReference has written, if it is whole; else dir is "".
func FindReference(out string) (dir string, err error) {
	dir = filepath.Join(out, StateFolder, ReferenceName)
	ok, err := complete(dir)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", dir, err)
	}
	if !ok {
		return "", nil
	}
	return dir, nil
}

func writeState(root, dir, temp string, write func(dir string) error) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	defer os.RemoveAll(temp) // after the rename there is none; a panic of write leaves none either
	if err := os.Mkdir(temp, 0o755); err != nil {
		return err
	}
	if err := write(temp); err != nil {
		return err
	}
	var m Manifest
	err := filepath.WalkDir(temp, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(temp, path)
		m.Files = append(m.Files, File{Path: filepath.ToSlash(rel)})
		return err
	})
	if err != nil {
		return err
	}
	if _, err := Publish(temp, m); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // a torn one
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	return storage.SyncDir(root)
}

// NewestState is the folder and step of the newest complete state of a run; dir is "" when
// there is none. Torn ones are passed over.
func NewestState(out string) (dir string, step int, err error) {
	steps, err := savedSteps(out)
	if err != nil {
		return "", 0, fmt.Errorf("find newest state: %w", err)
	}
	for _, step := range steps {
		dir := filepath.Join(out, StateFolder, stepPrefix+strconv.Itoa(step))
		ok, err := complete(dir)
		if err != nil {
			return "", 0, fmt.Errorf("find newest state: %w", err)
		}
		if ok {
			return dir, step, nil
		}
	}
	return "", 0, nil
}

// complete says whether dir is a whole state. An error is one of reading it: a disk that
// fails must not pass for a torn state, or the run would quietly begin again.
func complete(dir string) (bool, error) {
	_, err := Verify(dir, "")
	var torn *storage.DigestError
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, ErrFormat) || errors.As(err, &torn) {
		return false, nil
	}
	return err == nil, err
}

// savedSteps are the steps of the states of a run, complete or not, newest first.
func savedSteps(out string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(out, StateFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var steps []int
	for _, e := range entries {
		if step, ok := StateStep(e.Name()); ok {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps, nil
}

// StateName is the name of a step's state in StateFolder, StateStep the step of a name.
func StateName(step int) string { return stepPrefix + strconv.Itoa(step) }

// IsState says whether name, in StateFolder, is a state's or what is kept beside them, complete or not.
func IsState(name string) bool {
	if storage.IsTemp(name) || name == ReferenceName {
		return true
	}
	_, ok := StateStep(name)
	return ok
}

// StateStep reads the step off a state's name.
func StateStep(name string) (step int, ok bool) {
	digits, ok := strings.CutPrefix(name, stepPrefix)
	step, err := strconv.Atoi(digits)
	return step, ok && err == nil && step >= 0 && strconv.Itoa(step) == digits
}

// DropStates removes every state of a run: after it was published, or when they are another
// run's.
func DropStates(out string) error {
	if err := os.RemoveAll(filepath.Join(out, StateFolder)); err != nil {
		return fmt.Errorf("drop states: %w", err)
	}
	return nil
}

// CleanTemp removes what a killed attempt was writing into a run's output, its states
// included, when it was killed. No other attempt may be running.
func CleanTemp(out string) error {
	for _, dir := range []string{out, filepath.Join(out, StateFolder)} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clean up: %w", err)
		}
		for _, e := range entries {
			if !storage.IsTemp(e.Name()) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("clean up: %w", err)
			}
		}
	}
	return nil
}
