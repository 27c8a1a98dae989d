package inspect

import (
	"math"
	"slices"

	"github.com/alignment-dev/alignment-operator/runtime/data"
)

// Report is what was found.
type Report struct {
	Lists    []*List    `json:"lists"`
	Problems []*Problem `json:"problems"`
	Examples []Example  `json:"examples,omitempty"`
}

// Refused says whether a run on this data would end before its first step: a line cannot be used, or a
// list has nothing to learn from.
func (r *Report) Refused() bool {
	return slices.ContainsFunc(r.Lists, func(l *List) bool { return l.Invalid > 0 || l.Examples == 0 })
}

// List is what one list of datasets, such as data.train, holds.
type List struct {
	Role    string         `json:"role"`
	Records int            `json:"records"` // lines or rows
	Formats map[string]int `json:"formats"` // records
	// Invalid records end a run; Dropped ones are left out of it.
	Invalid int `json:"invalid"`
	Dropped int `json:"dropped"`
	// Examples are what is left; a record may make several. HeldOut of them are not trained on.
	Examples int `json:"examples"`
	HeldOut  int `json:"heldOut,omitempty"`
	// Tokens are those that the model reads, Trained those that count in the loss, Cut those that the length
	// limits took.
	Tokens  int `json:"tokens"`
	Trained int `json:"trained"`
	Cut     int `json:"cut"`
	// Lengths are before anything is cut. That of "total" is of a prompt and its longest response, which
	// maxLength limits.
	Lengths []*Lengths `json:"lengths"`
	// Datasets are the list's, in its order.
	Datasets []*DatasetCount `json:"datasets"`
}

// DatasetCount is what a dataset gives to its list.
type DatasetCount struct {
	URI      string  `json:"uri"`
	Examples int     `json:"examples"`
	Weight   float64 `json:"weight"`
	// Epoch is how many examples of it an epoch has, in the mean: those that are not held out, as often as
	// Weight says.
	Epoch float64 `json:"epoch"`
}

// lengths returns the list's lengths of a part, new ones at first.
func (l *List) lengths(of string) *Lengths {
	for _, d := range l.Lengths {
		if d.Of == of {
			return d
		}
	}
	d := &Lengths{Of: of}
	l.Lengths = append(l.Lengths, d)
	return d
}

// Lengths is the distribution of a part's length in tokens.
type Lengths struct {
	Of    string  `json:"of"` // prompt, response, chosen, rejected, desirable, undesirable or total
	Count int     `json:"count"`
	Mean  float64 `json:"mean"`
	Min   int     `json:"min"`
	P50   int     `json:"p50"`
	P90   int     `json:"p90"`
	P99   int     `json:"p99"`
	Max   int     `json:"max"`

	values []int32
}

func (d *Lengths) add(n int) { d.values = append(d.values, int32(n)) }

func (d *Lengths) finish() {
	slices.Sort(d.values)
	d.Count = len(d.values)
	var sum float64
	for _, v := range d.values {
		sum += float64(v)
	}
	d.Mean = sum / float64(d.Count)
	// at is the smallest value that a share of all is not above.
	at := func(share float64) int { return int(d.values[int(math.Ceil(share*float64(d.Count)))-1]) }
	d.Min, d.P50, d.P90, d.P99, d.Max = int(d.values[0]), at(0.5), at(0.9), at(0.99), at(1)
	d.values = nil
}

// The kinds of problems, worst first. The first ends a run, the next drop a record or one of its responses,
// the others are trained on as they are.
const (
	Invalid         = "invalid"
	EmptyPrompt     = "emptyPrompt"
	EmptyResponse   = "emptyResponse"
	OtherPrompt     = "otherPrompt"
	Undesirable     = "undesirable"
	CutOff          = "cutOff"
	PromptCut       = "promptCut"
	ResponseCut     = "responseCut"
	SameResponses   = "sameResponses"
	Duplicate       = "duplicate"
	TrainedOn       = "trainedOn"
	PromptTrainedOn = "promptTrainedOn"
	Turns           = "turns"
	BrokenText      = "brokenText"
)

var kinds = []struct{ kind, means string }{
	{Invalid, "cannot be used: a run ends with exit code 2"},
	{EmptyPrompt, "dropped: the prompt is empty, or there is none"},
	{EmptyResponse, "dropped: a response is empty"},
	{OtherPrompt, "dropped: rejected is empty or answers another prompt than chosen"},
	{Undesirable, "dropped: an undesirable completion, which this method does not learn"},
	{CutOff, "dropped: the length limits leave nothing of a response"},
	{PromptCut, "the prompt is too long and loses its beginning"},
	{ResponseCut, "a response is too long and loses its end, and so its EOS"},
	{SameResponses, "responses that are to be told apart are the same"},
	{Duplicate, "the same as an earlier one"},
	{TrainedOn, "held out, but the same example is trained on"},
	{PromptTrainedOn, "held out, but the same prompt is trained on with another answer"},
	{Turns, "roles do not take turns: user, assistant, user, ... after one system message at most"},
	{BrokenText, "has U+FFFD, which stands for bytes that were no text"},
}

// Problem is something found, and where.
type Problem struct {
	Kind  string `json:"kind"`
	Role  string `json:"role"` // of the list
	Means string `json:"means"`
	Count int    `json:"count"`
	// At are the first of them.
	At []Location `json:"at"`
}

// Location is a record.
type Location struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"` // a row, in a file without lines; 0 is the whole file
	// Message says more, where there is more to say.
	Message string `json:"message,omitempty"`
}

func locate(r data.Record, message string) Location {
	return Location{File: r.File, Line: r.Line, Message: message}
}

// Example is a record as the model reads it.
type Example struct {
	Role  string `json:"role"`
	File  string `json:"file"`
	Line  int    `json:"line"`
	Parts []Part `json:"parts"`
}

// Part is an example's prompt, or a response with what stands between its turns.
type Part struct {
	Name   string `json:"name"`
	Tokens int    `json:"tokens"`
	Cut    int    `json:"cut,omitempty"` // the tokens that it lost
	Spans  []Span `json:"spans"`
}

// Span is text of which all tokens count in the loss, or none.
type Span struct {
	Text    string `json:"text"`
	Trained bool   `json:"trained"`
}
