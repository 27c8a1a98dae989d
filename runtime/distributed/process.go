package distributed

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// Process is one rank of a run, as its Launcher has started it.
type Process struct {
	Rank, World int
	Node, Local int    // the launcher's node, and which of its processes this is
	Store       string // host:port
	Address     string // of this node, where the others reach it
}

// variable holds a Process, as JSON, in the environment of one.
const variable = "ALIGNMENT_PROCESS"

// linkFile is the file descriptor of a process's end of the socket to its launcher.
const linkFile = 3

// FromEnvironment finds the Process that the environment is of; nil when no Launcher has started this one.
func FromEnvironment(environ []string) (*Process, error) {
	for _, entry := range environ {
		if text, ok := strings.CutPrefix(entry, variable+"="); ok {
			p := &Process{}
			if err := json.Unmarshal([]byte(text), p); err != nil {
				return nil, fmt.Errorf("environment variable %s: %w", variable, err)
			}
			return p, nil
		}
	}
	return nil, nil
}

// environment is environ with p, and with the GPU that is its own: the Local-th of those that the launcher sees.
func (p Process) environment(environ []string) []string {
	device := fmt.Sprint(p.Local)
	var env []string
	for _, entry := range environ {
		if list, ok := strings.CutPrefix(entry, "CUDA_VISIBLE_DEVICES="); ok {
			device = "" // none is left
			if visible := strings.Split(list, ","); p.Local < len(visible) {
				device = visible[p.Local]
			}
			continue
		}
		env = append(env, entry)
	}
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // numbers and text
	}
	return append(env, variable+"="+string(b), "CUDA_VISIBLE_DEVICES="+device)
}

func (p Process) String() string {
	return fmt.Sprintf("rank %d (node %d, process %d)", p.Rank, p.Node, p.Local)
}

// Link is a process's connection to its launcher.
type Link struct{ file *os.File }

// Connect takes up the connection that the launcher has left open.
func Connect() *Link { return &Link{os.NewFile(linkFile, "launcher")} }

// Gone returns when the launcher has ended, which the process must not outlive.
func (l *Link) Gone() {
	_, _ = l.file.Read(make([]byte, 1)) // it sends nothing; an error is its end, too
}

// Report tells the launcher how the process ends.
func (l *Link) Report(r runconfig.Result) error {
	b, err := json.Marshal(r)
	if err != nil { // a metric that is not a number
		r.Metrics = nil
		if b, err = json.Marshal(r); err != nil {
			return fmt.Errorf("report to the launcher: %w", err)
		}
	}
	if _, err := l.file.Write(b); err != nil {
		return fmt.Errorf("report to the launcher: %w", err)
	}
	return nil
}
