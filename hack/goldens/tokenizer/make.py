"""Writes the reference vectors of runtime/tokenizer and runtime/data. See README.md."""

import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

ROOT = pathlib.Path(__file__).parents[3]
TESTDATA = ROOT / "runtime/tokenizer/testdata"
CHAT = ROOT / "runtime/data/testdata/chat.json"
CORPUS = (TESTDATA / "corpus.txt").read_text().split("\n\n")
VOCAB_SIZE = 420

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# runtime/data's own template: what Template.Jinja returns.
PLAIN = (
    r"{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    r"{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def byte_level(**options):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **options})


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level(use_regex=False)])


def train(pre_tokenizer, special, normalizer=None, **model):
    t = Tokenizer(models.BPE(**model))
    t.pre_tokenizer = pre_tokenizer
    t.decoder = decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def gpt2():
    t = train(byte_level(), ["<|endoftext|>", "<|pad|>"])
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return t, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}


def llama3():
    t = train(split_then_bytes(LLAMA3), ["<|begin_of_text|>", "<|end_of_text|>"], ignore_merges=True)
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B:1",
            special_tokens=[("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))]),
    ])
    # A word of the vocabulary that no merges make: ignore_merges finds it all the same.
    d = json.loads(t.to_str())
    d["model"]["vocab"]["\u0120zymurgy"] = len(d["model"]["vocab"])
    return Tokenizer.from_str(json.dumps(d)), {
        "bos_token": "<|begin_of_text|>", "eos_token": {"__type": "AddedToken", "content": "<|end_of_text|>"}}


def qwen2():
    t = train(split_then_bytes(QWEN2), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizers.NFC())
    return t, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHATML}


def smollm():
    t = train(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]), ["<|endoftext|>"])
    return t, {"eos_token": "<|endoftext|>"}


def prefix():
    t = train(byte_level(add_prefix_space=True), ["<s>", "</s>"])
    return t, {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "add_prefix_space": True}


def unknown():
    """A vocabulary without most bytes, an unknown token, and a pattern without a scanner of its own."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\s+"), "removed"), pre_tokenizers.Split("-", "isolated"), byte_level(use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(filter(str.isascii, CORPUS), trainers.BpeTrainer(
        vocab_size=150, special_tokens=["<unk>"], show_progress=False, initial_alphabet=[]))
    return t, {}


def added():
    t = train(byte_level(), ["<|endoftext|>"], normalizers.NFKC())
    t.add_tokens([
        AddedToken("<tool>", normalized=False),
        AddedToken("<tool>s", normalized=False),
        AddedToken("ﬁn", normalized=True),
        AddedToken("    ", normalized=False),
        AddedToken("word", single_word=True, normalized=False),
    ])
    t.add_special_tokens([
        AddedToken("<mask>", lstrip=True, normalized=False),
        AddedToken("<right>", rstrip=True, normalized=False),
    ])
    return t, {"eos_token": "<|endoftext|>", "add_bos_token": False}


TEXTS = [
    "", " ", "  ", "a", " a", "a ", "\n", "\r\n", "\t\tx", "   \n\n  x", "x \n", "Hello, world!", "It's we'll they'RE I'D 'S 's' ''s don't",
    "'ſ 'ſx I'ſ", "12345678 3.14159 1,000,000 ½ Ⅷ ٣٤٥ 一二", "func main() {\n\tfmt.Println(\"hi\")\n}\n", "naïve café cafe\u0301 ﬁne ﬁnal fin", "日本語のテキスト、中文。",
    "Привет, мир! Ελληνικά עברית العربية हिन्दी ไทย", "👍🏽 👨‍👩‍👧‍👦 🇩🇪", "\u00a0\u2003\u3000x\u2028y\u200bz\ufeff", "\x00\x01\x7f\x80\x85", "a\u0300\u0301b", "aaaaaaaaaaaa the the the",
    "<|endoftext|>", "a<|endoftext|>b", "<|pad|> <|begin_of_text|>x<|end_of_text|>", "<|im_start|>user\nhi<|im_end|>\n", "<s>x</s>", "<|endoftext|", "<<|endoftext|>>",
    "x <mask> y", "x<mask>y  <mask>", "<right>  y <right>", "<mask><right> <mask>", "<tool><tool>s <tool>x", "a word, swords words word_ word", "        x     y", " zymurgy zymurgy",
    "a-b--c - d", "== != <= >= -> := && || // /* */ #!", "...!?—–“quoted”", "x" * 70 + " " + "ab" * 40, "tail   ",
]


def random_texts(n):
    rng = random.Random(20240611)
    pool = [" ", "  ", "\n", "\r", "\t", "\u00a0", "'", "s", "LL", "the", "er", "A", "é", "e\u0301", "ß", "漢", "😀", "7", "42", "½", ".", ",", "--", "_", "<", "|>", "<tool>", "<mask>", "word"]
    return ["".join(rng.choice(pool) for _ in range(rng.randrange(1, 14))) for _ in range(n)]


def vectors(t):
    out = []
    for text in TEXTS + random_texts(60):
        t.encode_special_tokens = True
        ordinary = t.encode(text, add_special_tokens=False).ids
        t.encode_special_tokens = False
        special = t.encode(text, add_special_tokens=False).ids
        out.append({"text": text, "ids": ordinary, "special": special, "decoded": t.decode(ordinary, skip_special_tokens=False)})
    return out


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_vectors(path, rows):
    path.write_text("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")


def chat(name, template):
    t = AutoTokenizer.from_pretrained(TESTDATA / name)
    user, assistant = {"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "It's a café.\n\nYes."}
    system = {"role": "system", "content": "Be brief."}
    for messages, generate in [([user], True), ([system, user], True), ([user, assistant], False), ([system, user, assistant, user, assistant], False), ([user, assistant, user], True)]:
        kw = {"add_generation_prompt": generate, "chat_template": template}
        yield {
            "tokenizer": name, "template": template or "", "messages": messages, "generate": generate,
            "text": t.apply_chat_template(messages, tokenize=False, **kw),
            "ids": t.apply_chat_template(messages, tokenize=True, return_dict=False, **kw),
        }


def main():
    for case in [gpt2, llama3, qwen2, smollm, prefix, unknown, added]:
        t, config = case()
        folder = TESTDATA / case.__name__
        write(folder / "tokenizer.json", json.loads(t.to_str()))
        write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **config})
        write_vectors(folder / "vectors.json", vectors(t))

    ours, theirs = TESTDATA / "trained", json.loads((TESTDATA / "gpt2/tokenizer.json").read_text())
    model = json.loads((ours / "tokenizer.json").read_text())["model"]
    assert model["vocab"] == theirs["model"]["vocab"] and model["merges"] == theirs["model"]["merges"]
    t = Tokenizer.from_file(str(ours / "tokenizer.json"))
    auto = AutoTokenizer.from_pretrained(ours)
    assert (auto.eos_token, auto.pad_token, auto.bos_token) == ("<|endoftext|>", "<|pad|>", None)
    rows = vectors(t)
    for row in rows:
        assert auto(row["text"]).input_ids == row["special"], row
        assert auto.decode(row["ids"]) == row["text"] == row["decoded"], row
    write_vectors(ours / "vectors.json", rows)

    write_vectors(CHAT, [*chat("qwen2", None), *chat("trained", PLAIN)])


if __name__ == "__main__":
    main()
