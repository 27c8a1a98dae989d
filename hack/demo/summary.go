package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
)

// What a stage has to reach.
const wantAccuracy = 0.8

// print prints the tables, some answers and where the reports are.
func (d *demo) print(r *results) {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nstage\ttime\ttraining\tsteps\ttokens/s\tloss\theld-out loss\treward accuracy\treward margin\tKL\t")
	for _, s := range []stageResult{r.sft, r.dpo} {
		speed := 0.
		if s.Seconds > 0 {
			speed = float64(s.Tokens) / s.Seconds
		}
		fmt.Fprintf(t, "%s\t%.0f s\t%.0f s\t%d\t%.0f\t%s\t%s\t%s\t%s\t%s\t\n", s.Kind(), s.seconds, s.Seconds, s.Step, speed,
			s.metric("loss"), s.metric("eval_loss"), s.metric("eval_rewards/accuracies"), s.metric("eval_rewards/margins"), s.metric("kl"))
	}
	t.Flush()
	fmt.Fprintf(&b, "\nSFT's held-out loss is in nats per token, over %d tokens; an interpolated bigram model has %.3f.\n", r.bigram.Tokens, r.bigram.CrossEntropy)
	b.WriteString("Reward accuracy, margin and KL to the reference (nats per response) are on held-out pairs.\n")
	if d.data == "" {
		fmt.Fprintf(&b, "Comments that begin with the name they are about, of %d sampled: SFT %.1f %%, DPO %.1f %%. Below, the likeliest ones.\n", draws*len(r.answers), 100*r.followsBy["SFT"], 100*r.followsBy["DPO"])
	}
	for _, a := range r.answers[:min(shownPrompts, len(r.answers))] {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSuffix(a.Prompt, "\n//"))
		for _, said := range []struct{ who, text string }{{"base", a.Base}, {"SFT", a.SFT}, {"DPO", a.DPO}, {"Go", a.Reference}} {
			if said.text != "" {
				fmt.Fprintf(&b, "  %-5s//%s\n", said.who, oneLine(said.text, 110))
			}
		}
	}
	fmt.Fprintf(&b, "\nReports: %s and %s\nAll answers: %s\n", d.path("sft", "report.html"), d.path("dpo", "report.html"), d.path("answers.json"))
	d.console.printf("%s", b.String())
}

// Kind is the stage's kind without "Job".
func (s stageResult) Kind() string { return strings.TrimSuffix(string(s.kind), "Job") }

// metric is a metric for a table.
func (s stageResult) metric(name string) string {
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
	loss, accuracy := r.sft.Metrics["eval_loss"], r.dpo.Metrics["eval_rewards/accuracies"]
	that(loss > 0 && loss < r.bigram.CrossEntropy, "SFT's held-out loss %.3f is not below the bigram model's %.3f", loss, r.bigram.CrossEntropy)
	that(accuracy >= wantAccuracy, "DPO's held-out reward accuracy %.3f is below %.1f", accuracy, wantAccuracy)
	that(r.followsBy["DPO"] > r.followsBy["SFT"], "DPO's comments begin with the name in %.1f %% of the cases, SFT's in %.1f %%", 100*r.followsBy["DPO"], 100*r.followsBy["SFT"])
	return errors.Join(problems...)
}
