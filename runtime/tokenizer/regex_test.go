package tokenizer

import (
	"slices"
	"strings"
	"testing"
)

// What tokenizers' Split with the pattern cuts "aab B5\naf" into, by hack/goldens/tokenizer's version.
func TestPatternsReadAsOnigurumaDoes(t *testing.T) {
	for pattern, want := range map[string]string{
		`a++`:         "aa|b B5\n|a|f",
		`(?>a+)b`:     "aab| B5\naf",
		`a{,2}`:       "aa|b| |B|5|\n|a|f",
		`a{1}+`:       "error: a quantifier",
		`(?<=a)b`:     "aa|b| B5\naf",
		`\p{^L}`:      "aab| |B|5|\n|af",
		`[^\P{L}]`:    "error: a negated class",
		`^a$`:         "aab B5\naf",
		`^a`:          "a|ab B5\n|a|f",
		`5$`:          "aab B|5|\naf",
		`.`:           "a|a|b| |B|5|\n|a|f",
		`\Aa|f\z`:     "a|ab B5\na|f",
		`\x{42}`:      "aab |B|5\naf",
		`\u0042`:      "aab |B|5\naf",
		`[\x41-\x43]`: "aab |B|5\naf",
		`(?i:AB)`:     "a|ab| B5\naf",
		`(?i:b)|(a)`:  "a|a|b| |B|5\n|a|f",
		`\h`:          `error: \h`,
		`[[:alpha:]]`: "error: a class in a class",
		`\R`:          `error: \R`,
		`[a&&b]`:      "error: &&",
		`(?m:.)`:      "error: a group",
		`(?<n>a)`:     "error: a group",
		`(a)\1`:       `error: \1`,
		`\p{Alpha}`:   `error: the class \p{Alpha}`,
		`\bb`:         `error: \b`,
		`(?i:ss)`:     "error: (?i:",
		`(?i:[a-z])`:  "error: (?i:",
		`(?i:é)`:      "error: (?i:",
		`\xE9`:        `error: a byte \xE9`,
		`[a-\d]`:      "error: a range",
		`[b-a]`:       "error: a range",
		`a)`:          "error: a ) without",
		`(a`:          "error: a ( without",
		`[a`:          "error: a [ without",
		`*`:           "error: repeats nothing",
		`a{x}`:        "error: not a quantifier",
		"\xff":        "error: UTF-8",
	} {
		s, err := byPattern(pattern, isolated, false)
		if what, refused := strings.CutPrefix(want, "error: "); refused {
			if err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: %v, want an error with %q", pattern, err, what)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		var got []string
		split("aab B5\naf", true, []splitter{s}, func(p string) { got = append(got, p) })
		if !slices.Equal(got, strings.Split(want, "|")) {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}

// What tokenizers' Split("-", behavior, invert) cuts a text into.
func TestSplitBehaviors(t *testing.T) {
	for _, c := range []struct {
		behavior       behavior
		plain, inverse string
	}{
		{removed, "a b", "- - - -"},
		{isolated, "- a - - b -", "- a - - b -"},
		{mergedWithPrevious, "- a- - b-", "-a - -b -"},
		{mergedWithNext, "-a - -b -", "- a- - b-"},
		{contiguous, "- a -- b -", "- a -- b -"},
	} {
		for invert, want := range map[bool]string{false: c.plain, true: c.inverse} {
			var got []string
			split("-a--b-", true, []splitter{splitAt(occurrences("-"), c.behavior, invert)}, func(p string) { got = append(got, p) })
			if strings.Join(got, " ") != want {
				t.Errorf("%s, invert %v: %q, want %q", c.behavior, invert, got, want)
			}
		}
	}
}
