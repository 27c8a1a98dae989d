package metrics

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// Bar shows progress to a person: a moving bar on a terminal, else a line now and then.
type Bar struct {
	w     io.Writer
	every time.Duration
	clock func() time.Time

	bar   *progressbar.ProgressBar // on a terminal, while training
	tty   bool
	phase string
	last  time.Time
}

// NewBar writes to w. Without a terminal it writes a line when the phase changes, at the
// last step, and else at most one in every.
func NewBar(w io.Writer, every time.Duration, clock func() time.Time) *Bar {
	f, ok := w.(*os.File)
	return &Bar{w: w, every: every, clock: clock, tty: ok && term.IsTerminal(int(f.Fd()))}
}

// Update shows p.
func (b *Bar) Update(p runconfig.Progress) {
	if b.tty && p.Phase == runconfig.PhaseTraining && p.TotalSteps > 0 {
		b.move(p)
		b.phase = p.Phase
		return
	}
	if b.bar != nil && b.phase == runconfig.PhaseTraining {
		fmt.Fprintln(b.w)
		b.bar = nil
	}
	now := b.clock()
	atEnd := p.TotalSteps > 0 && p.Step == p.TotalSteps && p.Phase == runconfig.PhaseTraining
	if p.Phase == b.phase && !atEnd && now.Sub(b.last) < b.every {
		return
	}
	b.phase, b.last = p.Phase, now
	fmt.Fprintln(b.w, line(p))
}

// Close ends a line that the bar has begun.
func (b *Bar) Close() {
	if b.bar != nil {
		fmt.Fprintln(b.w)
		b.bar = nil
	}
}

func (b *Bar) move(p runconfig.Progress) {
	if b.bar == nil {
		b.bar = progressbar.NewOptions(p.TotalSteps,
			progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetWidth(24),
			progressbar.OptionShowCount(),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetPredictTime(false), // ours knows about evaluations
			progressbar.OptionUseANSICodes(true),
		)
	}
	b.bar.Describe(strings.Join(figures(p), "  "))
	b.bar.Set(p.Step)
}

// line is p on one line: "Training  step 20/100 (20%)  loss 1.234  ETA 1m20s".
func line(p runconfig.Progress) string {
	parts := []string{p.Phase}
	if p.TotalSteps > 0 {
		parts = append(parts, fmt.Sprintf("step %d/%d (%.0f%%)", p.Step, p.TotalSteps, p.Percent))
	}
	parts = append(parts, figures(p)...)
	if p.Message != "" {
		parts = append(parts, p.Message)
	}
	return strings.Join(parts, "  ")
}

// figures are the numbers a person looks at first, as far as p has them.
func figures(p runconfig.Progress) []string {
	var parts []string
	for _, m := range []struct{ name, label string }{
		{"loss", "loss"}, {"eval_loss", "eval loss"}, {"rewards/accuracies", "accuracy"}, {"rewards/margins", "margin"},
		{"objective/scores", "reward"}, {"objective/kl", "KL"}, {"kl", "held-out KL"},
	} {
		if v, ok := p.Metrics[m.name]; ok {
			parts = append(parts, fmt.Sprintf("%s %.4g", m.label, v))
		}
	}
	if p.TokensPerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%.0f tok/s", p.TokensPerSecond))
	}
	if p.ETASeconds > 0 {
		parts = append(parts, "ETA "+time.Duration(p.ETASeconds*float64(time.Second)).Round(time.Second).String())
	}
	return parts
}
