// Command experiments repeats, at small scale, what the papers say of their methods, over several seeds:
//
//	go run ./hack/experiments -out out/experiments kwise -solutions example_model_solutions.jsonl.gz -sft train.jsonl.gz
//	go run ./hack/experiments -out out/experiments ptx
//	go run ./hack/experiments -out out/experiments length
//
// Each run is a RunConfig that bin/trainer carries out; one whose checkpoint is there is not repeated. The
// tables go to standard output, as docs/experiments.md has them.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// lab runs RunConfigs below a folder.
type lab struct {
	out     string
	trainer string
	seeds   int
}

func main() {
	var l lab
	flag.StringVar(&l.out, "out", "out/experiments", "folder of data and checkpoints")
	flag.StringVar(&l.trainer, "trainer", "bin/trainer", "the trainer")
	flag.IntVar(&l.seeds, "seeds", 0, "how many seeds; 0 is the experiment's own number")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := l.run(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "experiments:", err)
		os.Exit(1)
	}
}

func (l lab) run(ctx context.Context, args []string) (err error) {
	if l.out, err = filepath.Abs(l.out); err != nil {
		return err
	}
	if len(args) == 0 {
		return errors.New("name an experiment: kwise, ptx or length")
	}
	switch args[0] {
	case "kwise":
		return l.kwise(ctx, args[1:])
	case "ptx":
		return l.ptx(ctx)
	case "length":
		return l.length(ctx)
	}
	return fmt.Errorf("%s is no experiment: kwise, ptx or length", args[0])
}

// train carries out a run below the lab's folder, unless it is done, and returns its result.
func (l lab) train(ctx context.Context, name string, c runconfig.RunConfig) (result runconfig.Result, err error) {
	dir := filepath.Join(l.out, name)
	c.Version, c.Name, c.Output.URI = runconfig.Version, name, "file://"+dir
	c.SetDefaults()
	if err := c.Validate(); err != nil {
		return result, fmt.Errorf("%s: %w", name, err)
	}
	text, err := runconfig.Marshal(&c)
	if err != nil {
		return result, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return result, err
	}
	path, log := dir+".yaml", dir+".log"
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return result, err
	}
	started := time.Now()
	said, err := os.Create(log)
	if err != nil {
		return result, err
	}
	defer said.Close()
	command := exec.CommandContext(ctx, l.trainer, "train", "--config", path)
	command.Stdout, command.Stderr = said, said
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	if err := command.Run(); err != nil {
		return result, fmt.Errorf("%s: %w; see %s", name, err, log)
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", name, time.Since(started).Round(time.Second))
	b, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		return result, err
	}
	return result, json.Unmarshal(b, &result)
}

// history are the lines of a run's metrics.jsonl that have a metric, by step.
func (l lab) history(name, metric string) (steps []int, values []float64, err error) {
	b, err := os.ReadFile(filepath.Join(l.out, name, "metrics.jsonl"))
	if err != nil {
		return nil, nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	for decoder.More() {
		var row map[string]any
		if err := decoder.Decode(&row); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		if v, ok := row[metric].(float64); ok {
			steps, values = append(steps, int(row["step"].(float64))), append(values, v)
		}
	}
	return steps, values, nil
}

func (l lab) checkpoint(name string) runconfig.Source {
	return runconfig.Source{URI: "file://" + filepath.Join(l.out, name)}
}

func (l lab) file(name string) []runconfig.Dataset {
	return []runconfig.Dataset{{URI: "file://" + filepath.Join(l.out, name)}}
}

func ptr[T any](v T) *T { return &v }
