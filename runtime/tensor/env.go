package tensor

// #include "bridge.h"
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Machine is what the environment is chosen from.
type Machine struct {
	Flags   map[string]bool // of the processor, as /proc/cpuinfo names them; none on other architectures than x86
	Threads int             // processors that this process may use: affinity and cgroup quota
}

// ThisMachine reads the machine's. Go's GOMAXPROCS knows affinity and quota.
func ThisMachine() Machine {
	raw, _ := os.ReadFile("/proc/cpuinfo") // without it: no flags
	return Machine{Flags: cpuFlags(string(raw)), Threads: runtime.GOMAXPROCS(0)}
}

// cpuFlags reads the first processor's flags.
func cpuFlags(cpuinfo string) map[string]bool {
	flags := map[string]bool{}
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "flags" {
			for _, flag := range strings.Fields(value) {
				flags[flag] = true
			}
			return flags
		}
	}
	return flags
}

// tuned marks a process that has its environment.
const tuned = "ALIGNMENT_TUNED"

// Tune adds to an environment what libtorch and its libraries run best with on the machine, unless the user has set it:
//
//   - OPENBLAS_CORETYPE: OpenBLAS (0.3.21 at least) takes processors newer than itself for a Prescott, at a fifth of the speed;
//   - ATEN_CPU_CAPABILITY: Debian's libtorch stays with AVX2 where it could use AVX-512;
//   - OMP_NUM_THREADS: OpenMP counts the machine's processors, not those of the pod's quota;
//   - GOMP_SPINCOUNT: OpenMP's threads spin some microseconds, then wait asleep: on processors shared with anything else,
//     longer spinning costs four times the processor time, and the wall time with it;
//   - MALLOC_*: blocks of middle size stay in one heap instead of going back to the kernel (large ones, see bridge.cpp).
func Tune(environ []string, m Machine) (env []string, changed bool) {
	present := map[string]bool{}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		present[name] = true
	}
	env = append(env, environ...)
	add := func(name, value string) {
		if value != "" && !present[name] {
			env = append(env, name+"="+value)
			changed = true
		}
	}
	add("OPENBLAS_CORETYPE", openblasCore(m.Flags))
	if avx512(m.Flags) {
		add("ATEN_CPU_CAPABILITY", "avx512")
	}
	if m.Threads > 0 {
		add("OMP_NUM_THREADS", strconv.Itoa(m.Threads))
	}
	add("GOMP_SPINCOUNT", "2000")
	add("MALLOC_ARENA_MAX", "1") // a thread's own arena is made of 64 MB pieces
	add("MALLOC_MMAP_THRESHOLD_", strconv.Itoa(32<<20))
	add("MALLOC_TRIM_THRESHOLD_", strconv.Itoa(1<<30))
	add("MALLOC_TOP_PAD_", strconv.Itoa(16<<20))
	return env, changed
}

// openblasCore names the kernels for a processor; "" leaves the choice to OpenBLAS. Cooperlake's and SapphireRapids'
// add only bfloat16 products, which libtorch does not take from there.
func openblasCore(flags map[string]bool) string {
	switch {
	case avx512(flags):
		return "SkylakeX"
	case flags["avx2"] && flags["fma"]:
		return "Haswell"
	}
	return ""
}

// ReexecTuned gives this process the environment of Tune: libraries read it while they are loaded, before main, so the
// program is started once more in its place, with the same process id and arguments. Call it first thing in main; it
// returns when there is nothing to do. The one place that reads and replaces the environment.
func ReexecTuned() error {
	if os.Getenv(tuned) != "" {
		return nil
	}
	env, changed := Tune(os.Environ(), ThisMachine())
	if !changed {
		return nil
	}
	if err := syscall.Exec("/proc/self/exe", os.Args, append(env, tuned+"=1")); err != nil {
		return fmt.Errorf("restart with the tuned environment: %w", err)
	}
	return nil
}

// BLAS describes the library that multiplies matrices.
type BLAS struct {
	OpenBLAS bool
	Core     string // the kernels that it chose: "SkylakeX"
	Threads  string // "none", "pthreads" or "OpenMP"
}

// LoadedBLAS asks the library that was loaded.
func LoadedBLAS() BLAS {
	var parallel C.int
	var core *C.char
	C.at_blas(&parallel, &core)
	if parallel < 0 {
		return BLAS{}
	}
	return BLAS{OpenBLAS: true, Core: C.GoString(core), Threads: [...]string{"none", "pthreads", "OpenMP"}[min(parallel, 2)]}
}

// Warnings says what makes this library slow on the machine, for people to read; nothing when all is well.
func (b BLAS) Warnings(m Machine) (warnings []string) {
	if !b.OpenBLAS {
		return nil
	}
	if b.Threads == "pthreads" {
		warnings = append(warnings, "OpenBLAS is the pthreads build, whose threads and OpenMP's fight over the processors: "+
			"install libopenblas0-openmp instead of libopenblas0-pthread")
	}
	if b.Threads == "none" {
		warnings = append(warnings, "OpenBLAS is the serial build, which uses one processor: install libopenblas0-openmp")
	}
	// OpenBLAS answers in its own spelling ("SkylakeX", "Prescott").
	if want := openblasCore(m.Flags); want != "" && (strings.EqualFold(b.Core, "Prescott") || strings.EqualFold(b.Core, "Generic")) {
		warnings = append(warnings, fmt.Sprintf("OpenBLAS uses its %s kernels: set OPENBLAS_CORETYPE=%s", b.Core, want))
	}
	return warnings
}

func avx512(flags map[string]bool) bool {
	return flags["avx512f"] && flags["avx512bw"] && flags["avx512dq"] && flags["avx512vl"]
}
