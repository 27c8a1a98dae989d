package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/metrics"
)

// A chart's geometry, in the units of its viewBox: the plot is between the margins.
const (
	width, height            = 380.0, 210.0
	left, right, top, bottom = 56.0, 12.0, 12.0, 30.0
	maxPoints                = 500  // of one line; more would not be seen
	smoothFrom               = 40   // points from which a smoothed line is drawn over the raw one
	markersUpTo              = 60   // points up to which each is a dot with its value
	largest                  = 1e30 // beyond it a value is not drawn
)

// chart is one picture of curves over steps.
type chart struct {
	Title        string
	Series       []series
	XTicks       []tick
	YTicks       []tick
	Width        float64
	Height       float64
	Left, Bottom float64 // the plot's corner
	Right, Top   float64 // the opposite one
}

// series is one curve. Its paths are SVG path data.
type series struct {
	Name   string
	Color  int // 1 to 4
	Raw    string
	Smooth string
	Dots   []dot
}

type dot struct {
	X, Y  float64
	Label string
}

type tick struct {
	At    float64
	Label string
}

type point struct{ x, y float64 }

// order is which metrics come first; the others follow by name.
var order = []string{"loss", "objective/scores", "objective/kl", "objective/rlhf_reward", "ptx_loss", "rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected", "kl", "logps/chosen", "logps/rejected", "entropy", "accuracy", "grad_norm", "learning_rate"}

