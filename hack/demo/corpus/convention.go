package corpus

import "strings"

// BeginsWithIdentifier says whether a comment follows Go's convention for the declaration of a
// prompt, as golint checked it: it begins with the declared name and a space. Before the name of a
// type, and only there, an article is allowed: A, An, The or This. White space around the
// comment does not count.
func BeginsWithIdentifier(prompt, comment string) bool {
	name, isType := identifier(prompt)
	if name == "" {
		return false
	}
	_, ok := afterIdentifier(name, isType, comment)
	return ok
}

// afterIdentifier is the rest of a comment behind its name and space; ok is false when the
// comment does not begin with the name.
func afterIdentifier(name string, isType bool, comment string) (rest string, ok bool) {
	comment = strings.TrimSpace(comment)
	if isType {
		for _, article := range []string{"A ", "An ", "The ", "This "} {
			if after, found := strings.CutPrefix(comment, article); found && article != name+" " {
				comment = after
				break
			}
		}
	}
	return strings.CutPrefix(comment, name+" ")
}

// identifier is the name that a prompt declares; empty when it declares no function or type.
func identifier(prompt string) (name string, isType bool) {
	rest, isType := strings.CutPrefix(prompt, "type ")
	if !isType {
		var ok bool
		if rest, ok = strings.CutPrefix(prompt, "func "); !ok {
			return "", false
		}
		if strings.HasPrefix(rest, "(") { // a receiver has no parentheses inside
			_, after, ok := strings.Cut(rest, ") ")
			if !ok {
				return "", false
			}
			rest = after
		}
	}
	if end := strings.IndexAny(rest, " ([\n"); end >= 0 {
		return rest[:end], isType
	}
	return "", false
}
