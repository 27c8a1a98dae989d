package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

const (
	// wantAccuracy is the least held-out accuracy of whatever learns from preferences.
	wantAccuracy = 0.8
	// noAccident is how many standard errors a gain must have.
	noAccident = 5
)

// print prints the tables, some answers and where the reports are.
func (d *demo) print(r *results) {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nstage\ttime\ttraining\tsteps\ttokens/s\tpeak memory\tloss\theld-out loss\treward accuracy\treward margin\t")
	for _, s := range r.stages {
		fmt.Fprintf(t, "%s\t%.0f s\t%.0f s\t%d\t%.0f\t%d MiB\t%s\t%s\t%s\t%s\t\n", s.name(), s.seconds, s.Seconds, s.Step,
			float64(s.Tokens)/max(s.Seconds, 1e-9), s.PeakMemoryBytes>>20,
			s.metric("loss"), s.metric("eval_loss"), s.metric("eval_rewards/accuracies"), s.metric("eval_rewards/margins"))
	}
	t.Flush()
	fmt.Fprintf(&b, "\nSFT's held-out loss is in nats per token, over %d tokens; an interpolated bigram model has %.3f.\n"+
		"Reward accuracy and margin are on held-out preferences.\n", r.bigram.Tokens, r.bigram.CrossEntropy)
	if len(r.asked) > 0 {
		d.compare(&b, t, r)
	}
	fmt.Fprintf(&b, "\nReports: %s\n", d.path("*", "report.html"))
	if len(r.asked) > 0 {
		fmt.Fprintf(&b, "All sampled answers: %s\n", d.path("answers", "*.jsonl"))
	}
	d.console.printf("%s", b.String())
}

// compare prints how the policies answer the same prompts.
func (d *demo) compare(b *strings.Builder, t *tabwriter.Writer, r *results) {
	hasReward := r.of(v1alpha1.RewardModelJobKind) != nil
	fmt.Fprintln(t, "\npolicy\treward\tKL to SFT\tbegins with the name\tlength\tended\t")
	for _, s := range r.policies() {
		number := func(known bool, format string, of func(response) float64, scale float64) string {
			if !known {
				return "-"
			}
			return fmt.Sprintf(format, scale*mean(of, s.sampled))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", s.name(),
			number(hasReward, "%.3f", reward, 1), number(true, "%.2f", kl, 1), number(d.data == "", "%.1f %%", follows, 100),
			number(true, "%.1f", length, 1), number(true, "%.1f %%", ended, 100))
	}
	t.Flush()
	fmt.Fprintf(b, "\nMeans over %d answers, %d sampled for each of %d held-out prompts: the reward model's score, KL in nats per answer,\n"+
		"length in tokens, and how many ended within %s. Below, the likeliest answers.\n", draws*len(r.asked), draws, len(r.asked), answerTokens)
	for i, q := range r.asked[:min(shownPrompts, len(r.asked))] {
		fmt.Fprintf(b, "\n%s\n", strings.TrimSuffix(q.prompt, "\n//"))
		say := func(who, text string) {
			if text != "" {
				fmt.Fprintf(b, "  %-6s//%s\n", who, oneLine(text, 110))
			}
		}
		say("base", q.base)
		for _, s := range r.policies() {
			say(s.name(), s.likeliest[i].Response)
		}
		say("Go", q.reference)
	}
}

// metric is a metric for a table.
func (s *stageResult) metric(name string) string {
	if v, ok := s.Metrics[name]; ok {
		return fmt.Sprintf("%.3f", v)
	}
	return "-"
}

func oneLine(text string, limit int) string {
	runes := []rune(strings.Join(strings.Split(text, "\n"), "⏎"))
	if len(runes) > limit {
		return string(runes[:limit]) + "..."
	}
	return string(runes)
}

// check fails when a stage learned less than it should. What the user's own data can teach is not known.
func (r *results) check(goComments bool) error {
	if !goComments {
		return nil
	}
	var problems []error
	that := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	sft := r.of(v1alpha1.SFTJobKind)
	loss := sft.Metrics["eval_loss"]
	that(loss > 0 && loss < r.bigram.CrossEntropy, "SFT's held-out loss %.3f is not below the bigram model's %.3f", loss, r.bigram.CrossEntropy)
	for _, kind := range []v1alpha1.StageKind{v1alpha1.RewardModelJobKind, v1alpha1.DPOJobKind, v1alpha1.SimPOJobKind} {
		if s := r.of(kind); s != nil {
			accuracy := s.Metrics["eval_rewards/accuracies"]
			that(accuracy >= wantAccuracy, "%s's held-out reward accuracy %.3f is below %.1f", s.name(), accuracy, wantAccuracy)
		}
	}
	if s := r.of(v1alpha1.DPOJobKind); s != nil {
		more, _ := gain(follows, sft.sampled, s.sampled, len(r.asked))
		that(more > 0, "DPO's comments do not begin with the name more often than SFT's: the gain is %.1f %%", 100*more)
	}
	if s := r.of(v1alpha1.PPOJobKind); s != nil {
		more, off := gain(reward, sft.sampled, s.sampled, len(r.asked))
		that(more > noAccident*off, "PPO's mean reward is above SFT's by %.3f only, with a standard error of %.3f", more, off)
	}
	return errors.Join(problems...)
}
