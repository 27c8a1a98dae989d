package status

import (
	"encoding/json"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// Bounds of what is taken from a trainer.
const (
	maxMetrics = 64
	maxText    = 1024
	maxSteps   = 1 << 40
	maxSeconds = 10 * 365 * 24 * 3600
)

var (
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	metricPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./@-]{0,62}$`)
	reasonPattern = regexp.MustCompile(`^[A-Z][A-Za-z]{0,63}$`)
	phases        = []string{
		runconfig.PhaseLoading, runconfig.PhaseEvaluating, runconfig.PhaseTraining,
		runconfig.PhasePublishing, runconfig.PhaseDone, runconfig.PhaseFailed,
	}
)

// progress takes over what the trainer just said; what it leaves out or garbles is left out.
func (n *next) progress() {
	p := n.o.Progress
	if p == nil {
		return
	}
	old := n.Progress
	now := &v1alpha1.Progress{
		Step:            bounded(float64(p.Step), maxSteps),
		TotalSteps:      bounded(float64(p.TotalSteps), maxSteps),
		ETASeconds:      bounded(p.ETASeconds, maxSeconds),
		TokensPerSecond: bounded(p.TokensPerSecond, 1e12),
		ResumedFrom:     bounded(float64(p.ResumedFrom), maxSteps),
		Message:         cleanText(p.Message),
		UpdatedAt:       n.now,
	}
	now.Percent = percent(now.Step, now.TotalSteps)
	now.ETA = eta(now.ETASeconds)
	now.Epoch = epoch(p.Epoch)
	if slices.Contains(phases, p.Phase) {
		now.Phase = p.Phase
	}
	if old != nil && old.Step == now.Step && old.TotalSteps == now.TotalSteps && old.Phase == now.Phase && old.ResumedFrom == now.ResumedFrom && old.Message == now.Message {
		return // an estimate that wobbles is not worth a write
	}
	n.Progress = now
	n.metrics(p.Metrics)
}

// result takes over the last word of a run.
func (n *next) result(r runconfig.Result) {
	if r.TotalSteps > 0 {
		p := v1alpha1.Progress{}
		if n.Progress != nil {
			p = *n.Progress
		}
		p.Step, p.TotalSteps = bounded(float64(r.Step), maxSteps), bounded(float64(r.TotalSteps), maxSteps)
		p.Percent = percent(p.Step, p.TotalSteps)
		p.Epoch = epoch(r.Epoch)
		p.ETA, p.ETASeconds, p.Message = "", 0, ""
		p.Phase = runconfig.PhaseFailed
		if r.ExitCode == runconfig.ExitDone {
			p.Phase = runconfig.PhaseDone
		}
		if r.Seconds > 0 {
			p.TokensPerSecond = bounded(float64(r.Tokens)/r.Seconds, 1e12)
		}
		p.UpdatedAt = *n.CompletionTime
		n.Progress = &p
	}
	n.metrics(r.Metrics)
}

// metrics keeps those that were there before and are not in the newest report, such as an
// evaluation's between two evaluations.
func (n *next) metrics(in map[string]float64) {
	for _, k := range slices.Sorted(maps.Keys(in)) {
		v := in[k]
		if !metricPattern.MatchString(k) || math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		if n.Metrics == nil {
			n.Metrics = map[string]string{}
		}
		if _, known := n.Metrics[k]; known || len(n.Metrics) < maxMetrics {
			n.Metrics[k] = strconv.FormatFloat(v, 'g', 4, 64)
		}
	}
}

// readResult reads a pod's termination message. Text that is no result, such as a crash's last
// lines, becomes the message; the reason then comes from the container.
func readResult(pod *corev1.Pod) runconfig.Result {
	t := terminated(pod)
	if t == nil {
		if pod != nil && pod.Status.Reason != "" { // Evicted, NodeLost ...
			return runconfig.Result{Message: cleanText(pod.Status.Reason + ": " + pod.Status.Message)}
		}
		return runconfig.Result{}
	}
	var r runconfig.Result
	if err := json.Unmarshal([]byte(t.Message), &r); err != nil {
		r = runconfig.Result{Message: tail(cleanLines(t.Message))}
	}
	r.ExitCode = int(t.ExitCode)
	r.Message = cleanText(r.Message)
	if !reasonPattern.MatchString(r.Reason) {
		r.Reason = ""
	}
	if r.Reason == "" && t.Reason != "Error" && reasonPattern.MatchString(t.Reason) {
		r.Reason = t.Reason // OOMKilled
	}
	if r.Message == "" && r.ExitCode != runconfig.ExitDone {
		r.Message = "the trainer ended with exit code " + strconv.Itoa(r.ExitCode)
		if t.Signal != 0 {
			r.Message = "the trainer was ended by signal " + strconv.Itoa(int(t.Signal))
		}
	}
	return r
}

// bounded is 0 for what is not a number from 0 to limit.
func bounded(v, limit float64) int64 {
	if !(v >= 0 && v <= limit) {
		return 0
	}
	return int64(v)
}

func percent(step, total int64) int32 {
	if total <= 0 {
		return 0
	}
	return int32(min(100*step/total, 100))
}

// eta is a duration for people, to two units: 2d3h, 1h5m, 4m10s, 9s.
func eta(seconds int64) string {
	switch d := time.Duration(seconds) * time.Second; {
	case seconds <= 0:
		return ""
	case seconds >= 86400:
		return strconv.FormatInt(seconds/86400, 10) + "d" + strconv.FormatInt(seconds%86400/3600, 10) + "h"
	case seconds >= 3600:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	default:
		return d.String()
	}
}

// cleanText is one line without control characters, of bounded length.
func cleanText(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + " ..."
	}
	return s
}

// cleanLines keeps lines apart, for tail.
func cleanLines(s string) []string {
	var lines []string
	for l := range strings.Lines(s) {
		if l = cleanText(l); l != "" {
			lines = append(lines, l)
		}
	}
	return lines
}

// tail is the end of a log, where the cause usually is.
func tail(lines []string) string {
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

// epoch is empty for what no trainer means.
func epoch(e float64) string {
	if e > 0 && e < 1e9 {
		return strconv.FormatFloat(e, 'f', 2, 64)
	}
	return ""
}
