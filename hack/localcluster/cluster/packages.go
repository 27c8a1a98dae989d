package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// debianPackages are what the cluster needs of the host, by a program of each.
var debianPackages = []struct{ program, name string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"iptables", "iptables"},
	{"ip", "iproute2"},
	{"nsenter", "util-linux"},
}

const cniPackage = "containernetworking-plugins"

// cniFolders are where Debian, and those who install by hand, put CNI plugins.
var cniFolders = []string{"/usr/lib/cni", "/opt/cni/bin"}

// InstallPackages installs with apt-get what is missing, and says so.
func InstallPackages(ctx context.Context, out io.Writer) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%s: not installed, and there is no apt-get to do it", strings.Join(missing, ", "))
	}
	fmt.Fprintf(out, "installing %s with apt-get\n", strings.Join(missing, ", "))
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-install-recommends"}, missing...),
	} {
		command := exec.CommandContext(ctx, "apt-get", args...)
		command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, output)
		}
	}
	if missing := missingPackages(); len(missing) > 0 {
		return fmt.Errorf("%s: installed, but still not found", strings.Join(missing, ", "))
	}
	return nil
}

func missingPackages() []string {
	var missing []string
	for _, p := range debianPackages {
		if _, err := exec.LookPath(p.program); err != nil && (len(missing) == 0 || missing[len(missing)-1] != p.name) {
			missing = append(missing, p.name)
		}
	}
	if _, err := findCNI(); err != nil {
		missing = append(missing, cniPackage)
	}
	return missing
}

func findCNI() (string, error) {
	for _, dir := range cniFolders {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no CNI plugins in %s", strings.Join(cniFolders, " or "))
}

func findTools() (Tools, error) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return Tools{}, err
	}
	cni, err := findCNI()
	if err != nil {
		return Tools{}, err
	}
	return Tools{Runc: runc, CNIPlugins: cni}, nil
}
