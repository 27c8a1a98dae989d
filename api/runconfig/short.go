package runconfig

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Short is a Result as JSON of at most TerminationLimit bytes, for a pod's termination
// message: metrics, then inputs are left out, then the message is cut, until it fits.
func (r Result) Short() []byte {
	for _, shorten := range []func(){
		func() {},
		func() { r.Metrics = nil },
		func() { r.Inputs = nil },
		func() { r.Message = cut(r.Message, 1024) },
		func() { r.Output = nil; r.Message = cut(r.Message, 256) },
	} {
		shorten()
		b, err := json.Marshal(r)
		if err == nil && len(b) <= TerminationLimit { // an error: a metric that is not a number
			return b
		}
	}
	b, _ := json.Marshal(Result{ExitCode: r.ExitCode, Reason: r.Reason})
	return b
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
