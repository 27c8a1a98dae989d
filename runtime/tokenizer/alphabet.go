package tokenizer

import "strings"

// Byte-level BPE spells each byte as one printable character (GPT-2): printable Latin-1 bytes
// as themselves, the other 68 as the characters from U+0100 on, in order.
var (
	byteRunes = func() (runes [256]rune) {
		next := rune(0x100)
		for b := range runes {
			if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
				runes[b] = rune(b)
			} else {
				runes[b] = next
				next++
			}
		}
		return runes
	}()
	runeBytes = func() map[rune]byte {
		m := make(map[rune]byte, len(byteRunes))
		for b, r := range byteRunes {
			m[r] = byte(b)
		}
		return m
	}()
)

// spell writes bytes in the byte alphabet.
func spell(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(byteRunes[s[i]])
	}
	return b.String()
}

// unspell is the inverse of spell; a token with a character outside the alphabet stands for itself.
func unspell(token string) string {
	b := make([]byte, 0, len(token))
	for _, r := range token {
		c, ok := runeBytes[r]
		if !ok {
			return token
		}
		b = append(b, c)
	}
	return string(b)
}
