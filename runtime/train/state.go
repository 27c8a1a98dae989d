package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/optim"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// trainerFile is in a state/step-N folder beside, for each learner, its weights and its optimiser.
const trainerFile = "trainer.json"

func (l *Learner) weightsFile() string   { return l.Name + ".safetensors" }
func (l *Learner) optimizerFile() string { return l.Name + "-optimizer.safetensors" }

// ErrOtherRun is a state that belongs to another run.
var ErrOtherRun = errors.New("it belongs to another run, or to inputs that have changed since: put those back, or delete the folder state to begin anew")

// trainerState is the rest of what a step depends on. The data cursor is the step itself:
// the order of examples is a function of seed, epoch and step.
type trainerState struct {
	Totals
	Seen     seen               `json:"seen,omitzero"`
	Identity string             `json:"identity"`
	Numbers  map[string]float64 `json:"numbers,omitempty"` // the method's
}

func (t *Trainer) save() error {
	defer t.Group.Any(false) // the others wait: no rank ends before the state is whole
	if !t.Group.First() {
		return nil
	}
	err := checkpoint.SaveState(t.Dir, t.run.Step, t.Config.Checkpoint.KeepLast, func(dir string) error {
		for _, l := range t.Method.Learners() {
			if err := checkpoint.WriteSafetensors(filepath.Join(dir, l.weightsFile()), Weights(l.params), nil); err != nil {
				return err
			}
			if l.adamw == nil {
				continue
			}
			if err := checkpoint.WriteSafetensors(filepath.Join(dir, l.optimizerFile()), named(l.adamw.State()), nil); err != nil {
				return err
			}
		}
		s := trainerState{Totals: t.run, Seen: t.seen.storable(), Identity: t.Identity, Numbers: map[string]float64{}}
		for name, v := range t.Method.Numbers() {
			s.Numbers[name] = *v
		}
		b, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, trainerFile), b, 0o644)
	})
	if err != nil {
		return fmt.Errorf("save state of step %d: %w", t.run.Step, err)
	}
	return nil
}

// restore loads the newest complete state and returns its step, 0 when there is none.
func (t *Trainer) restore() (int, error) {
	dir, step, err := checkpoint.NewestState(t.Dir)
	if err != nil || dir == "" {
		return 0, err
	}
	b, err := os.ReadFile(filepath.Join(dir, trainerFile))
	if err != nil {
		return 0, fmt.Errorf("load state %s: %w", dir, err)
	}
	var s trainerState
	if err := json.Unmarshal(b, &s); err != nil {
		return 0, fmt.Errorf("load state %s: %s: %w", dir, trainerFile, err)
	}
	if s.Identity != t.Identity {
		return 0, fmt.Errorf("load state %s: %w", dir, ErrOtherRun)
	}
	if s.TotalSteps != t.run.TotalSteps {
		return 0, fmt.Errorf("load state %s: %w: it has %d steps, this one %d", dir, ErrOtherRun, s.TotalSteps, t.run.TotalSteps)
	}
	for _, l := range t.Method.Learners() {
		if err := load(filepath.Join(dir, l.weightsFile()), parameters(l.params)); err != nil {
			return 0, err
		}
		if l.adamw == nil {
			continue
		}
		if err := load(filepath.Join(dir, l.optimizerFile()), l.adamw.State()); err != nil {
			return 0, err
		}
	}
	for name, v := range t.Method.Numbers() {
		saved, ok := s.Numbers[name]
		if !ok {
			return 0, fmt.Errorf("load state %s: %s: no %s", dir, trainerFile, name)
		}
		*v = saved
	}
	t.run, t.seen = s.Totals, s.Seen
	return step, nil
}

// Weights are a model's parameters as a safetensors file holds them.
func Weights(params []model.Parameter) []checkpoint.Tensor { return named(parameters(params)) }

func parameters(params []model.Parameter) []optim.Named {
	out := make([]optim.Named, len(params))
	for i, p := range params {
		out[i] = optim.Named{Name: p.Name, Tensor: p.Tensor}
	}
	return out
}

func named(list []optim.Named) []checkpoint.Tensor {
	out := make([]checkpoint.Tensor, len(list))
	for i, n := range list {
		out[i] = checkpoint.Tensor{Name: n.Name, DType: dtypes[n.Tensor.DType()], Shape: n.Tensor.Shape(), Data: n.Tensor.Bytes()}
	}
	return out
}

// dtypes are safetensors' names of what parameters and optimiser state can be.
var dtypes = map[tensor.DType]string{
	tensor.Float64: "F64", tensor.Float32: "F32", tensor.BFloat16: "BF16", tensor.Float16: "F16", tensor.Int64: "I64",
}

// load copies a safetensors file into tensors that exist.
func load(path string, into []optim.Named) error {
	f, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, n := range into {
		stored, err := f.Read(n.Name)
		if err != nil {
			return fmt.Errorf("load state %s: %w", path, err)
		}
		tensor.Scoped(func() {
			tensor.NoGrad(func() {
				n.Tensor.CopyInPlace(tensor.FromBytes(n.Tensor.DType(), stored.Data, stored.Shape...))
			})
		})
	}
	return nil
}
