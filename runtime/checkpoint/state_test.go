package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// save writes a state of two files, one in a folder, whose content names the step.
func save(out string, step, keepLast int) error {
	return SaveState(out, step, keepLast, func(dir string) error {
		if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "sub", "x"), nil, 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "optimizer"), fmt.Appendf(nil, "step %d", step), 0o644)
	})
}

func mustSave(t *testing.T, out string, step, keepLast int) {
	t.Helper()
	if err := save(out, step, keepLast); err != nil {
		t.Fatal(err)
	}
}

// wantNewest also checks that the state is the step's own.
func wantNewest(t *testing.T, out string, want int) {
	t.Helper()
	dir, step, err := NewestState(out)
	if err != nil || step != want {
		t.Fatalf("newest state is %q, step %d, %v; want step %d", dir, step, err, want)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "optimizer")); err != nil || string(b) != fmt.Sprintf("step %d", want) {
		t.Fatalf("step %d has the content %q, %v", want, b, err)
	}
}

func stateNames(t *testing.T, out string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(out, StateFolder))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestStatesArePruned(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	if dir, step, err := NewestState(out); dir != "" || step != 0 || err != nil {
		t.Fatalf("no state yet: %q, %d, %v", dir, step, err)
	}
	for _, step := range []int{5, 10, 100, 1000} { // in number order, not in name order
		mustSave(t, out, step, 2)
		wantNewest(t, out, step)
	}
	if got, want := stateNames(t, out), []string{"step-100", "step-1000"}; !slices.Equal(got, want) {
		t.Errorf("states %q, want %q", got, want)
	}
	if err := DropStates(out); err != nil {
		t.Fatal(err)
	}
	if dir, _, err := NewestState(out); dir != "" || err != nil {
		t.Errorf("after DropStates: %q, %v", dir, err)
	}
}

func TestAFailedSaveLeavesTheOldStates(t *testing.T) {
	broken := errors.New("broken")
	half := func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "optimizer"), []byte("half"), 0o644)
	}
	for name, write := range map[string]func(dir string) error{
		"error": func(dir string) error { return errors.Join(half(dir), broken) },
		"panic": func(dir string) error { half(dir); panic(broken) },
		"a device": func(dir string) error { // cannot be hashed
			return errors.Join(half(dir), os.Symlink("/dev/null", filepath.Join(dir, "x")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			mustSave(t, out, 1, 1)
			err := func() (err error) {
				defer func() {
					if r := recover(); r != nil {
						err = r.(error)
					}
				}()
				return SaveState(out, 2, 1, write)
			}()
			if err == nil {
				t.Fatal("no error")
			}
			wantNewest(t, out, 1)
			if got := stateNames(t, out); !slices.Equal(got, []string{"step-1"}) {
				t.Errorf("states %q, want step-1 only", got)
			}
			mustSave(t, out, 2, 1)
			wantNewest(t, out, 2)
		})
	}
}

// A kill leaves what was there at that moment. Every moment of SaveState is played here by
// the folders it would leave.
func TestAKilledSaveIsPassedOver(t *testing.T) {
	for name, tear := range map[string]func(t *testing.T, root, dir string){
		"while writing": func(t *testing.T, root, dir string) {
			rename(t, dir, filepath.Join(root, storage.TempName("step-2")))
		},
		"while pruning, manifest first": func(t *testing.T, root, dir string) { remove(t, filepath.Join(dir, ManifestFile)) },
		"while pruning, manifest last":  func(t *testing.T, root, dir string) { remove(t, filepath.Join(dir, "optimizer")) },
		"file without its end":          func(t *testing.T, root, dir string) { truncate(t, filepath.Join(dir, "optimizer"), 3) },
		"manifest without its end":      func(t *testing.T, root, dir string) { truncate(t, filepath.Join(dir, ManifestFile), 30) },
		"empty manifest":                func(t *testing.T, root, dir string) { truncate(t, filepath.Join(dir, ManifestFile), 0) },
		"a bit turned": func(t *testing.T, root, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "optimizer"), []byte("step 3"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"empty folder": func(t *testing.T, root, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		},
		"a file of that name": func(t *testing.T, root, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			root := filepath.Join(out, StateFolder)
			mustSave(t, out, 1, 2)
			mustSave(t, out, 2, 2)
			tear(t, root, filepath.Join(root, "step-2"))
			wantNewest(t, out, 1)
			if err := CleanTemp(out); err != nil {
				t.Fatal(err)
			}
			wantNewest(t, out, 1)
			mustSave(t, out, 2, 2) // the run comes by again
			wantNewest(t, out, 2)
			if got := stateNames(t, out); !slices.Equal(got, []string{"step-1", "step-2"}) {
				t.Errorf("states %q", got)
			}
		})
	}
}

func TestATornLaterStateDoesNotCountAsKept(t *testing.T) {
	out := t.TempDir()
	mustSave(t, out, 1, 2)
	mustSave(t, out, 9, 2)
	truncate(t, filepath.Join(out, StateFolder, "step-9", ManifestFile), 0)
	mustSave(t, out, 2, 1)
	wantNewest(t, out, 2)
}

func TestACompleteStateIsKept(t *testing.T) {
	out := t.TempDir()
	mustSave(t, out, 1, 1)
	err := SaveState(out, 1, 1, func(string) error { return errors.New("called") })
	if err != nil {
		t.Error(err)
	}
	wantNewest(t, out, 1)
}

func TestOtherNamesAreNoStates(t *testing.T) {
	out := t.TempDir()
	mustSave(t, out, 1, 1)
	for _, name := range []string{"step-", "step-x", "step-007", "step--5", "step-+9", "other", "step-99999999999999999999"} {
		if err := os.Mkdir(filepath.Join(out, StateFolder, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	wantNewest(t, out, 1)
	mustSave(t, out, 2, 1)
	if got := stateNames(t, out); len(got) != 8 {
		t.Errorf("%q: step-1 and nothing else was to go", got)
	}
}

func TestCleanTemp(t *testing.T) {
	out := t.TempDir()
	mustSave(t, out, 1, 1)
	for _, p := range []string{filepath.Join(out, storage.TempName("model.safetensors.123")), filepath.Join(out, StateFolder, storage.TempName("step-2"), "sub")} {
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := CleanTemp(out); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(out); len(left) != 1 {
		t.Errorf("left %v", left)
	}
	if got := stateNames(t, out); !slices.Equal(got, []string{"step-1"}) {
		t.Errorf("left %q", got)
	}
	if err := CleanTemp(filepath.Join(out, "none")); err != nil {
		t.Errorf("nothing to clean: %v", err)
	}
}

func TestSaveStateOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	out := t.TempDir()
	if err := syscall.Mount("tmpfs", out, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("this machine cannot mount a tmpfs: %v", err)
	}
	defer syscall.Unmount(out, syscall.MNT_DETACH)
	mustSave(t, out, 1, 1)
	err := SaveState(out, 2, 1, func(dir string) error {
		return WriteSafetensors(filepath.Join(dir, "optimizer"), lazily([]Tensor{{"m", "U8", []int64{1 << 20}, make([]byte, 1<<20)}}), nil)
	})
	if !storage.IsDiskFull(err) {
		t.Fatalf("got %v, want a full disk", err)
	}
	wantNewest(t, out, 1)
	if got := stateNames(t, out); !slices.Equal(got, []string{"step-1"}) {
		t.Errorf("states %q", got)
	}
	mustSave(t, out, 3, 1) // a small one fits: the failed one's space is free again
	wantNewest(t, out, 3)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}
