"""20,000 strings, the same ones in Python and Go (runtime/tokenizer/strings_test.go), and what tokenizers
of each type make of them. See README.md.

    strings.py                  writes runtime/tokenizer/testdata/strings
    strings.py llama2           writes llama2's only
    strings.py llama2 37        prints block 37 of llama2, one string a line, to compare with the failed test's
"""

import gzip
import hashlib
import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TESTDATA = pathlib.Path(__file__).parents[3] / "runtime/tokenizer/testdata"
OUT = TESTDATA / "strings"
STRINGS, BLOCK, FULL = 20_000, 100, 30
VOCAB_SIZE = 1500

POOLS = {
    "words": ["the", "The", "hello", "World", "ing", "naïve", "Straße", "ÉCOLE", "it", "I", "we", "you", "John", "'s", "'S", "'ll", "'RE", "'t", "'d", "'ve", "'m", "'ſ", "’s", "don't", "a", "e", "ſ", "K", "İ", "Ω"],
    "code": ["func ", "def f(x):\n", "    return x", "{", "}", "(", ")", "[i]", "==", "!=", ":=", "=>", "->", "/* ", " */", "// ", "#!", "\t\t", "\n\n", "\\n", "0x1F", "x_1", "__init__", "camelCase", "SNAKE_CASE", "std::", "&&", "||", "%s", "<div>", "</div>", "\"", "'", "`", "$", "@", "~", "^"],
    "numbers": ["0", "7", "12", "123", "1234", "98765", "3.14", "1,000", "1e-9", "½", "²", "Ⅷ", "٣٤٥", "一二三", "①", "৪", "-5", "+1"],
    "spaces": [" ", "  ", "   ", "        ", "\n", "\r\n", "\r", "\t", "\v", "\f", " \n", "\n ", "\u00a0", "\u0085", "\u1680", "\u2003", "\u2028", "\u3000", "\u200b", "\ufeff", "▁", "▁▁", "\n\n\n"],
    "cjk": ["日本語", "のテキスト", "、", "。", "中文", "你好", "世界", "「", "」", "한국어", "안녕하세요", "カタカナ", "ｶﾞ", "Ａ", "！", "龥", "𠮷", "\U0002ebf0", "〇", "々", "が", "か\u3099", "각", "\u1100\u1161\u11a8"],
    "arabic": ["مرحبا", "بالعالم", "السَّلَامُ", "؟", "،", "ﷲ", "ﷺ", "עברית", "שָׁלוֹם", "हिन्दी", "नमस्ते", "ไทย", "สวัสดี", "Привет", "мир", "Ελληνικά", "ᾳ", "ğ", "ı", "İ"],
    "emoji": ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "❤️", "🏳️‍🌈", "☃", "✂️", "1️⃣", "🫠", "🏽", "\u200d", "\ufe0f", "†", "→", "€", "∑", "ﬁ", "ﬃ", "Å", "Å", "ℌ", "㎏", "ẛ\u0323"],
    "tokens": ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<0x41>", "<0xE6>", "[INST]", "[/INST]", "<|user|>", "<tool>", "<tool>s", "<mask>", "word", "<", "|>", "<|", "  ", "    ", "<|begin_of_text|>", "<bos>", "<start_of_turn>", "<｜User｜>", "<right>"],
}
KINDS = [*POOLS, "control", "bytes", "lossy", "any", "bmp", "marks"]
MASK = (1 << 64) - 1