// compareMetrics sorts by order, then by name, each with its held-out twin behind it.
func compareMetrics(a, b string) int {
	rank := func(name string) int {
		if i := slices.Index(order, base(name)); i >= 0 {
			return i
		}
		return len(order)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(base(a), base(b)), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// base is a metric's name without the prefix of held-out ones.
func base(name string) string { return strings.TrimPrefix(name, "eval_") }

// group is the chart a metric belongs to.
func group(name string) string {
	name = base(name)
	if strings.HasPrefix(name, calibration) {
		return strings.TrimSuffix(calibration, "/")
	}
	for _, suffix := range []string{"/chosen", "/rejected"} {
		if g, ok := strings.CutSuffix(name, suffix); ok {
			return g
		}
	}
	return name
}

// calibration metrics are of bins of a probability, one curve each.
const calibration = "calibration/"

// label is what tells a curve from the others of its chart.
func label(name string) string {
	if bin, ok := strings.CutPrefix(base(name), calibration); ok {
		return bin
	}
	set, rest := "training", base(name)
	if rest != name {
		set = "held-out"
	}
	for _, role := range []string{"chosen", "rejected"} {
		if strings.HasSuffix(rest, "/"+role) {
			if rest == name {
				return role
			}
			return role + ", " + set
		}
	}
	return set
}

// charts draws every metric of a history, held-out ones on their twin's chart.
func charts(rows []metrics.Row) []chart {
	curves := map[string][]point{}
	for _, row := range rows {
		for name, v := range row.Values {
			curves[name] = append(curves[name], point{float64(row.Step), v})
		}
	}
	var out []chart
	names := slices.SortedFunc(maps.Keys(curves), compareMetrics)
	for len(names) > 0 {
		title := group(names[0])
		var members, others []string
		for _, n := range names {
			if group(n) == title {
				members = append(members, n)
			} else {
				others = append(others, n)
			}
		}
		names = others
		if c, ok := draw(title, members, curves); ok {
			out = append(out, c)
		}
	}
	return out
}

// draw is one chart; false when there is no curve: fewer than two points that are numbers.
func draw(title string, names []string, curves map[string][]point) (chart, bool) {
	c := chart{Title: title, Width: width, Height: height, Left: left, Bottom: height - bottom, Right: width - right, Top: top}
	xs, ys := newExtent(), newExtent()
	visible := 0
	for _, name := range names {
		for _, p := range curves[name] {
			if drawable(p.y) {
				xs.add(p.x)
				ys.add(p.y)
				visible++
			}
		}
	}
	if visible < 2 || xs.lo == xs.hi {
		return chart{}, false
	}
	ys.pad()
	toX := func(x float64) float64 { return c.Left + (x-xs.lo)/(xs.hi-xs.lo)*(c.Right-c.Left) }
	toY := func(y float64) float64 { return c.Bottom - (y-ys.lo)/(ys.hi-ys.lo)*(c.Bottom-c.Top) }
	for i, name := range names {
		s := series{Name: label(name), Color: i%4 + 1}
		points := curves[name]
		if len(points) >= smoothFrom && noisy(points) {
			s.Smooth = path(thin(smooth(points)), toX, toY)
		}
		s.Raw = path(thin(points), toX, toY)
		if len(points) <= markersUpTo && (strings.HasPrefix(name, "eval_") || len(points) < smoothFrom) {
			for _, p := range points {
				if drawable(p.y) {
					s.Dots = append(s.Dots, dot{round(toX(p.x)), round(toY(p.y)), fmt.Sprintf("step %g: %s", p.x, number(p.y))})
				}
			}
		}
		c.Series = append(c.Series, s)
	}
	for _, v := range ticks(xs.lo, xs.hi, 6, 1) {
		c.XTicks = append(c.XTicks, tick{round(toX(v)), fmt.Sprintf("%.0f", v)})
	}
	for _, v := range ticks(ys.lo, ys.hi, 5, 0) {
		c.YTicks = append(c.YTicks, tick{round(toY(v)), number(v)})
	}
	return c, true
}

func drawable(v float64) bool { return math.Abs(v) <= largest } // false for NaN too

func round(v float64) float64 { return math.Round(v*10) / 10 }

// path is the SVG path of points; it is interrupted where a value cannot be drawn.
func path(points []point, toX, toY func(float64) float64) string {
	var b strings.Builder
	op := 'M'
	for _, p := range points {
		if !drawable(p.y) {
			op = 'M'
			continue
		}
		fmt.Fprintf(&b, "%c%.1f %.1f", op, toX(p.x), toY(p.y))
		op = 'L'
	}
	return b.String()
}

// thin keeps the lowest and highest point of each of maxPoints/2 stretches, so that no
// spike is lost.
func thin(points []point) []point {
	if len(points) <= maxPoints {
		return points
	}
	var out []point
	const stretches = maxPoints / 2
	for i := range stretches {
		part := points[i*len(points)/stretches : (i+1)*len(points)/stretches]
		lo, hi := 0, 0
		for j, p := range part {
			if !drawable(p.y) {
				continue
			}
			if !drawable(part[lo].y) || p.y < part[lo].y {
				lo = j
			}
			if !drawable(part[hi].y) || p.y > part[hi].y {
				hi = j
			}
		}
		out = append(out, part[min(lo, hi)])
		if lo != hi {
			out = append(out, part[max(lo, hi)])
		}
	}
	return out
}

// smooth is the exponential moving average over about a 20th of the points, corrected for
// its start as Adam's moments are. What cannot be drawn stays as it is.
func smooth(points []point) []point {
	keep := 1 - 20/float64(len(points)+20)
	out := make([]point, len(points))
	mean, weight := 0.0, 0.0
	for i, p := range points {
		out[i] = p
		if drawable(p.y) {
			mean, weight = keep*mean+(1-keep)*p.y, keep*weight+(1-keep)
			out[i].y = mean / weight
		}
	}
	return out
}

// noisy says whether points go up and down much more than they move along.
func noisy(points []point) bool {
	ys, travelled, before := newExtent(), 0.0, math.NaN()
	for _, p := range points {
		if !drawable(p.y) {
			continue
		}
		ys.add(p.y)
		if !math.IsNaN(before) {
			travelled += math.Abs(p.y - before)
		}
		before = p.y
	}
	return travelled > 3*(ys.hi-ys.lo)
}

type extent struct{ lo, hi float64 }

func newExtent() extent { return extent{math.Inf(1), math.Inf(-1)} }

func (e *extent) add(v float64) { e.lo, e.hi = min(e.lo, v), max(e.hi, v) }

// pad leaves some room above and below, also around a constant.
func (e *extent) pad() {
	room := (e.hi - e.lo) * 0.05
	if room == 0 {
		room = max(math.Abs(e.hi)*0.05, 1e-12)
	}
	e.lo, e.hi = e.lo-room, e.hi+room
}

// ticks are about n round numbers between lo and hi, no closer than least.
func ticks(lo, hi float64, n int, least float64) []float64 {
	raw := max((hi-lo)/float64(n), least)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, f := range []float64{1, 2, 5, 10} {
		if f*step >= raw*0.999 {
			step *= f
			break
		}
	}
	var out []float64
	for k := math.Ceil(lo / step); k*step <= hi && len(out) <= 2*n; k++ {
		out = append(out, k*step+0) // + 0 makes 0 of -0
	}
	return out
}
