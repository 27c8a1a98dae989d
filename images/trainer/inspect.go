package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/data/inspect"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

func inspectCommand() *cobra.Command {
	var config, cache string
	var asJSON bool
	var o inspect.Options
	var adHoc adHoc
	c := &cobra.Command{
		Use:   "inspect (--config run.yaml | --data FILE --tokenizer DIR)",
		Short: "Say what is in a run's data, what is cut or dropped, and what is wrong with which line; train nothing",
		Long: `Read a run's data as training would, and print counts, lengths in tokens, what the length limits cut,
what is dropped, duplicates, held-out examples that are trained on, and what is wrong with which line. With
--examples, some are shown as the model reads them, with what is trained on marked.

The exit code is 2 when training on this data would be refused. No weights are read and no device is needed.`,
		Example: `  trainer data inspect --config run.yaml --examples 2
  trainer data inspect --data train.jsonl.gz --eval test.jsonl --tokenizer checkpoint --max-length 512 --json
  trainer data inspect --data hf://datasets/org/pairs@main --tokenizer hf://org/model`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			defer endAtSignal(c.Context())()
			if o.Examples < 0 || o.Locations < 0 {
				return errors.New("--examples and --problems: want 0 or more")
			}
			rc, err := adHoc.config()
			if config != "" {
				rc, err = runconfig.Load(config)
			}
			if err != nil {
				return err
			}
			rc.Placement.Cache = cmp.Or(rc.Placement.Cache, cache)
			report, err := run.Inspect(c.Context(), rc, run.Environment{Now: time.Now, Log: newLog(), Version: version, Open: open}, o)
			if err != nil {
				return err
			}
			if asJSON {
				out := json.NewEncoder(os.Stdout)
				out.SetEscapeHTML(false)
				out.SetIndent("", "  ")
				err = out.Encode(report)
			} else {
				_, plain := os.LookupEnv("NO_COLOR")
				err = report.Text(os.Stdout, !plain && term.IsTerminal(int(os.Stdout.Fd())))
			}
			if err == nil && report.Refused() {
				return exitCode(runconfig.ExitInvalid)
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&config, "config", "", "a RunConfig, whose data is read")
	f.StringVar(&cache, "cache", userCache(), "a folder for what is fetched, if the RunConfig names none")
	f.StringArrayVar(&adHoc.train, "data", nil, "a file or URI of examples; may be given several times")
	f.StringArrayVar(&adHoc.eval, "eval", nil, "held-out examples, as --data")
	f.StringVar(&adHoc.tokenizer, "tokenizer", "", "a folder with tokenizer.json")
	f.StringVar(&adHoc.format, "format", "auto", "of all files: "+strings.Join(runconfig.Formats, ", "))
	f.StringToStringVar(&adHoc.columns, "columns", nil, "our column names to the files' own, as prompt=question,completion=answer")
	f.StringVar(&adHoc.method, "method", "", "SFT, RewardModel, PPO, DPO or SimPO; without it, each record is used as its format is meant")
	f.IntVar(&adHoc.maxLength, "max-length", 0, "longest prompt and response in tokens, 0 is no limit")
	f.IntVar(&adHoc.maxPromptLength, "max-prompt-length", 0, "longest prompt in tokens, 0 is what --max-length leaves")
	f.IntVar(&o.Examples, "examples", 0, "examples to show of each list, chosen at random by the run's seed")
	f.IntVar(&o.Locations, "problems", 5, "lines to name of each kind of problem, 0 is all")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	c.MarkFlagsMutuallyExclusive("config", "data")
	c.MarkFlagsOneRequired("config", "data")
	c.MarkFlagsRequiredTogether("data", "tokenizer")
	for _, flag := range []string{"eval", "tokenizer", "format", "columns", "method", "max-length", "max-prompt-length"} {
		c.MarkFlagsMutuallyExclusive("config", flag)
	}
	return c
}

// userCache is "" for a user without one.
func userCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "alignment-operator", "trainer")
}

// adHoc is what a RunConfig has to say of data, as flags.
type adHoc struct {
	train, eval                []string
	tokenizer, format, method  string
	columns                    map[string]string
	maxLength, maxPromptLength int
}

func (a adHoc) config() (*runconfig.RunConfig, error) {
	if !slices.Contains(runconfig.Formats, a.format) {
		return nil, fmt.Errorf("--format: got %q, want one of %s", a.format, strings.Join(runconfig.Formats, ", "))
	}
	for name := range a.columns {
		if !slices.Contains(runconfig.ColumnNames, name) {
			return nil, fmt.Errorf("--columns: got %q, want one of %s", name, strings.Join(runconfig.ColumnNames, ", "))
		}
	}
	methods := []runconfig.Method{"", runconfig.SFT, runconfig.RewardModel, runconfig.PPO, runconfig.DPO, runconfig.SimPO}
	if !slices.Contains(methods, runconfig.Method(a.method)) {
		return nil, fmt.Errorf("--method: got %q, want SFT, RewardModel, PPO, DPO or SimPO", a.method)
	}
	if a.maxLength < 0 || a.maxPromptLength < 0 {
		return nil, errors.New("--max-length and --max-prompt-length: want 0 or more")
	}
	if a.maxLength > 0 && a.maxPromptLength >= a.maxLength {
		return nil, fmt.Errorf("--max-prompt-length: got %d, want less than --max-length", a.maxPromptLength)
	}
	tokenizer, err := uri(a.tokenizer)
	if err != nil {
		return nil, err
	}
	c := &runconfig.RunConfig{Method: runconfig.Method(a.method)}
	c.Model.Tokenizer = &runconfig.Tokenizer{Source: runconfig.Source{URI: tokenizer}}
	c.Data.MaxLength, c.Data.MaxPromptLength = a.maxLength, a.maxPromptLength
	for _, list := range []struct {
		from []string
		to   *[]runconfig.Dataset
	}{{a.train, &c.Data.Train}, {a.eval, &c.Data.Eval}} {
		for _, path := range list.from {
			u, err := uri(path)
			if err != nil {
				return nil, err
			}
			*list.to = append(*list.to, runconfig.Dataset{URI: u, Format: a.format, Columns: a.columns})
		}
	}
	return c, nil
}

// uri is a URI as it is, and a path as a file:// URI.
func uri(path string) (string, error) {
	if strings.Contains(path, "://") {
		return path, nil
	}
	path, err := filepath.Abs(path)
	return "file://" + strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23").Replace(path), err
}
