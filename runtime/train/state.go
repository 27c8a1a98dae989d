package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/distributed"
	"github.com/alignment-dev/alignment-operator/runtime/model"
	"github.com/alignment-dev/alignment-operator/runtime/optim"
	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// trainerFile is in a state/step-N folder beside, for each learner, its weights and its optimiser.
const trainerFile = "trainer.json"

func (l *Learner) weightsFile() string   { return l.Name + ".safetensors" }
func (l *Learner) optimizerFile() string { return l.Name + "-optimizer.safetensors" }

// shardFile is the file of a rank's parts of what file would hold, as transformers names them.
func shardFile(file string, rank, world int) string {
	return fmt.Sprintf("%s-%05d-of-%05d.safetensors", strings.TrimSuffix(file, ".safetensors"), rank+1, world)
}

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
		// Where rank 0 writes: nowhere, if the state is there already.
		if dir := distributed.Gather(t.Group, "")[0]; dir != "" {
			if err := t.writeLearners(dir); err != nil {
				return fmt.Errorf("save state of step %d: %w", t.run.Step, err)
			}
		}
		return nil
	}
	var asked bool
	err := checkpoint.SaveState(t.Dir, t.run.Step, t.Config.Checkpoint.KeepLast, func(dir string) error {
		asked = true
		distributed.Gather(t.Group, dir)
		if err := t.writeLearners(dir); err != nil {
			return err
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
	if !asked {
		distributed.Gather(t.Group, "")
	}
	if err != nil {
		return fmt.Errorf("save state of step %d: %w", t.run.Step, err)
	}
	if t.Saved == nil {
		return nil
	}
	return t.Saved(t.run.Step)
}

// writeLearners writes weights and optimisers into a folder: rank 0 those that all ranks have, every rank its parts of
// those that are divided. It returns when all have, with the first error of any.
func (t *Trainer) writeLearners(dir string) error {
	var message string
	if err := t.writeOwn(dir); err != nil {
		if t.Group.World() == 1 {
			return err
		}
		message = err.Error()
	}
	for rank, of := range distributed.Gather(t.Group, message) {
		if of != "" {
			return fmt.Errorf("rank %d: %s", rank, of)
		}
	}
	return nil
}

func (t *Trainer) writeOwn(dir string) error {
	for _, l := range t.Method.Learners() {
		write := func(file string, tensors []checkpoint.LazyTensor) error {
			if g := l.shards(); g != nil {
				file = shardFile(file, g.Rank(), g.World())
			} else if !t.Group.First() {
				return nil
			}
			return checkpoint.WriteSafetensors(filepath.Join(dir, file), tensors, nil)
		}
		if err := write(l.weightsFile(), named(parameters(l.params))); err != nil {
			return err
		}
		if l.adamw == nil {
			continue
		}
		if err := write(l.optimizerFile(), named(l.adamw.State())); err != nil {
			return err
		}
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
		if err := load(filepath.Join(dir, l.weightsFile()), parameters(l.params), l.shards()); err != nil {
			return 0, err
		}
		if l.adamw == nil {
			continue
		}
		if err := load(filepath.Join(dir, l.optimizerFile()), l.adamw.State(), l.shards()); err != nil {
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

// Weights are a model's parameters as a published checkpoint holds them: in the type that it computes in.
func Weights(m *model.Model) []checkpoint.LazyTensor {
	weights := named(parameters(m.Parameters()))
	for i, p := range m.Parameters() {
		weights[i].DType = dtypes[m.DType()]
		weights[i].Data = func() (b []byte) {
			tensor.Scoped(func() { b = p.Tensor.To(m.DType()).Bytes() })
			return b
		}
	}
	return weights
}

// Tensors are parameters as a file holds them: in their own type.
func Tensors(params []model.Parameter) []checkpoint.LazyTensor { return named(parameters(params)) }

func parameters(params []model.Parameter) []optim.Named {
	out := make([]optim.Named, len(params))
	for i, p := range params {
		out[i] = optim.Named{Name: p.Name, Tensor: p.Tensor, Shape: p.Shape}
	}
	return out
}

func named(list []optim.Named) []checkpoint.LazyTensor {
	out := make([]checkpoint.LazyTensor, len(list))
	for i, n := range list {
		out[i] = checkpoint.LazyTensor{Name: n.Name, DType: dtypes[n.Tensor.DType()], Shape: n.Tensor.Shape(), Data: n.Tensor.Bytes}
	}
	return out
}

// dtypes are safetensors' names of what parameters and optimiser state can be.
var dtypes = map[tensor.DType]string{
	tensor.Float64: "F64", tensor.Float32: "F32", tensor.BFloat16: "BF16", tensor.Float16: "F16", tensor.Int64: "I64",
}

// load copies what was saved into tensors that exist: whole ones, or this rank's parts where into are those of the
// ranks of g. What was saved may be whole, or in the parts of any number of ranks.
func load(path string, into []optim.Named, g *distributed.Group) error {
	saved, err := openSaved(path)
	if err != nil {
		return fmt.Errorf("load state %s: %w", path, err)
	}
	defer saved.close()
	for _, n := range into {
		total := n.Tensor.NumElements()
		from, count := int64(0), total // of the elements in a row
		if n.Shape != nil {
			length := total
			total = 1
			for _, d := range n.Shape {
				total *= d
			}
			from = min(int64(g.Rank())*length, total)
			count = min(length, total-from)
		}
		b, err := saved.elements(n.Name, total, from, count, int64(n.Tensor.DType().Size()))
		if err != nil {
			return fmt.Errorf("load state %s: %w", path, err)
		}
		tensor.Scoped(func() {
			tensor.NoGrad(func() {
				to := n.Tensor.Detach().Reshape(-1).Narrow(0, 0, count) // a part's rest stays 0
				to.CopyInPlace(tensor.FromBytes(n.Tensor.DType(), b, count))
			})
		})
	}
	return nil
}

// saved are tensors that ranks have saved in parts: rank r the r-th of equally many elements in a row.
type saved []*checkpoint.Safetensors

// openSaved opens a file, or those of its parts.
func openSaved(path string) (files saved, err error) {
	f, err := checkpoint.OpenSafetensors(path)
	if err == nil {
		return saved{f}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	entries, bad := os.ReadDir(filepath.Dir(path))
	if bad != nil {
		return nil, bad
	}
	world := 0
	for _, e := range entries {
		var n int
		if first, ok := strings.CutPrefix(e.Name(), strings.TrimSuffix(filepath.Base(path), ".safetensors")); ok {
			if _, bad := fmt.Sscanf(first, "-00001-of-%d.safetensors", &n); bad == nil {
				world = n
			}
		}
	}
	if world == 0 {
		return nil, err
	}
	for rank := range world {
		f, err := checkpoint.OpenSafetensors(shardFile(path, rank, world))
		if err != nil {
			files.close()
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// elements are count of a tensor's total elements, each of so many bytes, from one on.
func (s saved) elements(name string, total, from, count, size int64) (b []byte, err error) {
	length := (total + int64(len(s)) - 1) / int64(len(s)) // of a part
	for rank := from / max(length, 1); int64(len(b)) < count*size; rank++ {
		t, err := s[rank].Read(name)
		if err != nil {
			return nil, err
		}
		if int64(len(t.Data)) != length*size {
			return nil, fmt.Errorf("%s has %d bytes in part %d of %d, want %d", name, len(t.Data), rank+1, len(s), length*size)
		}
		begin := from + int64(len(b))/size - rank*length
		end := min(length, from+count-rank*length)
		b = append(b, t.Data[begin*size:end*size]...)
	}
	return b, nil
}

func (s saved) close() {
	for _, f := range s {
		f.Close()
	}
}
