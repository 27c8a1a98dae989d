package inspect

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alignment-dev/alignment-operator/runtime/data"
)

// Source is a list of datasets, and what a run makes of it.
type Source struct {
	Role string // train, eval, demonstrations or pretraining
	Use  Use
	// Encoder is the run's.
	Encoder data.Encoder
	// Datasets are read one after another.
	Datasets []Dataset
	// HoldOut is the fraction of the records that is not trained on, chosen by Options.Seed.
	HoldOut float64
}

// Dataset is one of a list.
type Dataset struct {
	URI    string
	Weight float64 // how often each example comes in an epoch
	// Records may go on after an *data.Error, which is then a problem like any other.
	Records iter.Seq2[data.Record, error]
}

// Options say how much to tell.
type Options struct {
	Examples  int    // to render of each list, chosen at random by Seed
	Locations int    // to name of each problem, the first; 0 is all
	Seed      uint64 // the run's
}

// Inspect reads all sources once. An error is one of reading, other than of what was read.
func Inspect(sources []Source, o Options) (*Report, error) {
	in := inspector{options: o, problems: map[[2]string]*Problem{}, report: &Report{Problems: []*Problem{}}}
	kept := map[string][]entry{}
	for _, s := range sources {
		entries, err := in.read(s)
		if err != nil {
			return nil, err
		}
		kept[s.Role] = entries
		if s.HoldOut > 0 {
			t, h := data.Split(len(entries), s.HoldOut, o.Seed)
			trained, held := data.Pick(entries, t), data.Pick(entries, h)
			for _, e := range held {
				in.list.HeldOut += e.examples
			}
			in.leaks(s.Role, trained, held)
			entries = trained
		}
		for _, e := range entries {
			d := in.list.Datasets[e.dataset]
			d.Epoch += float64(e.examples) * d.Weight
		}
	}
	in.leaks("eval", kept["train"], kept["eval"])
	for _, k := range kinds {
		for _, l := range in.report.Lists {
			if p := in.problems[[2]string{k.kind, l.Role}]; p != nil {
				p.Means = k.means
				in.report.Problems = append(in.report.Problems, p)
			}
		}
	}
	return in.report, nil
}

type inspector struct {
	options  Options
	report   *Report
	list     *List                  // that is being read
	problems map[[2]string]*Problem // by kind and role
}

func (in *inspector) problem(kind, role string, at Location) {
	p := in.problems[[2]string{kind, role}]
	if p == nil {
		p = &Problem{Kind: kind, Role: role}
		in.problems[[2]string{kind, role}] = p
	}
	p.Count++
	if in.options.Locations == 0 || len(p.At) < in.options.Locations {
		p.At = append(p.At, at)
	}
}

// entry is what is remembered of a record that is kept.
type entry struct {
	whole, prompt hash // prompt is zero when there is none
	file          string
	line          int
	dataset       int
	examples      int
}

type hash [16]byte

// hashOf tells texts apart, wherever they are cut into several.
func hashOf(parts ...any) hash {
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", parts))
	return hash(sum[:])
}

// leaks finds the held-out records that are trained on.
func (in *inspector) leaks(role string, trained, held []entry) {
	examples, prompts := map[hash]entry{}, map[hash]entry{}
	for _, e := range slices.Backward(trained) { // the first of equals stays
		examples[e.whole], prompts[e.prompt] = e, e
	}
	delete(prompts, hash{})
	for _, e := range held {
		at := Location{File: e.file, Line: e.line}
		if first, ok := examples[e.whole]; ok {
			at.Message = "as " + first.String()
			in.problem(TrainedOn, role, at)
		} else if first, ok := prompts[e.prompt]; ok {
			at.Message = "as " + first.String()
			in.problem(PromptTrainedOn, role, at)
		}
	}
}

func (e entry) String() string { return fmt.Sprintf("%s:%d", e.file, e.line) }

// read adds a source's List to the report and returns what it keeps.
func (in *inspector) read(s Source) (kept []entry, err error) {
	in.list = &List{Role: s.Role, Formats: map[string]int{}}
	in.report.Lists = append(in.report.Lists, in.list)
	all := s.Encoder.LossOn == "all" && (s.Use == Sequences || s.Use == Natural)
	limited := s.Encoder
	limited.LossOn = "response"
	whole := limited
	whole.MaxLength, whole.MaxPromptLength = 0, 0
	random := rand.New(rand.NewPCG(in.options.Seed, uint64(len(in.report.Lists))))
	var shown []Example
	seen := map[hash]int{} // the first of equals in kept
	n := 0                 // examples that could be shown
	for r, err := range in.records(s) {
		use := s.Use.of(r)
		var full, parts []part
		if err == nil {
			full, parts, err = in.encode(&whole, &limited, use, r)
		}
		if err != nil {
			if !in.invalid(err) {
				return nil, err
			}
			continue
		}
		in.list.Records++
		in.list.Formats[r.Format]++
		in.texts(r)
		if parts == nil {
			in.list.Dropped++
			continue
		}
		if all && use == Sequences {
			countAll(parts)
		}
		in.count(full, parts)
		e := entry{whole: hashOf(content(r)), prompt: promptOf(r), file: r.File, line: r.Line, dataset: len(in.list.Datasets) - 1, examples: 1}
		if use == Unpaired {
			e.examples = len(parts) - 1
		}
		in.list.Examples += e.examples
		in.list.Datasets[e.dataset].Examples += e.examples
		if first, ok := seen[e.whole]; ok {
			in.problem(Duplicate, s.Role, locate(r, "as "+kept[first].String()))
		} else {
			seen[e.whole] = len(kept)
		}
		kept = append(kept, e)
		// A sample of all, each as likely as another.
		n++
		if at := random.IntN(n); at < in.options.Examples {
			x := Example{Role: s.Role, File: r.File, Line: r.Line, Parts: render(s.Encoder.Tokenizer, full, parts)}
			if len(shown) < in.options.Examples {
				shown = append(shown, x)
			} else {
				shown[at] = x
			}
		}
	}
	for _, d := range in.list.Lengths {
		d.finish()
	}
	in.report.Examples = append(in.report.Examples, shown...)
	return kept, nil
}

