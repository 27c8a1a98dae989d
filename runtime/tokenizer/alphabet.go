package tokenizer

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

// unspell reads a token in the byte alphabet; ok is false for one with a character outside it, which
// stands for itself.
func unspell(token string) (word string, ok bool) {
	b := make([]byte, 0, len(token))
	for _, r := range token {
		c, ok := runeBytes[r]
		if !ok {
			return "", false
		}
		b = append(b, c)
	}
	return string(b), true
}

// word is the word that a token of the vocabulary spells, if it can be one.
func (t *Tokenizer) word(token string) (word string, ok bool) {
	if !t.byteLevel {
		return token, true
	}
	return unspell(token)
}
