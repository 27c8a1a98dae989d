package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Network is the one subnet that the host, the machine and the pods in it share, and its names.
type Network struct {
	Name     string       `json:"name"`     // of the host's packet filter rules and control groups
	Link     string       `json:"link"`     // interface of the host, LinkPrefix and a number; the other end is Uplink
	Subnet   netip.Prefix `json:"subnet"`   // as 10.88.7.0/24
	Host     netip.Addr   `json:"host"`     // the host's address in it, also the way out
	Gateway  netip.Addr   `json:"gateway"`  // the machine's address in it
	Services netip.Prefix `json:"services"` // reached through the gateway
}

const (
	LinkPrefix = "alignment" // of the host's interfaces to all machines
	Uplink     = "uplink0"   // interface of the machine, to be put on its bridge
)

// CheckFree returns an error naming the interface whose addresses overlap.
func (n Network) CheckFree() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	for _, candidate := range interfaces {
		addresses, err := candidate.Addrs()
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", candidate.Name, err)
		}
		for _, address := range addresses {
			prefix, err := netip.ParsePrefix(address.String())
			if err != nil {
				continue // not an IP network
			}
			for _, wanted := range []netip.Prefix{n.Subnet, n.Services} {
				if prefix.Overlaps(wanted) {
					return fmt.Errorf("network %s is in use: interface %s has %s (a cluster of another state folder?)", wanted, candidate.Name, prefix)
				}
			}
		}
	}
	return nil
}

// others tells whether the host has a cable to another machine.
func (n Network) others() (bool, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return false, fmt.Errorf("list interfaces: %w", err)
	}
	for _, candidate := range interfaces {
		if strings.HasPrefix(candidate.Name, LinkPrefix) && candidate.Name != n.Link {
			return true, nil
		}
	}
	return false, nil
}

// connect lays a cable between the host and the machine of process pid, and lets the machine out through the host.
func (n Network) connect(ctx context.Context, pid int) error {
	for _, args := range [][]string{
		{"link", "add", n.Link, "type", "veth", "peer", "name", Uplink, "netns", strconv.Itoa(pid)},
		{"address", "add", netip.PrefixFrom(n.Host, n.Subnet.Bits()).String(), "dev", n.Link},
		{"link", "set", n.Link, "up"},
		{"route", "add", n.Services.String(), "via", n.Gateway.String(), "dev", n.Link},
	} {
		if err := run(ctx, "ip", args...); err != nil {
			return fmt.Errorf("connect machine: %w", err)
		}
	}
	const forward = "/proc/sys/net/ipv4/ip_forward"
	if err := os.WriteFile(forward, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("connect machine: %w", err)
	}
	for _, rule := range n.rules() {
		if err := run(ctx, "iptables", rule.args("-I")...); err != nil {
			return fmt.Errorf("connect machine: %w", err)
		}
	}
	return nil
}

// disconnect undoes connect, or as much of it as was done.
func (n Network) disconnect(ctx context.Context) error {
	var errs []error
	if _, err := net.InterfaceByName(n.Link); err == nil {
		// The kernel takes the interface away with the machine, but not at once.
		if err := run(ctx, "ip", "link", "delete", n.Link); err != nil && !strings.Contains(err.Error(), "Cannot find device") {
			errs = append(errs, err)
		}
	}
	if _, err := exec.LookPath("iptables"); err != nil {
		return errors.Join(errs...) // then no rule can have been made
	}
	for _, rule := range n.rules() {
		for run(ctx, "iptables", rule.args("-C")...) == nil {
			if err := run(ctx, "iptables", rule.args("-D")...); err != nil {
				errs = append(errs, err)
				break
			}
		}
	}
	return errors.Join(errs...)
}

type rule struct {
	table, chain string
	match        []string
}

// args is the rule as arguments to iptables; operation is -I (insert), -C (check) or -D (delete).
func (r rule) args(operation string) []string {
	return append([]string{"-w", "-t", r.table, operation, r.chain}, r.match...)
}

// rules let pods out under the host's address, past a firewall that forwards nothing by default, as Docker's does.
func (n Network) rules() []rule {
	comment := []string{"-m", "comment", "--comment", n.Name}
	return []rule{
		{"filter", "FORWARD", append([]string{"-i", n.Link, "-j", "ACCEPT"}, comment...)},
		{"filter", "FORWARD", append([]string{"-o", n.Link, "-j", "ACCEPT"}, comment...)},
		{"nat", "POSTROUTING", append([]string{"-s", n.Subnet.String(), "!", "-o", n.Link, "-j", "MASQUERADE"}, comment...)},
	}
}