// records are those of a source's datasets, each of which is added to the list as it begins.
func (in *inspector) records(s Source) iter.Seq2[data.Record, error] {
	return func(yield func(data.Record, error) bool) {
		for _, d := range s.Datasets {
			in.list.Datasets = append(in.list.Datasets, &DatasetCount{URI: d.URI, Weight: d.Weight})
			for r, err := range d.Records {
				if !yield(r, err) {
					return
				}
			}
		}
	}
}

// invalid notes what is wrong with a record or a whole file; false when err is not about what was read.
func (in *inspector) invalid(err error) bool {
	var bad *data.Error
	if !errors.As(err, &bad) {
		return false
	}
	if bad.Line > 0 {
		in.list.Records++
	}
	in.list.Invalid++
	at := Location{File: bad.File, Line: bad.Line, Message: bad.Message}
	if bad.Field != "" {
		at.Message = bad.Field + ": " + bad.Message
	}
	in.problem(Invalid, in.list.Role, at)
	return true
}

// encode returns an example before and after it is cut; nil when it is dropped, and notes why.
func (in *inspector) encode(whole, limited *data.Encoder, use Use, r data.Record) (full, parts []part, err error) {
	note := func(kind, message string) { in.problem(kind, in.list.Role, locate(r, message)) }
	full, err = encode(whole, use, r)
	if err != nil {
		return nil, nil, err
	}
	if full == nil {
		note(why(use, r), "")
		return nil, nil, nil
	}
	if len(full)-1 < responses(use, r) {
		note(why(use, r), "")
	}
	if fits(limited, use, full) {
		parts = full
	} else if parts, err = encode(limited, use, r); err != nil {
		return nil, nil, err
	}
	if len(parts) < len(full) {
		note(CutOff, "")
	}
	if parts == nil {
		return nil, nil, nil
	}
	if n, of := len(parts[0].tokens), len(full[0].tokens); n < of {
		note(PromptCut, fmt.Sprintf("keeps %d of %d tokens", n, of))
	}
	if n, of := longest(parts), longest(full); n < of {
		note(ResponseCut, fmt.Sprintf("keeps %d of %d tokens", n, of))
	}
	if same(parts) {
		note(SameResponses, "")
	}
	return full, parts, nil
}

// count adds an example to the list's lengths and tokens.
func (in *inspector) count(full, parts []part) {
	l := in.list
	for _, p := range full {
		l.lengths(p.name).add(len(p.tokens))
		l.Cut += len(p.tokens)
	}
	if len(full) > 1 {
		l.lengths("total").add(len(full[0].tokens) + longest(full))
	}
	for _, p := range parts {
		l.Cut -= len(p.tokens)
		l.Tokens += len(p.tokens)
		for _, counts := range p.mask {
			if counts {
				l.Trained++
			}
		}
	}
}

// texts looks at what a record says.
func (in *inspector) texts(r data.Record) {
	for text := range r.Texts() {
		if strings.ContainsRune(text, utf8.RuneError) {
			in.problem(BrokenText, in.list.Role, locate(r, ""))
			break
		}
	}
	for _, messages := range [][]data.Message{r.Messages, r.PromptMessages} {
		if roles, ok := turns(messages); !ok {
			in.problem(Turns, in.list.Role, locate(r, roles))
		}
	}
}

// turns returns a conversation's roles, and whether they take turns.
func turns(messages []data.Message) (roles string, ok bool) {
	const most = 8 // are named
	var names []string
	ok = true
	next := "user"
	for i, m := range messages {
		if len(names) < most {
			names = append(names, m.Role)
		}
		switch {
		case m.Role == "system" && i == 0:
		case m.Role == next && next == "user":
			next = "assistant"
		case m.Role == next:
			next = "user"
		default:
			ok = false
		}
	}
	return strings.Join(names, ", "), ok
}

// content is a record without where it is from.
func content(r data.Record) data.Record {
	r.File, r.Line = "", 0
	return r
}

// promptOf is the hash of a record's prompt, zero when it has none.
func promptOf(r data.Record) hash {
	messages := r.PromptMessages
	if r.Messages != nil {
		first := slices.IndexFunc(r.Messages, func(m data.Message) bool { return m.Role == "assistant" })
		messages = r.Messages[:max(first, 0)]
	}
	if r.Prompt == "" && len(messages) == 0 {
		return hash{}
	}
	return hashOf(r.Prompt, messages)
}