class Random:
    """splitmix64 (Steele, Lea and Flood 2014)."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n


def piece(rng, kind):
    def character(c):
        return "?" if 0xD800 <= c < 0xE000 else chr(c)

    match kind:
        case "control":
            return chr(rng.below(32))
        case "bytes":
            return chr(rng.below(256))
        case "lossy":
            return bytes(rng.below(256) for _ in range(1 + rng.below(6))).decode("utf-8", "replace")
        case "any":
            return character(rng.below(0x110000))
        case "bmp":
            return character(rng.below(0x10000))
        case "marks":
            return chr(0x300 + rng.below(0x70)) * (1 + rng.below(3))
    pool = POOLS[kind]
    return pool[rng.below(len(pool))]


def string(i):
    rng = Random(i)
    main = KINDS[rng.below(len(KINDS))]
    out = ""
    for _ in range(rng.below(32)):
        kind = main
        if rng.below(4) == 0:
            kind = KINDS[rng.below(len(KINDS))]
        if rng.below(3) == 0:
            out += " "
        out += piece(rng, kind)
    return out


CORPUS = [*(TESTDATA / "corpus.txt").read_text().split("\n\n"), *(string(STRINGS + i) for i in range(3000))]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = TEKKEN.replace("]+|[^", "]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^", 1).replace("]*|\\p{N}|", "]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}|", 1)
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def special(*contents, **options):
    return [AddedToken(c, special=True, **{"normalized": False, **options}) for c in contents]


def byte_level(pre_tokenizer, tokens, normalizer=None, **model):
    t = Tokenizer(models.BPE(**model))
    t.pre_tokenizer, t.decoder = pre_tokenizer, decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=tokens, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def split(*patterns):
    splits = [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def sentence_piece(tokens, normalizer=None, pre_tokenizer=None, train_on=pre_tokenizers.Metaspace(prepend_scheme="always"), fuse_unk=True, byte_fallback=True, bytes_=BYTES, limit=400, decoder=None):
    """The vocabulary that SentencePiece makes: control tokens, bytes, merges, and characters without merges.
    It is trained with another pre-tokenizer than it has, as it is by SentencePiece."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = train_on
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=VOCAB_SIZE, show_progress=False, limit_alphabet=limit))
    trained = json.loads(t.to_str())["model"]
    order = [x.content for x in tokens] + bytes_
    order += [x for x in sorted(trained["vocab"], key=trained["vocab"].get) if x not in order]
    t = Tokenizer(models.BPE(
        vocab={x: i for i, x in enumerate(order)}, merges=[tuple(m) for m in trained["merges"]], unk_token="<unk>", fuse_unk=fuse_unk, byte_fallback=byte_fallback))
    if normalizer:
        t.normalizer = normalizer
    if pre_tokenizer:
        t.pre_tokenizer = pre_tokenizer
    t.decoder = decoder or decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_special_tokens(tokens)
    return t


def begins(t, token):
    t.post_processor = processors.TemplateProcessing(single=f"{token} $A", pair=f"{token} $A {token}:1 $B:1", special_tokens=[(token, t.token_to_id(token))])
    return t


def gpt2():
    t = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), special("<|endoftext|>"))
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return t


def neox():
    """GPT-NeoX and Pythia: runs of spaces are added tokens, looked for in the normalized text."""
    t = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), special("<|endoftext|>", "<|pad|>"), normalizers.NFC())
    t.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    return t


def llama3():
    t = byte_level(split(LLAMA3), special("<|begin_of_text|>", "<|im_end|>", "<|endoftext|>"), ignore_merges=True)
    d = json.loads(t.to_str())
    for word in ["Ġzymurgy", "ĠSNAKE", "ĠWorld", "日本語"]:  # that no merges make
        d["model"]["vocab"].setdefault(word, len(d["model"]["vocab"]))
    t = Tokenizer.from_str(json.dumps(d))
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])])
    return t


def qwen2():
    t = byte_level(split(QWEN2), special("<|endoftext|>", "<|im_start|>", "<|im_end|>"), normalizers.NFC())
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("<tool>s", normalized=False)])
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return t


def tekken():
    """Mistral Nemo."""
    return begins(byte_level(split(TEKKEN), special("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), ignore_merges=True), "<s>")


def o200k():
    return byte_level(split(O200K), special("<|endoftext|>"))


def deepseek():
    return begins(byte_level(split(r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK), special("<s>", "</s>", "<｜User｜>")), "<s>")


def starcoder():
    """Digits apart, and a space before each text."""
    return byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)]),
                      special("<|endoftext|>", "<|pad|>"))


def llama2():
    """Also Phi-3, whose tokens take the white space after them."""
    t = sentence_piece(special("<unk>", "<s>", "</s>"), normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))
    t.add_special_tokens(special("<|user|>", "<|im_end|>", rstrip=True))
    t.add_tokens([AddedToken("<tool>", rstrip=True, normalized=False)])
    return begins(t, "<s>")


def mistral():
    """Llama 2 and Mistral, not legacy: a space only at the beginning of a text."""
    return begins(sentence_piece(special("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first", split=False)), "<s>")


