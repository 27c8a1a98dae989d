package run_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

// tree makes files, and folders where the name ends in a slash; "a -> b" is a symbolic link.
func tree(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		name, to, link := strings.Cut(name, " -> ")
		path := filepath.Join(dir, name)
		folder := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			folder = path
		}
		err := os.MkdirAll(folder, 0o755)
		switch {
		case link:
			err = os.Symlink(to, path)
		case folder != path && err == nil:
			err = os.WriteFile(path, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// list is all that is below dir.
func list(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		out = append(out, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "ns/other/0123456789ab/manifest.json", "ns/precious", "elsewhere/x",
		"ns/stage/0123456789ab/manifest.json", "ns/stage/0123456789ab/model.safetensors", "ns/stage/0123456789ab/notes",
		"ns/stage/aaaaaaaaaaaa/state/step-3/trainer.json", "ns/stage/aaaaaaaaaaaa/state/.tmp-step-4/", "ns/stage/aaaaaaaaaaaa/tb/events",
		"ns/stage/bbbbbbbbbbbb/metrics.jsonl", "ns/stage/bbbbbbbbbbbb/model-00001-of-00002.safetensors", "ns/stage/bbbbbbbbbbbb/.tmp-model.safetensors.17",
		"ns/stage/cccccccccccc/", "ns/stage/.tmp-dddddddddddd/half",
		"ns/stage/0123456789ab/out -> ../../../elsewhere", "ns/stage/0123456789ab/up -> ..")
	stage := filepath.Join(dir, "ns/stage")
	var removed []string
	r := run.Remove(t.Context(), stage, nil, func(path string) { removed = append(removed, path) })
	if r.ExitCode != runconfig.ExitDone || !strings.Contains(r.Message, "with 5 runs") {
		t.Errorf("got %+v", r)
	}
	if want := []string{".", "elsewhere", "elsewhere/x", "ns", "ns/other", "ns/other/0123456789ab", "ns/other/0123456789ab/manifest.json", "ns/precious"}; !slices.Equal(list(t, dir), want) {
		t.Errorf("left %q, want %q", list(t, dir), want)
	}
	if len(removed) != 6 || removed[5] != stage || removed[1] != filepath.Join(stage, "0123456789ab") {
		t.Errorf("told of %q", removed)
	}
	for _, gone := range []string{stage, filepath.Join(dir, "no/such/stage")} {
		if r := run.Remove(t.Context(), gone, nil, func(string) { t.Error("removed something") }); r.ExitCode != runconfig.ExitDone {
			t.Errorf("%s, which is not there: got %+v", gone, r)
		}
	}
}

// TestRemoveRefuses: a folder that is not a stage's stays as it is, whole.
func TestRemoveRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		tree   []string
		folder string // below the tree
	}{
		"foreign file":            {[]string{"ns/s/0123456789ab/manifest.json", "ns/s/notes.txt"}, "ns/s"},
		"foreign folder":          {[]string{"ns/s/0123456789ab/manifest.json", "ns/s/data/x"}, "ns/s"},
		"longer name":             {[]string{"ns/s/0123456789abc/manifest.json"}, "ns/s"},
		"capitals":                {[]string{"ns/s/0123456789AB/manifest.json"}, "ns/s"},
		"file of a run's name":    {[]string{"ns/s/0123456789ab"}, "ns/s"},
		"foreign file in a run":   {[]string{"ns/s/0123456789ab/thesis.tex", "ns/s/0123456789ab/config.json"}, "ns/s"},
		"folder named state":      {[]string{"ns/s/0123456789ab/state/0123456789ab/manifest.json"}, "ns/s"},
		"link named manifest":     {[]string{"real", "ns/s/0123456789ab/manifest.json -> ../../../real", "ns/s/0123456789ab/x"}, "ns/s"},
		"link in a run's place":   {[]string{"real/manifest.json", "ns/s/0123456789ab -> ../../real"}, "ns/s"},
		"link in a stage's place": {[]string{"real/0123456789ab/manifest.json", "ns/s -> ../real"}, "ns/s"},
		"link on the way":         {[]string{"real/s/0123456789ab/manifest.json", "ns -> real"}, "ns/s"},
		"link to nothing":         {[]string{"ns/s -> nowhere"}, "ns/s"},
		"folder above":            {[]string{"ns/s/0123456789ab/manifest.json"}, "ns"},
		"a run itself":            {[]string{"ns/s/0123456789ab/manifest.json"}, "ns/s/0123456789ab"},
		"a file":                  {[]string{"ns/s"}, "ns/s"},
		"two dots":                {[]string{"ns/s/0123456789ab/manifest.json", "x/"}, "x/../ns/s"},
		"a slash behind":          {[]string{"ns/s/0123456789ab/manifest.json"}, "ns/s/"},
	} {
		dir := t.TempDir()
		tree(t, dir, c.tree...)
		before := list(t, dir)
		r := run.Remove(t.Context(), dir+"/"+c.folder, nil, func(path string) { t.Errorf("%s: removed %s", name, path) })
		if r.ExitCode != runconfig.ExitInvalid || !strings.Contains(r.Message, "nothing is removed") {
			t.Errorf("%s: got %+v, want exit code 2", name, r)
		}
		if after := list(t, dir); !slices.Equal(after, before) {
			t.Errorf("%s: left %q of %q", name, after, before)
		}
	}
	for _, folder := range []string{"", "/", ".", "relative/path", "..", "/.."} {
		if r := run.Remove(t.Context(), folder, nil, func(path string) { t.Errorf("%q: removed %s", folder, path) }); r.ExitCode != runconfig.ExitInvalid {
			t.Errorf("%q: got %+v, want exit code 2", folder, r)
		}
	}
}
