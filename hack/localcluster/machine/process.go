package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Process names one process for good. An id alone does not: ids are used again, after a reboot from the beginning.
type Process struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"startTicks"` // since boot
	BootID     string `json:"bootID"`
}

// identify returns the name of the process that now has pid.
func identify(pid int) (Process, error) {
	stat, err := readStat(pid)
	if err != nil {
		return Process{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, StartTicks: stat.startTicks, BootID: strings.TrimSpace(string(boot))}, nil
}

// alive tells whether the process still runs. A dead one that nobody has waited for does not.
func (p Process) alive() (bool, error) {
	if p.PID == 0 {
		return false, nil
	}
	stat, err := readStat(p.PID)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now, err := identify(p.PID)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return now == p && stat.state != "Z" && stat.state != "X", nil
}

type procStat struct {
	state      string
	startTicks uint64
}

func readStat(pid int) (procStat, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	content, err := os.ReadFile(path)
	if err != nil {
		// A process that ends while its file is open reads as ESRCH.
		if strings.Contains(err.Error(), "no such process") {
			return procStat{}, fs.ErrNotExist
		}
		return procStat{}, err
	}
	stat, err := parseStat(string(content))
	if err != nil {
		return procStat{}, fmt.Errorf("%s: %w", path, err)
	}
	return stat, nil
}

// parseStat reads fields 3 (state) and 22 (start time) of /proc/PID/stat, see proc(5). The second field, the program's
// name in parentheses, may itself hold spaces and parentheses.
func parseStat(content string) (procStat, error) {
	end := strings.LastIndexByte(content, ')')
	if end < 0 {
		return procStat{}, errors.New("no program name")
	}
	fields := strings.Fields(content[end+1:])
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("%d fields after the program name, want at least 20", len(fields))
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("start time: %w", err)
	}
	return procStat{state: fields[0], startTicks: ticks}, nil
}
