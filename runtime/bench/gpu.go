package bench

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// gpu is a device as nvidia-smi sees it; its name is "cpu" without one.
type gpu struct {
	name string
	used int64 // bytes, by all processes: PyTorch's side of a comparison is measured alike
}

func (g gpu) here() bool { return g.name != "cpu" }

func readGPU(device tensor.Device) (gpu, error) {
	if device == tensor.CPU {
		return gpu{name: "cpu"}, nil
	}
	_, index, _ := strings.Cut(string(device), ":")
	if index == "" {
		index = "0"
	}
	b, err := exec.Command("nvidia-smi", "--id="+index, "--query-gpu=name,memory.used", "--format=csv,noheader,nounits").Output()
	if err != nil {
		return gpu{}, fmt.Errorf("nvidia-smi: %w", err)
	}
	return parseGPU(string(b))
}

// parseGPU reads "NVIDIA H100 80GB HBM3, 1234", the memory in MiB.
func parseGPU(line string) (gpu, error) {
	name, used, ok := strings.Cut(strings.TrimSpace(line), ", ")
	n, err := strconv.ParseInt(used, 10, 64)
	if !ok || err != nil {
		return gpu{}, fmt.Errorf("nvidia-smi: got %q, want a name and MiB", line)
	}
	return gpu{name, n << 20}, nil
}

// bfloat16TFLOPS is what the vendor states for dense bfloat16 products summed in float32; 0 for an unknown device.
func (g gpu) bfloat16TFLOPS() float64 {
	for _, known := range []struct {
		name   string
		tflops float64
	}{
		{"H200", 989.4}, {"H100 PCIe", 756}, {"H100 NVL", 835}, {"H100", 989.4},
		{"A100", 312}, {"A10G", 70}, {"A10", 125}, {"L40S", 362}, {"L4", 121}, {"4090", 165.2},
	} {
		if strings.Contains(g.name, known.name) {
			return known.tflops
		}
	}
	return 0
}
