package tensor

import (
	"slices"
	"strings"
	"testing"
)

func TestTune(t *testing.T) {
	avx512 := cpuFlags("processor\t: 0\nflags\t\t: fpu avx2 fma avx512f avx512bw avx512dq avx512vl\nprocessor\t: 1\nflags\t\t: none\n")
	avx2 := cpuFlags("flags : avx avx2 fma")
	for _, c := range []struct {
		name    string
		environ []string
		machine Machine
		has     []string
		hasNot  []string
	}{
		{"avx512", []string{"HOME=/root"}, Machine{avx512, 2}, []string{"HOME=/root", "OPENBLAS_CORETYPE=SkylakeX", "ATEN_CPU_CAPABILITY=avx512", "OMP_NUM_THREADS=2", "GOMP_SPINCOUNT=2000", "MALLOC_ARENA_MAX=1"}, nil},
		{"avx2", nil, Machine{avx2, 0}, []string{"OPENBLAS_CORETYPE=Haswell"}, []string{"OMP_NUM_THREADS="}},
		{"another architecture", nil, Machine{cpuFlags("Features : asimd"), 1}, []string{"OMP_NUM_THREADS=1"}, []string{"OPENBLAS_CORETYPE="}},
		{"the user's own", []string{"OPENBLAS_CORETYPE=Zen", "OMP_NUM_THREADS="}, Machine{avx512, 2}, []string{"OPENBLAS_CORETYPE=Zen", "OMP_NUM_THREADS="},
			[]string{"OPENBLAS_CORETYPE=SkylakeX", "OMP_NUM_THREADS=2"}},
	} {
		before := slices.Clone(c.environ)
		env, changed := Tune(c.environ, c.machine)
		if !changed || !slices.Equal(before, c.environ) {
			t.Errorf("%s: changed %v, argument now %v", c.name, changed, c.environ)
		}
		for _, entry := range c.has {
			if !slices.Contains(env, entry) {
				t.Errorf("%s: %s is missing in %v", c.name, entry, env)
			}
		}
		for _, prefix := range c.hasNot {
			if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, prefix) && !slices.Contains(c.environ, e) }) {
				t.Errorf("%s: %s in %v", c.name, prefix, env)
			}
		}
		if again, changed := Tune(env, c.machine); changed || !slices.Equal(again, env) {
			t.Errorf("%s: tuning twice changes %v to %v", c.name, env, again)
		}
	}
}

func TestWarnings(t *testing.T) {
	m := Machine{Flags: map[string]bool{"avx2": true, "fma": true}}
	for _, c := range []struct {
		blas BLAS
		want string
	}{
		{BLAS{}, ""},
		{BLAS{true, "Haswell", "OpenMP"}, ""},
		{BLAS{true, "Haswell", "pthreads"}, "libopenblas0-openmp"},
		{BLAS{true, "Haswell", "none"}, "libopenblas0-openmp"},
		{BLAS{true, "Prescott", "OpenMP"}, "OPENBLAS_CORETYPE=Haswell"},
	} {
		got := strings.Join(c.blas.Warnings(m), "; ")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.blas, got, c.want)
		}
	}
}

// TestMain has restarted this program: its OpenBLAS must have taken the kernels that Tune asks for.
func TestReexecReachesOpenBLAS(t *testing.T) {
	blas, m := LoadedBLAS(), ThisMachine()
	t.Logf("libtorch %s, %+v, %d threads", Version(), blas, m.Threads)
	if !blas.OpenBLAS {
		t.Skip("this libtorch multiplies with another library")
	}
	if core := openblasCore(m.Flags); core != "" && !strings.EqualFold(core, blas.Core) {
		t.Errorf("OpenBLAS runs %s, want %s (or the environment names its own)", blas.Core, core)
	}
}
