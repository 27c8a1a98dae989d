package cases

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/alignment-dev/alignment-operator/runtime/tensor"
)

// Error is a case that cannot be evaluated.
type Error struct {
	Line    int    // of the input, from 1
	Field   string // as "policy.chosen[0][2]"; empty where it is the whole line
	Message string
}

func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Message)
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Field, e.Message)
}

// Run reads a case a line and writes its result a line, in order, as it goes; blank lines are skipped. It
// ends with the first case that is wrong, an *Error. It must not be called inside tensor.Run.
func Run(in io.Reader, out io.Writer) error {
	return tensor.Run(func() error {
		lines := bufio.NewReader(in)
		for n := 1; ; n++ {
			line, err := lines.ReadBytes('\n')
			end := errors.Is(err, io.EOF)
			if err != nil && !end {
				return fmt.Errorf("line %d: %w", n, err)
			}
			if line = bytes.TrimSpace(line); len(line) > 0 {
				if failed := evaluateTo(out, line); failed != nil {
					if wrong, ok := errors.AsType[*Error](failed); ok {
						wrong.Line = n
					}
					return failed
				}
			}
			if end {
				return nil
			}
		}
	})
}

func evaluateTo(out io.Writer, line []byte) (err error) {
	tensor.Scoped(func() {
		var result any
		if result, err = evaluate(line); err != nil {
			return
		}
		var text []byte
		if text, err = json.Marshal(result); err != nil { // JSON has no infinity
			err = &Error{Message: "the result is not finite: " + err.Error()}
			return
		}
		_, err = out.Write(append(text, '\n'))
	})
	return err
}

// evaluate is the result of a case, for JSON. Its errors lack the line.
func evaluate(line []byte) (any, error) {
	o, err := parse(line)
	if err != nil {
		return nil, err
	}
	name := o.text("objective")
	params := o.object("params", true)
	var compute func() any
	switch name {
	case "DPO", "CDPO", "Robust", "IPO", "KTO", "RDPO", "SimPO", "CPO", "ORPO", "SLiCHF":
		compute = pairs(name, o, params)
	case "RRHF":
		compute = rrhf(o, params)
	case "RewardModel":
		compute = rewardModel(o)
	case "PPO":
		compute = ppo(o, params)
	default:
		o.fail("objective", "got %q, want DPO, CDPO, Robust, IPO, KTO, RDPO, SimPO, CPO, ORPO, SLiCHF, RRHF, RewardModel or PPO", name)
	}
	params.noMore(name)
	o.noMore(name)
	if o.wrong.first != nil {
		return nil, o.wrong.first
	}
	return compute(), nil
}
