package build

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// contentHash is a SHA-256, in hex, over all that decides how the program comes out: the Go version and platform,
// the flags, and go.mod, go.sum and the Go files of its folder. A module cache cannot change under a go.sum.
func contentHash(ctx context.Context, p Program) (string, error) {
	version, err := goCommand(ctx, p, "env", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", withStderr(err))
	}
	files, err := sources(p.Dir)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%s%q\n%q\n", version, p.LDFlags, p.Links)
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n", name, len(content))
		hash.Write(content)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

// sources are the names of the files in dir that the hash covers, sorted.
func sources(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		isGo := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
		if !entry.IsDir() && (isGo || name == "go.mod" || name == "go.sum") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no Go sources", dir)
	}
	sort.Strings(names)
	return names, nil
}
