"""Writes runtime/tokenizer/testdata/unicode.json: which characters each of tokenizers' classes has, as
ranges [first, last, first, last, ...]. `go test ./runtime/tokenizer -run TestUnicode -update` then writes
runtime/tokenizer/tables.go, the difference to Go's own tables."""

import json
import pathlib

from tokenizers import Regex, normalizers, pre_tokenizers

OUT = pathlib.Path(__file__).parents[3] / "runtime/tokenizer/testdata/unicode.json"
CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(has):
    out = []
    for c in map(ord, filter(has, CHARACTERS)):
        if out and out[-1] == c - 1:
            out[-1] = c
        else:
            out += [c, c]
    return out


def removed_by(pre_tokenizer):
    return ranges(lambda c: not pre_tokenizer.pre_tokenize_str(c))


def main():
    classes = {
        name: removed_by(pre_tokenizers.Split(Regex(rf"\p{{{name}}}"), "removed"))
        for name in ["L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "N", "Nd", "P", "S", "Z", "Han", "Hiragana", "Katakana", "Hangul"]
    }
    classes["space"] = removed_by(pre_tokenizers.Split(Regex(r"\s"), "removed"))
    classes["word"] = removed_by(pre_tokenizers.Split(Regex(r"\w"), "removed"))  # Oniguruma's, which differs
    classes["wordInClass"] = removed_by(pre_tokenizers.Split(Regex(r"[\w]"), "removed"))
    whitespace = pre_tokenizers.Whitespace()
    classes["rustWord"] = ranges(lambda c: whitespace.pre_tokenize_str("a" + c)[0][0] == "a" + c)
    classes["punctuation"] = removed_by(pre_tokenizers.Punctuation("removed"))
    classes["digit"] = ranges(lambda c: len(pre_tokenizers.Digits(True).pre_tokenize_str("a" + c)) == 2)
    classes["accent"] = ranges(lambda c: not normalizers.StripAccents().normalize_str(c))

    nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
    classes["decomposed"] = ranges(lambda c: nfkd.normalize_str(c) != c)
    # A mark, whose combining class is not 0, changes places with U+0334 (class 1) or U+0345 (class 240).
    classes["mark"] = ranges(lambda c: nfd.normalize_str(c) == c and (
        nfd.normalize_str("a" + c + "\u0334") == "a\u0334" + c != "a" + c + "\u0334"
        or nfd.normalize_str("a\u0345" + c) == "a" + c + "\u0345" != "a\u0345" + c))
    lower = normalizers.Lowercase()
    classes["lower"] = {c: lower.normalize_str(c) for c in CHARACTERS if lower.normalize_str(c) != c}
    OUT.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in classes.items()) + "\n}\n")


if __name__ == "__main__":
    main()
