package inspect

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// The marks of rendered examples, and the colour of what is trained on.
const (
	markRead    = "  | "
	markTrained = "  > "
	markNewline = "↵"
	markSpace   = "·"
	green       = "\x1b[32m"
	plain       = "\x1b[0m"
)

// Text writes the report for people. Colour says the same as the marks do.
func (r *Report) Text(w io.Writer, colour bool) error {
	b := bufio.NewWriter(w)
	for _, l := range r.Lists {
		l.text(b)
	}
	if len(r.Problems) == 0 {
		fmt.Fprintln(b, "No problems found.")
	}
	for _, p := range r.Problems {
		p.text(b)
	}
	if len(r.Examples) > 0 {
		fmt.Fprintf(b, "\nExamples: %q is trained on, %q is only read; %s ends a line, %s is a space at an end.\n",
			strings.TrimSpace(markTrained), strings.TrimSpace(markRead), markNewline, markSpace)
	}
	for _, x := range r.Examples {
		x.text(b, colour)
	}
	return b.Flush()
}

func (l *List) text(b *bufio.Writer) {
	formats := "no records"
	if len(l.Formats) > 0 {
		formats = strings.Join(slices.Sorted(maps.Keys(l.Formats)), ", ")
	}
	fmt.Fprintf(b, "%s: %s\n", l.Role, formats)
	fmt.Fprintf(b, "  records %d, of which %d cannot be used and %d are dropped\n", l.Records, l.Invalid, l.Dropped)
	fmt.Fprintf(b, "  examples %d", l.Examples)
	if l.HeldOut > 0 {
		fmt.Fprintf(b, ", of which %d are held out", l.HeldOut)
	}
	fmt.Fprintf(b, "\n  tokens %d, of which %d are trained on; %d more are cut off\n", l.Tokens, l.Trained, l.Cut)
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(l.Lengths) > 0 {
		fmt.Fprintln(t, "length in tokens\tcount\tmean\tmin\tp50\tp90\tp99\tmax\t")
	}
	for _, d := range l.Lengths {
		fmt.Fprintf(t, "%s\t%d\t%.1f\t%d\t%d\t%d\t%d\t%d\t\n", d.Of, d.Count, d.Mean, d.Min, d.P50, d.P90, d.P99, d.Max)
	}
	t.Flush()
	for _, d := range l.Datasets {
		if len(l.Datasets) > 1 || d.Weight != 1 {
			fmt.Fprintf(b, "  %s: %d examples, %.0f an epoch\n", visible(d.URI), d.Examples, d.Epoch)
		}
	}
	fmt.Fprintln(b)
}

func (p *Problem) text(b *bufio.Writer) {
	fmt.Fprintf(b, "%s: %d %s: %s\n", p.Role, p.Count, p.Kind, p.Means)
	for _, at := range p.At {
		fmt.Fprintf(b, "  %s", visible(at.File))
		if at.Line > 0 {
			fmt.Fprintf(b, ":%d", at.Line)
		}
		if at.Message != "" {
			fmt.Fprintf(b, ": %s", visible(at.Message))
		}
		fmt.Fprintln(b)
	}
	if more := p.Count - len(p.At); more > 0 {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
}

func (x Example) text(b *bufio.Writer, colour bool) {
	fmt.Fprintf(b, "\n%s: %s:%d\n", x.Role, visible(x.File), x.Line)
	for _, p := range x.Parts {
		if len(p.Spans) == 0 {
			continue
		}
		fmt.Fprintf(b, "%s: %d tokens", p.Name, p.Tokens)
		if p.Cut > 0 {
			fmt.Fprintf(b, " (%d more are cut off)", p.Cut)
		}
		fmt.Fprintln(b)
		for _, s := range p.Spans {
			for line := range strings.Lines(s.Text) {
				line, ended := strings.CutSuffix(line, "\n")
				line = spaces(visible(line))
				if ended {
					line += markNewline
				}
				switch {
				case !s.Trained:
					fmt.Fprintln(b, markRead+line)
				case colour:
					fmt.Fprintln(b, markTrained+green+line+plain)
				default:
					fmt.Fprintln(b, markTrained+line)
				}
			}
		}
	}
}

// spaces shows the spaces at the ends of a line, which matter to a tokenizer.
func spaces(s string) string {
	rest := strings.TrimLeft(s, " ")
	head := len(s) - len(rest)
	core := strings.TrimRight(rest, " ")
	return strings.Repeat(markSpace, head) + core + strings.Repeat(markSpace, len(rest)-len(core))
}

// visible escapes what a terminal would obey rather than show, and bytes that are no text.
func visible(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		c, size := utf8.DecodeRuneInString(s)
		switch {
		case c == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case c == '\t' || unicode.IsPrint(c):
			b.WriteRune(c)
		default:
			q := strconv.QuoteRuneToASCII(c)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[size:]
	}
	return b.String()
}
