package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Config is what a cluster was brought up with.
type Config struct {
	Nodes    int      `json:"nodes"`
	GPUs     int      `json:"gpus"` // imaginary ones, per node
	Port     int      `json:"port"` // of the API server on the host's loopback interface; 0 in a request: the usual
	Slot     int      `json:"slot"` // which network it has; chosen by Up
	Binaries Binaries `json:"binaries"`
}

// Validate checks numbers given by people.
func (c Config) Validate() error {
	if c.Nodes < 1 || c.Nodes > MaxNodes {
		return fmt.Errorf("%d nodes: want 1 to %d", c.Nodes, MaxNodes)
	}
	if c.GPUs < 0 {
		return fmt.Errorf("%d GPUs: want 0 or more", c.GPUs)
	}
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("port %d: want 1 to 65535, or 0 for the usual", c.Port)
	}
	return nil
}

func (c Config) String() string {
	text := fmt.Sprintf("%d node(s), %d GPU(s) each", c.Nodes, c.GPUs)
	if c.Port != 0 {
		text += fmt.Sprintf(", port %d", c.Port)
	}
	return text
}

// satisfies tells whether a running cluster is what was asked for. It ignores the binaries: a cluster is not
// restarted because they were built anew.
func (c Config) satisfies(asked Config) bool {
	return c.Nodes == asked.Nodes && c.GPUs == asked.GPUs && (asked.Port == 0 || c.Port == asked.Port)
}

// readConfig returns the configuration of the cluster in the folder; fs.ErrNotExist is in its error when there is none.
func (l Layout) readConfig() (Config, error) {
	content, err := os.ReadFile(l.config())
	if err != nil {
		return Config{}, err
	}
	var config Config
	if err := json.Unmarshal(content, &config); err != nil {
		return Config{}, fmt.Errorf("%s: %w", l.config(), err)
	}
	return config, nil
}

// claim makes the folder the cluster's own by writing its configuration there. A folder with anything else in it
// is refused, since Down will remove what is in it.
func (l Layout) claim(config Config) error {
	entries, err := os.ReadDir(string(l))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(string(l), entry.Name())
		if path != l.logs() {
			return fmt.Errorf("state folder %s holds %s, which is not a cluster's", l, entry.Name())
		}
	}
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(l.config(), append(content, '\n'), 0o644)
}

// write writes files, readable by their owner only, for keys are among them, and makes the folders that components expect.
func (l Layout) write(config Config, files map[string][]byte) error {
	for path, content := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	dirs := []string{l.etcd(), l.ipam()}
	for _, n := range l.nodes(config) {
		for _, mount := range n.mounts() {
			dirs = append(dirs, mount.source)
		}
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	// Pods of any user reach their volumes through this one.
	return os.MkdirAll(l.volumes(), 0o755)
}

// remove deletes what the cluster made in its folder. Without a configuration there nothing is its own.
func (l Layout) remove() error {
	if _, err := os.Stat(l.config()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, path := range l.contents() { // the configuration comes last
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
