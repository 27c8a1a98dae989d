package data

// Pair is a preference: two responses to one prompt. Each ends with EOS unless it was cut.
type Pair struct {
	Prompt, Chosen, Rejected []int32
}

// Group is a prompt with ranked responses. Each ends with EOS unless it was cut.
type Group struct {
	Prompt    []int32
	Responses [][]int32
	Ranks     []float64 // [responses], smaller is better, equal is a tie
}

// Unpaired is a response that is judged alone. It ends with EOS unless it was cut.
type Unpaired struct {
	Prompt, Response []int32
	Desirable        bool
}

// Pair encodes a preference. kept is false when a response is empty or was cut off entirely.
func (e *Encoder) Pair(r Record) (p Pair, kept bool, err error) {
	if !isPreference(r) {
		return Pair{}, false, r.errorf("", "is in the %s format, a preference is needed", r.Format)
	}
	prompt, responses, err := e.responses(r)
	if err != nil || len(responses[0]) == 0 || len(responses[1]) == 0 {
		return Pair{}, false, err
	}
	return Pair{Prompt: prompt, Chosen: responses[0], Rejected: responses[1]}, true, nil
}

// Ranked encodes ranked responses, or a preference with ranks 1 and 2. A response that is empty
// or was cut off entirely is left out; kept is false when no two of different rank are left.
func (e *Encoder) Ranked(r Record) (g Group, kept bool, err error) {
	ranks := r.Ranks
	if isPreference(r) {
		ranks = []float64{1, 2}
	} else if r.Format != FormatRanked {
		return Group{}, false, r.errorf("", "is in the %s format, ranked responses or a preference are needed", r.Format)
	}
	prompt, responses, err := e.responses(r)
	if err != nil {
		return Group{}, false, err
	}
	g.Prompt = prompt
	for k, response := range responses {
		if len(response) == 0 {
			continue
		}
		g.Responses, g.Ranks = append(g.Responses, response), append(g.Ranks, ranks[k])
		kept = kept || ranks[k] != g.Ranks[0]
	}
	if !kept {
		return Group{}, false, nil
	}
	return g, true, nil
}

// Unpaired encodes a response that is judged alone, or the two of a preference, the chosen one
// being desirable. A response that is empty or was cut off entirely is left out; kept is false
// when none is left.
func (e *Encoder) Unpaired(r Record) (u []Unpaired, kept bool, err error) {
	desirable := []bool{r.Label}
	if isPreference(r) {
		desirable = []bool{true, false}
	} else if r.Format != FormatUnpaired {
		return nil, false, r.errorf("", "is in the %s format, an unpaired preference or a preference is needed", r.Format)
	}
	prompt, responses, err := e.responses(r)
	if err != nil {
		return nil, false, err
	}
	for k, response := range responses {
		if len(response) > 0 {
			u = append(u, Unpaired{Prompt: prompt, Response: response, Desirable: desirable[k]})
		}
	}
	return u, len(u) > 0, nil
}

func isPreference(r Record) bool { return r.Format == FormatPreference || r.Format == FormatHH }

// responses encodes all of a record's responses, cut to length with the prompt they share.
func (e *Encoder) responses(r Record) (prompt []int32, responses [][]int32, err error) {
	for _, alone := range alternatives(r) {
		x, err := e.example(alone)
		if err != nil {
			return nil, nil, err
		}
		prompt = x.prompt // the same for each
		responses = append(responses, x.response)
	}
	prompt, responses = e.fit(prompt, responses...)
	if prompt, err = keep(e.Store, prompt); err == nil {
		err = keepAll(e.Store, responses)
	}
	return prompt, responses, err
}

// alternatives are records of one response each, which Sequence would learn.
func alternatives(r Record) []Record {
	switch r.Format {
	case FormatPreference, FormatHH:
		rejected := r
		rejected.Chosen, rejected.ChosenMessages = r.Rejected, r.RejectedMessages
		return []Record{r, rejected}
	case FormatRanked:
		out := make([]Record, len(r.Ranks))
		for k := range out {
			out[k] = r
			out[k].Ranks = r.Ranks[k : k+1]
			if r.ResponseMessages != nil {
				out[k].ResponseMessages = r.ResponseMessages[k : k+1]
			} else {
				out[k].Responses = r.Responses[k : k+1]
			}
		}
		return out
	}
	return []Record{r}
}
