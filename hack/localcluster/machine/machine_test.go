package machine

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21"
	for _, content := range []string{"17 (sh)" + rest, "17 (a) b (c))" + rest} {
		got, err := parseStat(content)
		if err != nil || got != (procStat{state: "S", startTicks: 4242}) {
			t.Errorf("parseStat(%q) = %+v, %v", content, got, err)
		}
	}
	for _, content := range []string{"", "17 (sh", "17 (sh) S 1 2", "17 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x 20"} {
		if got, err := parseStat(content); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", content, got)
		}
	}
}

// A machine's record may outlive its process by a reboot or by a process that got the same id. Neither may be killed.
func TestKillSparesReusedID(t *testing.T) {
	bystander := exec.Command("sleep", "1000")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- bystander.Wait() }()
	now, err := identify(bystander.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	earlier, elsewhere := now, now
	earlier.StartTicks--
	elsewhere.BootID = "another boot"
	for _, old := range []Process{earlier, elsewhere, {}} {
		if err := kill(context.Background(), old); err != nil {
			t.Errorf("kill %+v: %v", old, err)
		}
	}
	if alive, err := now.alive(); err != nil || !alive {
		t.Fatalf("the bystander is dead (%v)", err)
	}
	if err := kill(context.Background(), now); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Errorf("the process itself ended with %v", err)
	}
}

func TestRecord(t *testing.T) {
	machine := Machine{Dir: t.TempDir()}
	if running, err := machine.Running(); running || err != nil {
		t.Errorf("no record: running %v, %v", running, err)
	}
	want := record{Init: Process{PID: 1, StartTicks: 2, BootID: "b"}, Settings: map[string]string{"vm/x": "1"},
		Network: Network{Name: "n", Subnet: netip.MustParsePrefix("203.0.113.0/24"), Host: netip.MustParseAddr("203.0.113.2"),
			Gateway: netip.MustParseAddr("203.0.113.1"), Services: netip.MustParsePrefix("198.51.100.0/24")}}
	if err := machine.writeRecord(want); err != nil {
		t.Fatal(err)
	}
	if got, err := machine.readRecord(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("record = %+v, %v", got, err)
	}
	if running, err := machine.Running(); running || err != nil {
		t.Errorf("a record of another boot: running %v, %v", running, err)
	}
}

func TestParseHierarchies(t *testing.T) {
	const hybrid = `tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
/dev/vda / ext4 rw 0 0
`
	want := []hierarchy{
		{dir: "/sys/fs/cgroup/cpu,cpuacct", version: 1},
		{dir: "/sys/fs/cgroup/cpuset", version: 1, cpuset: true},
		{dir: "/sys/fs/cgroup/unified", version: 2},
	}
	if got := parseHierarchies(hybrid); !reflect.DeepEqual(got, want) {
		t.Errorf("hybrid: %+v, want %+v", got, want)
	}
	want = []hierarchy{{dir: "/sys/fs/cgroup", version: 2}}
	if got := parseHierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n"); !reflect.DeepEqual(got, want) {
		t.Errorf("version 2: %+v, want %+v", got, want)
	}
}

func TestCheckFree(t *testing.T) {
	unused := netip.MustParsePrefix("203.0.113.0/24") // for documentation (RFC 5737), on no interface
	loopback := netip.MustParsePrefix("127.0.0.0/24")
	if err := (Network{Subnet: unused, Services: unused}).CheckFree(); err != nil {
		t.Error(err)
	}
	if err := (Network{Subnet: loopback, Services: unused}).CheckFree(); err == nil {
		t.Error("the loopback network counts as free")
	}
}

// removeTree works on control groups, whose files cannot be removed; on a disk, folders suffice to see its order.
func TestRemoveTree(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(filepath.Join(root, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("tree stays: %v", err)
	}
	if err := removeTree(root); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
}
