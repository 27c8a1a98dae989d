package image

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// Libraries are the shared libraries that a dynamically linked program needs on this machine, the loader included.
// All of them go into the loader's first default folder, since the image has no ld.so.cache to find others by.
// Libraries that a program loads by name at run time (dlopen) are not seen; name those as files of a layer.
func Libraries(ctx context.Context, program string) ([]File, error) {
	output, err := exec.CommandContext(ctx, "ldd", program).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w: %s", program, err, output)
	}
	files, err := parseLdd(string(output))
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	for i := range files {
		// The layer's cache goes by size and time of the file itself, not of a link to it.
		if files[i].Source, err = filepath.EvalSymlinks(files[i].Source); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// parseLdd reads lines of three forms:
//
//	linux-vdso.so.1 (0x00007ffd...)
//	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)
//	/lib64/ld-linux-x86-64.so.2 (0x00007f...)
func parseLdd(output string) ([]File, error) {
	byName := map[string]string{}
	loader := ""
	lines := bufio.NewScanner(strings.NewReader(output))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		name, rest, isLibrary := strings.Cut(line, " => ")
		if isLibrary {
			if strings.HasPrefix(rest, "not found") {
				return nil, fmt.Errorf("%s is not found", name)
			}
			source, _, _ := strings.Cut(rest, " (")
			byName[path.Base(name)] = source
			continue
		}
		if source, _, _ := strings.Cut(line, " ("); path.IsAbs(source) {
			loader = source
		}
	}
	libc, ok := byName["libc.so.6"]
	if loader == "" || !ok {
		return nil, fmt.Errorf("not a dynamically linked program: %s", strings.TrimSpace(output))
	}
	folder := path.Dir(libc)
	files := []File{{Path: loader, Source: loader, Mode: 0o755}}
	for name, source := range byName {
		files = append(files, File{Path: path.Join(folder, name), Source: source, Mode: 0o644})
	}
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	return files, nil
}
