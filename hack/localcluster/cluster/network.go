package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/machine"
)

// maxSlots is how many clusters can run on one machine, each in a network of its own.
const maxSlots = 10

// defaultPort is that of the first slot's API server on the host; the others' follow.
const defaultPort = 16443

// slotNetwork is the network of slot 0, 1, ...: 10.88.7.0/24 with Services in 10.96.0.0/16, 10.88.8.0/24 with 10.97.0.0/16, ...
func slotNetwork(slot int) machine.Network {
	subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 88, byte(7 + slot), 0}), 24)
	return machine.Network{
		Name:     fmt.Sprintf("%s-localcluster-%d", machine.LinkPrefix, slot),
		Link:     fmt.Sprintf("%s%d", machine.LinkPrefix, slot),
		Subnet:   subnet,
		Gateway:  hostNumber(subnet, 1),
		Host:     hostNumber(subnet, 2),
		Services: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(96 + slot), 0, 0}), 16),
	}
}

// hostNumber is the address of a /24 that ends with number.
func hostNumber(subnet netip.Prefix, number int) netip.Addr {
	address := subnet.Addr().As4()
	address[3] = byte(number)
	return netip.AddrFrom4(address)
}

func (c Config) network() machine.Network { return slotNetwork(c.Slot) }

// apiService is the address of the Service "kubernetes": always the first.
func (c Config) apiService() netip.Addr { return c.network().Services.Addr().Next() }

// firstFreeSlot returns the first slot whose network no interface of the host overlaps.
func firstFreeSlot() (int, error) {
	var first error
	for slot := range maxSlots {
		err := slotNetwork(slot).CheckFree()
		if err == nil {
			return slot, nil
		}
		if first == nil {
			first = err
		}
	}
	return 0, fmt.Errorf("none of %d networks is free: %w", maxSlots, first)
}

// listen opens the port on which the host reaches the API server.
func listen(port int) (*net.TCPListener, error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return nil, fmt.Errorf("the API server cannot have port %d (choose another with --port): %w", port, err)
	}
	return listener, nil
}

// lockHost keeps launchers, of whatever state folder, from choosing the same network. A folder can be locked
// like a file, and this one is everywhere.
func lockHost() (unlock func(), err error) { return lockPath("/run") }

func lockPath(path string) (unlock func(), err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}
