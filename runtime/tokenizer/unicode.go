package tokenizer

import "unicode"

//go:generate go test . -run TestUnicode -update

// The characters of tokenizers' classes are those of several versions of Unicode: its regular
// expressions know version 16, its normal forms version 9, Go 15. tables.go has the differences, so
// that the same text is cut alike: in a table named for a class are the characters of which Go, with
// what is in the class here, says otherwise.

func isLetter(r rune) bool      { return unicode.IsLetter(r) != unicode.Is(differL, r) }
func isNumber(r rune) bool      { return unicode.IsNumber(r) != unicode.Is(differN, r) }
func isDigit(r rune) bool       { return unicode.IsNumber(r) != unicode.Is(differDigit, r) } // of Digits, which is not a regular expression
func isAccent(r rune) bool      { return unicode.IsMark(r) != unicode.Is(differAccent, r) }
func isPunctuation(r rune) bool { return goPunctuation(r) != unicode.Is(differPunctuation, r) }

// isWord is \w of Rust's regular expressions; utf8.RuneError, the end of a text, is not.
func isWord(r rune) bool { return goWord(r) != unicode.Is(differRustWord, r) }

func goPunctuation(r rune) bool { return unicode.IsPunct(r) || r < 0x80 && unicode.IsSymbol(r) }

func goWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}

// lowercase is Rust's, character by character: there is no final sigma.
func lowercase(r rune) rune {
	if l, ok := lower[r]; ok {
		return l
	}
	return unicode.ToLower(r)
}