def gemma():
    return begins(sentence_piece(special("<pad>", "</s>", "<bos>", "<unk>", "<start_of_turn>"), normalizers.Replace(" ", "▁"),
                                 pre_tokenizers.Split(" ", "merged_with_previous"), decoder=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])), "<bos>")


def unknown():
    """Some bytes only, unknown tokens that are not fused, Metaspace that splits."""
    return sentence_piece(special("<unk>", "<s>"), pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="always"), fuse_unk=False,
                          bytes_=BYTES[:0xE0], limit=120, decoder=decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")]))


def fused():
    return sentence_piece(special("<unk>", "<mask>", lstrip=True), pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="never"), byte_fallback=False, bytes_=[], limit=80,
                          decoder=decoders.Metaspace(prepend_scheme="never"))


def normalized():
    """All the other normalizers and pre-tokenizers."""
    t = sentence_piece(
        special("<unk>", "<s>"),
        normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.NFKC(), normalizers.Replace(Regex(r"[\s▁]+"), " "), normalizers.Strip()]),
        pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(r"[a-c]"), "merged_with_next"), pre_tokenizers.Split(Regex(r"\p{Han}"), "contiguous"), pre_tokenizers.Split("-", "merged_with_previous"),
            pre_tokenizers.Split(Regex(r"[^\s]+|\s+"), "removed", invert=True), pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Punctuation("isolated"), pre_tokenizers.Metaspace()]),
        decoder=decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Replace(Regex(" +"), " "), decoders.Strip("x", 2, 0)]))
    t.add_tokens([AddedToken("word", single_word=True, normalized=False), AddedToken("ﬁ", normalized=True), AddedToken("Straße", normalized=True)])
    t.add_special_tokens(special("<mask>", lstrip=True))
    t.add_special_tokens(special("<right>", rstrip=True))
    return t


def words():
    t = sentence_piece(special("<unk>"), normalizers.NFD(), pre_tokenizers.Whitespace(), train_on=pre_tokenizers.Whitespace(), decoder=decoders.Fuse())
    t.add_special_tokens(special("<|pad|>", single_word=True))
    return t


TYPES = [gpt2, neox, llama3, qwen2, tekken, o200k, deepseek, starcoder, llama2, mistral, gemma, unknown, fused, normalized, words]


def vector(t, text):
    t.encode_special_tokens = True
    ids = t.encode(text, add_special_tokens=False).ids
    t.encode_special_tokens = False
    return {
        "text": text, "ids": ids, "special": t.encode(text, add_special_tokens=False).ids, "whole": t.encode(text).ids,
        "decoded": t.decode(ids, skip_special_tokens=False)}


def digest(vectors):
    h = hashlib.sha256()
    for v in vectors:
        for ids in [v["ids"], v["special"], v["whole"]]:
            h.update(" ".join(map(str, ids)).encode() + b"\n")
        h.update(v["decoded"].encode() + b"\n")
    return h.hexdigest()[:16]


def write(path, text):
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def main():
    if sys.argv[2:] and sys.argv[2].isdigit():
        t = Tokenizer.from_str(gzip.decompress((OUT / f"{sys.argv[1]}.tokenizer.json.gz").read_bytes()).decode())
        for i in range(int(sys.argv[2]) * BLOCK, int(sys.argv[2]) * BLOCK + BLOCK):
            print(json.dumps(vector(t, string(i))))
        return
    texts = [string(i) for i in range(STRINGS)]
    OUT.mkdir(exist_ok=True)
    (OUT / "pools.json").write_text(json.dumps({"kinds": KINDS, "pools": POOLS, "sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest()}, indent=0, ensure_ascii=True) + "\n")
    for make in [x for x in TYPES if x.__name__ in sys.argv[1:] or not sys.argv[1:]]:
        t = make()
        write(OUT / f"{make.__name__}.tokenizer.json.gz", t.to_str())
        vectors = [vector(t, text) for text in texts]
        blocks = [digest(vectors[i:i + BLOCK]) for i in range(0, STRINGS, BLOCK)]
        write(OUT / f"{make.__name__}.vectors.json.gz", json.dumps({"blocks": blocks, "full": vectors[:FULL]}))


if __name__ == "__main__":
    main()
