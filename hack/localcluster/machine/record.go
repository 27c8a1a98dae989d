package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// recordName is the file in a machine's folder that says what to undo. It is written before anything is
// done, and marks the folder as a machine's own.
const recordName = "machine.json"

// record is all that Stop needs to know.
type record struct {
	Init     Process           `json:"init"`
	Network  Network           `json:"network"`
	Settings map[string]string `json:"settings"` // kernel settings as they were, by path under /proc/sys
}

// kernelSettings are what the machine or the kubelet in it changes and no namespace contains.
var kernelSettings = []string{
	"kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops",
	"net/ipv4/ip_forward", "vm/overcommit_memory", "vm/panic_on_oom",
}

func (m Machine) readRecord() (record, error) {
	path := filepath.Join(m.Dir, recordName)
	content, err := os.ReadFile(path)
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return record{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (m Machine) writeRecord(r record) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(m.Dir, recordName)
	if err := os.WriteFile(path+".new", append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func readSettings() map[string]string {
	settings := map[string]string{}
	for _, name := range kernelSettings {
		if value, err := os.ReadFile(filepath.Join("/proc/sys", name)); err == nil { // not every kernel has them all
			settings[name] = strings.TrimSpace(string(value))
		}
	}
	return settings
}

// restoreSettings writes back what differs.
func restoreSettings(settings map[string]string) error {
	var errs []error
	now := readSettings()
	for name, value := range settings {
		if now[name] != value {
			errs = append(errs, os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644))
		}
	}
	return errors.Join(errs...)
}
